"""Bodies read whole, from clients that are well, slow, greedy or gone."""

import asyncio

import pytest

from ratelimitd.http1 import ServerOptions, read_body
from tests.http1.answering import Answering
from tests.http1.rig import get, post, until

MOST = 100
SOON = 0.05
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Reader:
    """Answers with the body; keeps what was read."""

    def __init__(self, seconds=60.0):
        self.bodies = []
        self.handler = Answering(self._answer)
        self._seconds = seconds

    async def _answer(self, exchange):
        body = await read_body(exchange, max_body=MOST, seconds=self._seconds)
        self.bodies.append(body)
        if body is not None:
            exchange.respond(200, [], body)


async def test_a_body_in_single_bytes_arrives_whole(rigs):
    """Framed by its length and in chunks; what stands behind it is the next request."""
    reader = Reader()
    rig = await rigs(handler=reader.handler)
    client = await rig.client()
    for message in (post(b"hello"), CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n"):
        for at in range(len(message)):
            await client.send(message[at : at + 1])
            await asyncio.sleep(0)
        assert (await client.answer())[1] == b"hello"
    await client.send(post(b"one") + post(b"two") + get())
    assert [(await client.answer())[1] for _ in range(3)] == [b"one", b"two", b""]


async def test_a_body_of_the_bound_is_read_and_a_byte_more_is_413(rigs):
    """By its length before a byte of it came, and in chunks as soon as it is too large; it need not end."""
    reader = Reader()
    rig = await rigs(handler=reader.handler)
    client = await rig.client()
    assert (await client.ask(post(b"x" * MOST)))[1] == b"x" * MOST
    assert (await client.ask(CHUNKED + b"64\r\n%b\r\n0\r\n\r\n" % (b"x" * MOST)))[1] == b"x" * MOST
    for begun in (post(b"x" * (MOST + 1))[: -MOST - 1], CHUNKED + b"65\r\n%b" % (b"x" * (MOST + 1))):
        client = await rig.client()
        assert (await client.ask(begun))[0].startswith(b"HTTP/1.1 413 ")
    assert reader.bodies[2:] == [None, None]


async def test_who_expects_100_is_told_to_send_what_will_be_read(rigs):
    """And hears of a body that is too large instead of sending it."""
    rig = await rigs(handler=Reader().handler)
    client = await rig.client()
    await client.send(post(b"hello", b"Expect: 100-continue")[:-5])
    assert await client.until() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await client.ask(b"hello"))[1] == b"hello"
    await client.send(post(b"x" * (MOST + 1), b"Expect: 100-continue")[: -MOST - 1])
    assert (await client.until()).startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_takes_too_long_as_a_whole_is_408(rigs):
    """Though no byte of it is late; the connection ends, as the rest may never come."""
    reader = Reader(SOON)
    rig = await rigs(handler=reader.handler)
    client = await rig.client()
    await client.send(post(b"x" * MOST)[:-MOST])
    answer = asyncio.ensure_future(client.rest())
    while not answer.done():
        client.writer.write(b"x")
        await asyncio.sleep(0.01)
    head = answer.result().partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 408 ")
    assert head.endswith(b"\r\nConnection: close")
    assert reader.bodies == [None]


async def test_a_body_that_stops_coming_is_408(rigs):
    """By the server's own bound where that is the shorter one."""
    reader = Reader()
    rig = await rigs(handler=reader.handler, server=ServerOptions(body_timeout=SOON))
    client = await rig.client()
    assert (await client.ask(post(b"hello")[:-1]))[0].startswith(b"HTTP/1.1 408 ")
    assert reader.bodies == [None]


async def test_a_malformed_body_is_400(rigs):
    """The handler hears that there is none."""
    reader = Reader()
    rig = await rigs(handler=reader.handler)
    client = await rig.client()
    assert (await client.ask(CHUNKED + b"zz\r\n"))[0].startswith(b"HTTP/1.1 400 ")
    assert reader.bodies == [None]


@pytest.mark.parametrize("begun", [0, 3])
async def test_a_client_that_leaves_ends_the_reading(rigs, begun):
    """Before and within its body."""
    reader = Reader()
    rig = await rigs(handler=reader.handler)
    client = await rig.client()
    await client.send(post(b"hello")[: begun - 5])
    await until(lambda: reader.handler.tasks)
    client.reset()
    async with asyncio.timeout(10):
        await reader.handler.ended()
    assert reader.bodies == [None]


async def test_what_ends_before_it_is_read_has_no_body(rigs):
    """A client that is gone when its body is asked for: there is none to wait for."""
    bodies, gate = [], asyncio.Event()

    async def answer(exchange):
        await gate.wait()
        bodies.append(await read_body(exchange, max_body=MOST, seconds=60))

    handler = Answering(answer)
    rig = await rigs(handler=handler)
    client = await rig.client()
    await client.send(post(b"hello")[:-5])
    await until(lambda: handler.tasks)
    client.reset()
    await until(lambda: not rig.server.connections)
    gate.set()
    async with asyncio.timeout(10):
        await handler.ended()
    assert bodies == [None]
