"""A log that is not read, with real processes, pipes and a terminal."""

import asyncio
import json
import os
import pty
import re
import termios
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import pytest

from ratelimitd.observe.output import QUEUE_BYTES
from tests.gateway_process import gateway, upstream
from tests.service import service

pytestmark = [pytest.mark.process, pytest.mark.scenario("logs that fill up or contain secrets")]

PATH = "/" + "x" * 7_000
ENOUGH = 2 * QUEUE_BYTES["stdout"] // len(PATH)
"""Lines with this path that fill a pipe and the queue."""


@contextmanager
def unread_pipe():
    """A pipe: its end for writing, and what reads a part of it."""
    reading, writing = os.pipe()
    try:
        yield writing, lambda size: os.read(reading, size)
    finally:
        os.close(reading)
        os.close(writing)


@asynccontextmanager
async def proxying(stdout, **env):
    """A proxy whose access log goes to this file, and a client of it."""
    async with (
        upstream() as (url, _),
        gateway("--upstream", url, "--limit", "100000/s", env=env, stdout=stdout) as running,
        aiohttp.ClientSession(f"http://{running.proxy}") as client,
    ):
        yield running, client


async def statuses(client, *paths):
    found = set()
    for path in paths:
        async with asyncio.timeout(30), client.get(path) as answer:
            found.add(answer.status)
    return found


async def dropped(client, stream):
    """The lines of a stream that were dropped, by the metrics."""
    async with client.get("/metrics") as answer:
        pattern = rf'^ratelimitd_log_lines_dropped_total{{stream="{stream}"}} (\d+)'
        return int(re.search(pattern, await answer.text(), re.MULTILINE)[1])


async def test_an_access_log_that_is_not_read_stops_nothing():
    """With the pipe of stdout full, requests and /healthz are answered; dropped lines are counted, and told later."""
    with unread_pipe() as (stdout, read):
        async with proxying(stdout) as (running, client):
            assert await statuses(client, *[PATH] * ENOUGH, "/healthz") == {200}
            lost = await dropped(client, "stdout")
            assert 0 < lost < ENOUGH
            text = b""
            while text.count(b"\n") < ENOUGH - lost:
                text += await asyncio.to_thread(read, 1 << 16)
            assert {json.loads(line)["path"] for line in text.splitlines()} == {PATH}
            await statuses(client, "/after")
            told = await running.logged("lines of the log were dropped")
            assert (told["stream"], told["lines"]) == ("stdout", lost)
            assert json.loads(await asyncio.to_thread(read, 1 << 16))["path"] == "/after"


async def test_a_service_log_that_is_not_read_stops_nothing(tmp_path):
    """With the pipe of stderr full, by a decision log, the service decides and answers its probes."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("domain: d\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 1000000}}]\n")
    async with service("--config", str(policy), env={"LOG_DECISIONS": "true"}) as running:
        stderr = running.process.stderr._transport
        stderr.pause_reading()
        body = json.dumps({"domain": "d", "descriptors": [{"entries": [{"key": "user", "value": PATH}]}]})
        async with aiohttp.ClientSession(f"http://{running.http}") as client:
            for _ in range(ENOUGH):
                async with asyncio.timeout(30), client.post("/json", data=body) as answer:
                    assert answer.status == 200
            assert await statuses(client, "/livez", "/readyz") == {200}
            assert await dropped(client, "stderr") > 0
        stderr.resume_reading()
        running.terminate()
        assert await running.ended() == 0
        assert "lines of the log were dropped" in running.text


async def test_a_drain_ends_without_a_reader_and_a_reader_gets_all():
    """After SIGTERM a full pipe delays the exit by the bound; a pipe that is read has the last line."""
    with unread_pipe() as (stdout, read):
        async with proxying(stdout) as (running, client):
            assert await statuses(client, *[PATH] * ENOUGH) == {200}
            running.terminate()
            assert await running.ended() == 0
    with unread_pipe() as (stdout, read):
        async with proxying(stdout) as (running, client):
            assert await statuses(client, "/first", "/last") == {200}
            running.terminate()
            assert await running.ended() == 0
        assert [json.loads(line)["path"] for line in read(1 << 16).splitlines()] == ["/first", "/last"]


async def test_a_stopped_terminal_stops_nothing():
    """^S on the terminal of the access log holds its lines, and nothing else; after ^Q they are there."""
    controller, terminal = pty.openpty()
    try:
        async with proxying(terminal) as (_, client):
            termios.tcflow(terminal, termios.TCOOFF)
            assert await statuses(client, *map("/{}".format, range(50)), "/healthz") == {200}
            termios.tcflow(terminal, termios.TCOON)
            text = b""
            while b"/49 " not in text.replace(b'"', b" ") or not text.endswith(b"\n"):
                text += await asyncio.to_thread(os.read, controller, 1 << 16)
            assert text.count(b"\n") == 50
    finally:
        os.close(controller)
        os.close(terminal)
