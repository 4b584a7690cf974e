"""Responses made piece by piece, read by clients that are well, slow, gone or old."""

import asyncio

import pytest

from ratelimitd.http1 import stream
from tests.http1.answering import Answering
from tests.http1.rig import get, unsent, until
from tests.turning import turning

OLD = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"
TEXT = [(b"Content-Type", b"text/plain")]
SOON = 0.05
LAST_CHUNK = b"0\r\n\r\n"


async def rested(pieces):
    """Wait until no more pieces are asked for; return how many were."""
    made, still = 0, 0
    while still < 200:
        still = still + 1 if 0 < made == pieces.made else 0
        made = pieces.made
        await asyncio.sleep(0)
    return made


class Pieces:
    """Makes pieces, and knows how many were asked for and whether it was closed.

    What it made is kept, so that it is closed by the one who is to do it, and not by the collector.
    """

    def __init__(self, *pieces, then=None):
        self.made = 0
        self.closed = asyncio.Event()
        self.given = []
        self._pieces = pieces
        self._then = then

    def __call__(self):
        self.given.append(self._make())
        return self.given[-1]

    async def _make(self):
        try:
            for piece in self._pieces:
                self.made += 1
                yield piece
            if self._then is not None:
                await self._then()
        finally:
            self.closed.set()


def streaming(pieces, *, seconds=None, whole=False):
    """A handler that answers with these pieces."""

    async def answer(exchange):
        await stream(exchange, 200, TEXT, pieces(), seconds=seconds, whole=whole)

    return Answering(answer)


async def forever():
    await asyncio.Event().wait()


async def fail():
    raise RuntimeError("a bug")


async def closing(pieces):
    async with asyncio.timeout(10):
        await pieces.closed.wait()


