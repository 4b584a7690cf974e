"""A port of pages whose connections are all taken: probes are answered to the last."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from ratelimitd.admin.http import Page
from ratelimitd.admin.server import HEAD_SECONDS, KEEPALIVE_SECONDS, Clients, listen
from tests.admin.calling import Caller, echo, get, post

PLACES = 8
PATIENCE = 30.0


async def silent(caller):
    """Send nothing."""


async def idle(caller):
    """Have a request answered."""
    await caller.send(get())
    await caller.answer()


async def slow(caller):
    """Send a body without its end."""
    await caller.send(post(b"x" * 1000)[:-1])


@pytest.mark.scenario("probes that report a wrong state")
@pytest.mark.parametrize("holds", [silent, idle, slow])
@pytest.mark.parametrize("hosts", [("127.0.0.2",), ("127.0.0.1",), ("127.0.0.1", "127.0.0.2")])
async def test_a_probe_is_answered_to_the_last(holds, hosts):
    """With every place held, by its own address or by another, a new connection gets one and its answer."""
    async with AsyncExitStack() as stack:
        listening = await listen({"/": Page(echo, "")}, "127.0.0.1", 0, clients=Clients(most=PLACES))
        stack.push_async_callback(listening.close)

        async def connect(host):
            opened = await asyncio.open_connection("127.0.0.1", listening.port, local_addr=(host, 0))
            caller = Caller(*opened)
            stack.callback(caller.writer.close)
            return caller

        for turn in range(2 * PLACES):
            await holds(await connect(hosts[turn % len(hosts)]))
        async with asyncio.timeout(PATIENCE):
            while listening.places.made_room < PLACES:
                await asyncio.sleep(0.01)
        probe = await connect("127.0.0.1")
        await probe.send(get())
        assert (await probe.answer())[0].startswith(b"HTTP/1.1 200 ")
        assert len(listening.places) == PLACES


async def test_the_times_of_a_connection():
    """The wait for the first request is as short as that for the rest of a head, that for another one is not."""
    listening = await listen({"/": Page(echo, "")}, "127.0.0.1", 0)
    options = listening._server.options
    assert (options.head_timeout, options.idle_timeout) == (HEAD_SECONDS, KEEPALIVE_SECONDS) == (10.0, 75.0)
    await listening.close()


async def test_who_gets_no_place_is_told():
    """503 with the reason while every connection has a request that is being answered, and the owner learns of it."""
    begun, gate, told = asyncio.Event(), asyncio.Event(), []

    async def hold(request):
        begun.set()
        await gate.wait()
        return await echo(request)

    clients = Clients(most=1, turned_away=lambda *turned: told.append(turned))
    listening = await listen({"/": Page(hold, "")}, "127.0.0.1", 0, clients=clients)
    first = Caller(*await asyncio.open_connection("127.0.0.1", listening.port))
    await first.send(get())
    await begun.wait()
    second = Caller(*await asyncio.open_connection("127.0.0.1", listening.port))
    refusal = await second.rest()
    assert (refusal[:13], b"too many connections from one address" in refusal) == (b"HTTP/1.1 503 ", True)
    assert told == [("address", "127.0.0.1")]
    gate.set()
    assert (await first.answer())[0].startswith(b"HTTP/1.1 200 ")
    for caller in (first, second):
        caller.writer.close()
    await listening.close()
