"""The proxy as a process, as a developer starts it: by flags, on a terminal, with a first policy that is refused."""

import asyncio
import json
import os
import pty

import aiohttp
import pytest

from tests.gateway_process import FILE, gateway, statuses, upstream
from tests.service import service

pytestmark = pytest.mark.process


@pytest.mark.parametrize(("env", "colors"), [({}, True), ({"NO_COLOR": "1"}, False), ({"LOG_FORMAT": "json"}, None)])
async def test_the_access_log_on_a_terminal_is_for_a_reader(env, colors):
    """A short line, in colors unless NO_COLOR is set; LOG_FORMAT=json holds there too."""
    master, terminal = pty.openpty()
    try:
        async with (
            upstream() as (url, _),
            gateway(env={"DOWNSTREAM_URL": url, "LOG_FORMAT": "auto", **env}, stdout=terminal) as running,
            aiohttp.ClientSession(f"http://{running.proxy}") as client,
        ):
            assert await statuses(client, 1, "/p") == [200]
            line = await asyncio.to_thread(os.read, master, 4096)
    finally:
        os.close(terminal)
        os.close(master)
    if colors is None:
        assert json.loads(line)["path"] == "/p"
    else:
        assert (b"GET /p 127.0.0.1 " in line, b"\x1b[32m200\x1b[0m" in line) == (True, colors)


async def test_its_pages_need_no_policy(tmp_path):
    """With a first policy that is refused, /healthz and /metrics answer, /readyz says why not, and requests get 503.

    A valid file is then all it needs.
    """
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        file.write_text(FILE.format(url=url, limit="many", policy="error"))
        async with (
            gateway("--config", str(file)) as running,
            aiohttp.ClientSession(f"http://{running.proxy}") as client,
        ):
            for page, status, body in (
                ("/healthz", 200, "OK"),
                ("/metrics", 200, "ratelimit_service_config_load_error 1"),
                ("/readyz", 503, "policy: no policy is loaded yet"),
                ("/api/x", 503, '"error":"unavailable"'),
            ):
                async with client.get(page) as answer:
                    assert (answer.status, body in await answer.text()) == (status, True)
            mark = len(running.log)
            file.write_text(FILE.format(url=url, limit=1, policy="error"))
            await running.logged("policy loaded", after=mark)
            assert await statuses(client, 2, "/api/x") == [200, 429]


async def test_flags_stand_for_a_file():
    """--upstream, --limit and --by limit each key, and callers without one; the start says what holds."""
    async with upstream() as (url, _):
        flags = ("--upstream", url, "--limit", "2/hour", "--limit", "9/s", "--by", "X-API-Key")
        async with gateway(*flags) as running, aiohttp.ClientSession(f"http://{running.proxy}") as client:
            told = await running.logged("no gateway file")
            assert (await running.logged("starting"))[
                "policy"
            ] == "the flags --upstream, --limit and --by"  # no temporary file
            assert told["limits"].startswith("2 per hour and 9 per second for each value of x-api-key, and for each ")
            assert told["upstream"] == url
            for headers in ({"X-API-Key": "a"}, {"X-API-Key": "b"}, {"X-API-Key": ""}, {}):
                assert await statuses(client, 3, **headers) == [200, 200, 429]


async def test_an_upstream_that_has_no_effect_is_told(tmp_path):
    """With a gateway file, UPSTREAM_URL changes nothing, and the log says so."""
    file = tmp_path / "gateway.yaml"
    file.write_text(FILE.format(url="http://localhost:1", limit=3, policy="error"))
    async with gateway("--config", str(file), env={"UPSTREAM_URL": "http://localhost:2"}) as running:
        assert (await running.logged("a setting has no effect"))["setting"] == "UPSTREAM_URL"


async def test_print_config_is_a_file_that_works(tmp_path):
    """What --print-config prints can be edited and given back."""
    async with service("--print-config", ready=False, command="proxy", env={"DOWNSTREAM_URL": "http://a:1"}) as printed:
        assert await printed.ended() == 0
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        file.write_text(printed.output.replace("http://a:1", url))
        async with gateway("--config", str(file)) as running, aiohttp.ClientSession() as client:
            assert await statuses(client, 1, f"http://{running.proxy}/") == [200]


async def test_the_service_beside_a_proxy_makes_room(tmp_path):
    """Default ports of the service that an upstream on this host uses are others, and the log says which."""
    file = tmp_path / "gateway.yaml"
    file.write_text(FILE.format(url="http://localhost:8081", limit=3, policy="error") + "admin: {port: 8080}\n")
    unset = {"PORT": None, "GRPC_PORT": None}
    async with gateway("--config", str(file), "--with-service", env=unset, ready=False) as running:
        first = await running.logged("the default port is in use")
        second = await running.logged("the default port is in use", after=running.log.index(first) + 1)
    assert [(told["setting"], told["port"]) for told in (first, second)] == [("PORT", 8090), ("GRPC_PORT", 8091)]