async def test_pieces_come_as_chunks_and_the_connection_goes_on(rigs):
    """Each piece is a chunk, an empty one is none, and a request behind the body is answered."""
    rig = await rigs(handler=streaming(Pieces(b"one", b"", b"two")))
    client = await rig.client()
    await client.send(get() + get())
    for _ in range(2):
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: ")
        assert head.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_a_client_of_http_1_0_reads_until_the_end_of_the_connection(rigs):
    """No chunks, which it does not know, and Connection: close even where it asked to keep it."""
    rig = await rigs(handler=streaming(Pieces(b"one", b"two")))
    client = await rig.client()
    await client.send(OLD.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"))
    head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"\r\nConnection: close" in head
    assert body == b"onetwo"


async def test_head_has_the_headers_and_asks_for_no_piece(rigs):
    """The pieces are closed unmade, and the connection goes on."""
    pieces = Pieces(b"one")
    rig = await rigs(handler=streaming(pieces))
    client = await rig.client()
    expected = (await client.ask(get()))[0]
    assert pieces.made == 1
    await client.send(get().replace(b"GET", b"HEAD"))
    head = await client.until()
    assert [line for line in expected.split(b"\r\n") if not line.startswith(b"Date")] == [
        line for line in head.split(b"\r\n") if not line.startswith(b"Date")
    ]
    assert pieces.made == 1
    assert pieces.given[-1].ag_frame is None
    assert (await client.ask(get()))[1] == b"3\r\none\r\n" + LAST_CHUNK


async def test_a_piece_leaves_when_it_is_made(rigs):
    """A stream of events with no bound on its time: the client has each before the next one is made."""
    gate = asyncio.Semaphore(0)

    async def events():
        for number in range(3):
            await gate.acquire()
            yield b"data: %d\n\n" % number

    rig = await rigs(handler=streaming(events))
    client = await rig.client()
    await client.send(get())
    await client.until()
    for number in range(3):
        gate.release()
        assert b"9\r\ndata: %d\n\n\r\n" % number == await client.exactly(14)
    assert await client.until(LAST_CHUNK) == LAST_CHUNK


async def test_a_client_that_does_not_read_has_no_pieces_made(rigs):
    """What is held for it is one piece beyond the bound of the buffer; when it reads on nothing is missing."""
    size, total = 64 << 10, 1_000
    pieces = Pieces(*[b"x" * size] * total)
    rig = await rigs(handler=streaming(pieces), sndbuf=64 << 10)
    client = await rig.client()
    client.writer.transport.pause_reading()
    client.writer.write(get())
    assert await rested(pieces) < total
    assert unsent(*rig.downstream) <= (32 << 10) + size + 100
    client.writer.transport.resume_reading()
    await client.until()
    assert total * (size + len(b"10000\r\n\r\n")) + len(LAST_CHUNK) == len(await read(client, LAST_CHUNK))


async def test_a_piece_at_a_time_is_held_for_a_client_that_does_not_read(rigs):
    """With ``whole`` the next one is made when all before was read: less than one is unsent, far below the bound."""
    size, total = 4 << 10, 4_000
    pieces = Pieces(*[b"x" * size] * total)
    rig = await rigs(handler=streaming(pieces, whole=True), sndbuf=64 << 10)
    client = await rig.client()
    client.writer.transport.pause_reading()
    client.writer.write(get())
    assert await rested(pieces) < total
    assert 0 < unsent(*rig.downstream) <= size + 100
    client.writer.transport.resume_reading()
    await client.until()
    assert total * (size + len(b"1000\r\n\r\n")) + len(LAST_CHUNK) == len(await read(client, LAST_CHUNK))


async def test_a_client_that_leaves_ends_a_piece_that_it_does_not_read(rigs):
    """With ``whole`` too the pieces are closed, and nobody is told of an error."""
    pieces = Pieces(*[b"x" * (64 << 10)] * 1_000)
    handler = streaming(pieces, whole=True)
    rig = await rigs(handler=handler, sndbuf=64 << 10)
    client = await rig.client()
    client.writer.transport.pause_reading()
    client.writer.write(get())
    await until(lambda: pieces.made > 1)
    client.reset()
    await closing(pieces)
    await handler.ended()
    assert handler.errors == []


async def read(client, mark):
    """Read up to a mark however far it is."""
    received = bytearray()
    while not received.endswith(mark):
        received += await client.reader.read(1 << 20)
    return received


async def first_piece(rigs, pieces):
    """A handler that streams these, and a client that has read the first of them."""
    handler = streaming(pieces)
    rig = await rigs(handler=handler)
    client = await rig.client()
    await client.send(get())
    await client.until(b"one\r\n")
    return handler, client


async def test_pieces_made_without_a_pause_leave_the_loop_to_others(rigs):
    """A client that reads as fast as they come does not take the loop: it turns at each piece."""
    rig = await rigs(handler=streaming(Pieces(*[b"x"] * 500)))
    client = await rig.client()
    with turning() as turns:
        await client.send(get())
        await client.answer()
        assert turns.count >= 500


async def test_a_client_that_leaves_ends_what_waits_for_a_piece(rigs):
    """The pieces are closed though the next one would never come, and nobody is told of an error."""
    pieces = Pieces(b"one", then=forever)
    handler, client = await first_piece(rigs, pieces)
    client.reset()
    await closing(pieces)
    await handler.ended()
    assert handler.errors == []


async def test_a_client_that_leaves_ends_what_waits_for_it(rigs):
    """A client that does not read and then goes: the pieces are closed."""
    pieces = Pieces(*[b"x" * 100_000] * 1_000)
    handler = streaming(pieces)
    rig = await rigs(handler=handler)
    client = await rig.client()
    client.writer.transport.pause_reading()
    client.writer.write(get())
    await until(lambda: pieces.made > 1)
    client.reset()
    await closing(pieces)
    await handler.ended()
    assert handler.errors == []


async def test_what_ends_before_it_begins_is_closed(rigs):
    """A client that is gone when its stream begins: nothing is made, and the pieces are closed."""
    pieces, gate = Pieces(b"one"), asyncio.Event()

    async def answer(exchange):
        await gate.wait()
        await stream(exchange, 200, TEXT, pieces(), seconds=None)
        pieces.closed.set()

    rig = await rigs(handler=Answering(answer))
    client = await rig.client()
    await client.send(get())
    await until(lambda: rig.server.connections == 1)
    client.reset()
    await until(lambda: not rig.server.connections)
    gate.set()
    await closing(pieces)
    assert pieces.made == 0
    assert pieces.given[0].ag_frame is None


@pytest.mark.parametrize("then", [forever, fail])
async def test_half_a_body_does_not_look_whole(rigs, then):
    """Time that is up or a failure in the middle: the connection ends, and what was chunked has no last chunk."""
    pieces = Pieces(b"one", then=then)
    handler = streaming(pieces, seconds=SOON)
    rig = await rigs(handler=handler)
    client = await rig.client()
    await client.send(get())
    assert (await client.rest()).endswith(b"\r\n\r\n3\r\none\r\n")
    await handler.ended()
    assert pieces.closed.is_set()
    assert [str(error) for error in handler.errors] == (["a bug"] if then is fail else [])


@pytest.mark.parametrize("then", [forever, fail])
async def test_half_a_body_does_not_look_whole_to_http_1_0(rigs, then):
    """There the end of the connection would be the end of the body, so it is reset."""
    rig = await rigs(handler=streaming(Pieces(b"one", then=then), seconds=SOON))
    client = await rig.client()
    await client.send(OLD)
    with pytest.raises(ConnectionError):
        await client.rest()


@pytest.mark.parametrize(("then", "error"), [(None, ""), (forever, "response took too long"), (fail, "response could")])
async def test_how_it_ended_is_told(rigs, then, error):
    """With the bytes of the body, and why it is not whole."""

    async def answer(exchange):
        rig.watch(exchange.request, exchange)
        await stream(exchange, 200, TEXT, Pieces(b"one", b"two", then=then)(), seconds=SOON)

    rig = await rigs(handler=Answering(answer))
    client = await rig.client()
    await client.send(get())
    summary = await rig.summary()
    assert (summary.status, summary.sent) == (200, 6)
    assert summary.error.startswith(error)
    assert bool(error) == bool(summary.error)


async def test_a_cut_is_not_put_off_by_a_client_that_does_not_read(rigs):
    """The connection is gone at once, with what was still to be sent."""
    pieces = Pieces(*[b"x" * 100_000] * 1_000)
    rig = await rigs(handler=streaming(pieces, seconds=SOON))
    client = await rig.client()
    client.writer.transport.pause_reading()
    client.writer.write(get())
    await closing(pieces)
    await until(lambda: not rig.server.connections)


async def test_a_timeout_of_the_pieces_is_a_failure_of_theirs(rigs):
    """It is raised like any other, and not taken for the end of the stream's time."""

    async def late():
        raise TimeoutError("the store")

    handler = streaming(Pieces(b"one", then=late), seconds=60)
    rig = await rigs(handler=handler)
    client = await rig.client()
    await client.send(get())
    assert not (await client.rest()).endswith(LAST_CHUNK)
    await handler.ended()
    assert [str(error) for error in handler.errors] == ["the store"]


async def test_an_answer_that_is_given_up_is_cut(rigs):
    """A process that ends cancels its answers: the client sees that the body is not whole."""
    pieces = Pieces(b"one", then=forever)
    handler, client = await first_piece(rigs, pieces)
    handler.tasks[0].cancel()
    assert await client.rest() == b""
    assert pieces.closed.is_set()
