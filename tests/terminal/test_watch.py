"""``ratelimitd watch``: lines, filters, lost connections, and ends."""

import asyncio
import json
import signal
import subprocess
import sys

import pytest

from ratelimitd.admin.http import PageResponse
from tests.terminal import documents as made
from tests.terminal.serving import environment, live, run, stream

LEFT = "0 left, reset 41 s (over_limit by shop.user)"

pytestmark = pytest.mark.process


async def watching(service, *words, **env):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ratelimitd", "watch", "--address", service.address, *words, env=environment(**env),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


async def line(reader):
    async with asyncio.timeout(60):
        return (await reader.readline()).decode()


async def test_decisions_are_lines_until_ctrl_c():
    """Time, code, domain, descriptors with their limits, reason; 0 at the end."""
    events = [
        ("decision", made.decision()),
        ("decision", made.decision("OK", descriptors=[{"descriptor": "path=/", "limit": None}], left_out=2)),
        ("news", {}),
        ("skipped", {"count": 7}),
    ]
    async with live(decisions=lambda _: stream(*events, then=asyncio.Event())) as service:
        process = await watching(service)
        assert [await line(process.stdout) for _ in range(3)] == [
            f"08:00:00 OVER_LIMIT shop user=alice: shop.user 100 per minute, {LEFT}\n",
            "08:00:00 OK         shop path=/: no limit; and 2 more descriptors\n",
            "7 more decisions are not shown; --lines sets how many a second are\n",
        ]
        process.send_signal(signal.SIGINT)
        assert await process.communicate() == (b"", b"")
        assert process.returncode == 0


async def test_filters_are_the_services():
    """Each is a parameter; --denied leaves out OK whatever the service sends."""
    events = [("decision", made.decision("OK")), ("decision", made.decision())]
    async with live(decisions=lambda _: stream(*events, then=asyncio.Event())) as service:
        words = ("-d", "shop", "--limit", "shop.user", "--entry", "user=a b", "--lines", "5", "--denied", "--json")
        process = await watching(service, *words)
        assert json.loads(await line(process.stdout)) == made.decision()
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert service.asked == [
        ("decisions", {"domain": "shop", "limit": "shop.user", "entry": "user=a b", "lines": "5", "denied": "1"})
    ]


async def test_a_lost_connection_is_made_again():
    """Which is said on stderr, and so is that it is there again."""
    streams = [stream(("decision", made.decision())), PageResponse(503, b'{"error": "the process ends"}')]

    def answer(_):
        return streams.pop(0) if streams else stream(("decision", made.decision("OK")), then=asyncio.Event())

    async with live(decisions=answer) as service:
        process = await watching(service, "--json")
        assert json.loads(await line(process.stdout))["code"] == "OVER_LIMIT"
        assert json.loads(await line(process.stdout))["code"] == "OK"
        assert [await line(process.stderr) for _ in range(3)] == [
            f"ratelimitd: {service.address} ended the stream; connecting again in 1 s\n",
            f"ratelimitd: {service.address} answered 503: the process ends; connecting again in 2 s\n",
            f"ratelimitd: connected to {service.address} again\n",
        ]
        process.send_signal(signal.SIGINT)
        await process.communicate()


async def test_a_reader_that_leaves_ends_it_quietly():
    """As ``ratelimitd watch | head`` does."""
    async with live(
        decisions=lambda _: stream(*[("decision", made.decision())] * 20_000, then=asyncio.Event())
    ) as service:
        process = await asyncio.create_subprocess_shell(
            f"{sys.executable} -m ratelimitd watch --address {service.address} | head -1", env=environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
    assert (out.count(b"\n"), err) == (1, b"")


@pytest.mark.parametrize("words", [(), ("--json",)])
async def test_what_a_server_sends_steers_no_terminal(words):
    """Neither in lines nor in JSON, nor the text of an error."""
    hostile = made.decision(made.HOSTILE, domain=made.HOSTILE, reason=made.HOSTILE, limit=made.HOSTILE)
    hostile["descriptors"][0] |= {"descriptor": made.HOSTILE, "limit": made.HOSTILE, "summary": made.HOSTILE}
    refused = PageResponse(400, json.dumps({"error": made.HOSTILE}).encode())
    answers = [stream(("decision", hostile)), refused]
    async with live(decisions=lambda _: answers.pop(0)) as service:
        code, out, err = await run("watch", "--address", service.address, *words)
    assert (code, len(out.splitlines())) == (2, 1)
    assert (out + err).replace("\n", "").isprintable()


async def test_colours_are_for_terminals():
    """A code has its colour there, unless NO_COLOR is set."""
    async with live(decisions=lambda _: stream(("decision", made.decision()), then=asyncio.Event())) as service:
        for env, coloured in (
            ({"FORCE_COLOR": "1"}, True),
            ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
            ({}, False),
        ):
            process = await watching(service, **env)
            assert ("\x1b[31m" in await line(process.stdout)) is coloured
            process.send_signal(signal.SIGINT)
            await process.communicate()
