"""When the end of a response has left for its client, on real sockets."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from ratelimitd.http1 import ErrorResponse

from .rig import PATIENCE, Rig

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = bytes(4 << 20)


@pytest.fixture
async def watched():
    """A gateway that answers with a large body, and the times at which an answer had ended and had been sent."""
    async with watching() as found:
        yield found


@asynccontextmanager
async def watching(tls=None):
    rig, told = Rig(), []

    def answer(request, exchange):
        def ended(summary):
            told.append("ended")
            exchange.client.when_sent(lambda: told.append("sent"))

        exchange.on_done = ended
        if request.path == b"/refused":
            exchange.refuse(ErrorResponse(503, "no"))
        else:
            exchange.respond(200, [], LARGE)

    await rig.start([], handler=answer, sndbuf=4096, rcvbuf=4096, tls=tls)
    try:
        yield rig, told
    finally:
        await rig.stop()


async def until(told, count):
    async with asyncio.timeout(PATIENCE):
        while len(told) < count:
            await asyncio.sleep(0.005)


async def test_a_response_is_sent_when_the_client_has_read_what_the_system_does_not_hold(watched):
    """Not when it was written: a client that reads nothing has not got it, however much was taken for it."""
    rig, told = watched
    client = await rig.client(limit=1024)
    await client.send(GET)
    await client.until()
    await until(told, 1)
    assert told == ["ended"]
    await client.exactly(len(LARGE))
    await until(told, 2)
    assert told == ["ended", "sent"]


async def test_a_request_behind_it_is_read_when_it_was_sent(watched):
    """In order: a place that the first one held is free for the second one."""
    rig, told = watched
    client = await rig.client(limit=1024)
    await client.send(GET * 2)
    for _ in range(2):
        await client.answer()
    await until(told, 4)
    assert told == ["ended", "sent", "ended", "sent"]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_last_response_is_sent_before_its_connection_ends(contexts, secure):
    """While the connection is lingered for, with and without TLS; all of it arrives, and then the end."""
    server, trusting = contexts
    async with watching(server if secure else None) as (rig, told):
        client = await rig.client(limit=1024, **({"ssl": trusting, "server_hostname": "localhost"} if secure else {}))
        await client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await client.until()
        await until(told, 1)
        if not secure:  # what the transport below TLS holds cannot be seen
            assert told == ["ended"]
        assert len(await client.rest()) == len(LARGE)
        await until(told, 2)
    assert told == ["ended", "sent"]


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_a_client_that_leaves_amid_it_is_told_of_once(watched, leave):
    """What was not sent is dropped, and nothing waits for it."""
    rig, told = watched
    client = await rig.client(limit=1024)
    await client.send(GET)
    await client.until()
    await until(told, 1)
    getattr(client, leave)()
    await until(told, 2)
    assert told == ["ended", "sent"]


async def test_the_connection_goes_on_as_before(watched):
    """Small and large answers in turns, each told of once."""
    rig, told = watched
    client = await rig.client(limit=1024)
    for number in range(1, 4):
        await client.ask(GET.replace(b"/ ", b"/refused ", 1))
        await client.ask(GET)
        await until(told, 4 * number)
    assert told == ["ended", "sent"] * 6
