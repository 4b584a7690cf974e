"""Tables of routes behind callers on raw sockets: what HTTP/1.1 leaves open, and what is slow, greedy or gone."""

import asyncio
import gzip
import re
import socket
import zlib
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from ratelimitd import http1
from ratelimitd.admin import server
from ratelimitd.admin.http import Page, PageRequest, PageResponse, PageTable
from ratelimitd.admin.server import BODY_BYTES, Clients, Pages, listen
from ratelimitd.http1 import ServerOptions, Sweeper
from tests.admin.calling import Caller, chunked, echo, get, post

TICK = 0.01


Connect = Callable[..., Awaitable[Caller]]


@pytest.fixture
async def connect():
    """Serves a handler for every path, and connects to it."""
    listeners, callers = [], []

    async def make(handler, host="127.0.0.1"):
        listening = await listen({"/": Page(handler, "")}, host, 0)
        listeners.append(listening)
        caller = Caller(*await asyncio.open_connection(host, listening.port))
        callers.append(caller)
        return caller

    yield make
    for caller in callers:
        caller.writer.close()
    for listening in listeners:
        await listening.close()


async def test_a_request_in_single_bytes_arrives_whole(connect):
    """Head and body alike."""
    caller = await connect(echo)
    for byte in post(b"hello"):
        await caller.send(bytes([byte]))
    assert (await caller.answer())[1] == b"POST / {} 5"


async def test_requests_sent_at_once_are_answered_in_their_order(connect):
    """Whole ones and streams, on one connection."""

    async def handler(request):
        if request.path == "/stream":
            return PageResponse(200, pieces(b"one", b"two"))
        await asyncio.sleep(TICK if request.path == "/slow" else 0)
        return await echo(request)

    caller = await connect(handler)
    await caller.send(get(b"/slow") + post(b"ab") + get(b"/stream") + get(b"/last"))
    bodies = [(await caller.answer())[1] for _ in range(4)]
    assert bodies == [b"GET /slow {} 0", b"POST / {} 2", b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", b"GET /last {} 0"]


async def pieces(*texts):
    for text in texts:
        yield text
        await asyncio.sleep(0)


async def test_a_caller_of_http_1_0_gets_what_it_knows(connect):
    """A stream up to the end of the connection, and keep-alive where it asked for it."""

    async def handler(request):
        return PageResponse(200, pieces(b"one", b"two") if request.path == "/stream" else b"whole")

    caller = await connect(handler)
    await caller.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    head, body = await caller.answer()
    assert b"\r\nConnection: keep-alive\r\n" in head
    assert body == b"whole"
    await caller.send(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer = await caller.rest()
    assert b"Transfer-Encoding" not in answer
    assert answer.endswith(b"\r\nConnection: close\r\n\r\nonetwo")


async def test_head_is_get_without_its_body(connect):
    """The same headers, of a whole answer and of a stream; the connection goes on."""

    async def handler(request):
        body = pieces(b"one") if request.path == "/stream" else b"whole"
        return PageResponse(200, body, "text/x-odd", {"X-Ours": "yes"})

    caller = await connect(handler)
    for path in (b"/", b"/stream"):
        await caller.send(get(path))
        expected, _ = await caller.answer()
        await caller.send(get(path).replace(b"GET", b"HEAD"))
        head = await caller.head()
        assert b"\r\nContent-Type: text/x-odd\r\n" in head
        assert undated(head) == undated(expected)
    await caller.send(get())
    assert (await caller.answer())[1] == b"whole"


def undated(head):
    return re.sub(rb"Date: [^\r]*", b"", head)


@pytest.mark.parametrize(
    ("target", "path", "query", "raw"),
    [
        (b"/a%20b%C3%A9", "/a bé", {}, ""),
        (b"/a+b", "/a+b", {}, ""),
        (b"/%ff", "/\ufffd", {}, ""),
        (b"/?a=1&a=2&b=%C3%A9+x&c", "/", {"a": "1", "b": "é x", "c": ""}, "a=1&a=2&b=%C3%A9+x&c"),
        (b"http://localhost/y?a=1", "/y", {"a": "1"}, "a=1"),
    ],
)
async def test_a_target_is_decoded(connect, target, path, query, raw):
    """The path and the first value of each name; the query is there as it was sent too."""
    seen: list[PageRequest] = []

    async def handler(request):
        seen.append(request)
        return PageResponse(200, b"")

    caller = await connect(handler)
    await caller.send(get(target))
    await caller.answer()
    assert [(asked.path, dict(asked.query), asked.raw_query) for asked in seen] == [(path, query, raw)]


async def test_headers_are_found_in_any_case_and_the_first_of_a_name_counts(connect):
    """Bytes that are no UTF-8 come as they are, as a token of such bytes must be compared."""
    seen: list[PageRequest] = []

    async def handler(request):
        seen.append(request)
        return PageResponse(200, b"")

    caller = await connect(handler)
    await caller.send(get(b"/", b"X-One: 1", b"x-one: 2", b"X-Odd: \xff"))
    await caller.answer()
    headers = seen[0].headers
    assert (headers["x-One"], headers.get("X-ODD"), headers.get("none")) == ("1", "\udcff", None)
    assert sorted(headers) == ["host", "x-odd", "x-one"]


@pytest.mark.parametrize("begun", [chunked(b"x" * (BODY_BYTES + 1)), post(b"x" * (BODY_BYTES + 1))[:-BODY_BYTES]])
async def test_a_body_over_the_bound_is_413_before_its_end(connect, begun):
    """In chunks, and by its length."""
    caller = await connect(echo)
    await caller.send(begun)
    assert (await caller.answer())[0].startswith(b"HTTP/1.1 413 ")


async def test_a_body_of_the_bound_in_chunks_is_read(connect):
    """As one with a length is."""
    caller = await connect(echo)
    await caller.send(chunked(b"x" * BODY_BYTES) + b"0\r\n\r\n")
    assert (await caller.answer())[1] == b"POST / {} %d" % BODY_BYTES


async def test_who_expects_100_hears_of_too_large_a_body_instead(connect):
    """Before it sent any of it."""
    caller = await connect(echo)
    head = post(b"x" * (BODY_BYTES + 1), b"Expect: 100-continue")[: -BODY_BYTES - 1]
    await caller.send(head)
    assert (await caller.head()).startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_drips_is_408(connect, monkeypatch):
    """Each byte is in time, but the whole is not."""
    monkeypatch.setattr(server, "BODY_SECONDS", 10 * TICK)
    caller = await connect(echo)
    await caller.send(post(b"x" * BODY_BYTES)[:-BODY_BYTES])
    answer = asyncio.ensure_future(caller.rest())
    while not answer.done():
        caller.writer.write(b"x")
        await asyncio.sleep(TICK)
    assert answer.result().startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        (b"gzip", gzip.compress(b"hello")),
        (b"X-GZIP", gzip.compress(b"hello")),
        (b"deflate", zlib.compress(b"hello")),
        (b"identity", b"hello"),
    ],
)
async def test_a_packed_body_is_unpacked(connect, coding, packed):
    """The handler reads what was meant."""
    caller = await connect(echo)
    await caller.send(post(packed, b"Content-Encoding: " + coding))
    assert (await caller.answer())[1] == b"POST / {} 5"


@pytest.mark.parametrize(
    ("coding", "packed", "status"),
    [
        (b"gzip", gzip.compress(bytes(BODY_BYTES)), 200),
        (b"gzip", gzip.compress(bytes(BODY_BYTES + 1)), 413),
        (b"gzip", gzip.compress(b"hello")[:-1], 400),
        (b"gzip", gzip.compress(b"hello") + b"x", 400),
        (b"gzip", zlib.compress(b"hello"), 400),
        (b"br", b"hello", 400),
        (b"gzip, gzip", b"hello", 400),
    ],
)
async def test_a_packed_body_is_bounded_and_whole(connect, coding, packed, status):
    """By what it holds; and one that cannot be unpacked is the caller's error."""
    caller = await connect(echo)
    await caller.send(post(packed, b"Content-Encoding: " + coding))
    assert (await caller.answer())[0].startswith(b"HTTP/1.1 %d " % status)


async def test_a_caller_that_does_not_read_has_no_more_made_for_it(connect):
    """A stream waits for its caller instead of filling memory with what it would not take."""
    size, total = 64 << 10, 1_000
    made = 0

    async def handler(_):
        return PageResponse(200, endless())

    async def endless():
        nonlocal made
        for _ in range(total):
            made += 1
            yield b"x" * size

    caller = await connect(handler)
    caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
    caller.writer.write(get())
    before, still = 0, 0
    while still < 200:
        still = still + 1 if 0 < before == made else 0
        before = made
        await asyncio.sleep(0)
    assert made < total
    caller.writer.transport.abort()


async def test_a_stream_has_its_time(connect, monkeypatch):
    """Whoever waits: then it is cut, though the caller reads."""
    monkeypatch.setitem(server.STREAMINGS, "text", server.STREAMINGS["text"]._replace(seconds=TICK))

    async def handler(_):
        return PageResponse(200, waiting())

    async def waiting():
        yield b"one"
        await asyncio.Event().wait()

    caller = await connect(handler)
    await caller.send(get())
    assert (await caller.rest()).endswith(b"\r\n\r\n3\r\none\r\n")


async def test_a_failure_within_a_stream_cuts_it(connect):
    """The caller sees that the text is not whole; it is logged as one of ours, with its path, once."""

    async def handler(_):
        return PageResponse(200, failing())

    async def failing():
        yield b"one"
        raise RuntimeError("a bug")

    caller = await connect(handler)
    with capture_logs() as logs:
        await caller.send(get(b"/%78"))
        assert (await caller.rest()).endswith(b"\r\n\r\n3\r\none\r\n")
    assert [(entry["event"], entry["path"]) for entry in logs] == [("admin request failed", "/x")]


async def test_a_handler_is_not_stopped_by_a_caller_that_leaves(connect):
    """It may be in the middle of a reset: half of one is worse than one nobody waits for."""
    begun, gate, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(_):
        begun.set()
        await gate.wait()
        await asyncio.sleep(0)
        done.set()
        return PageResponse(200, b"")

    caller = await connect(handler)
    await caller.send(get())
    async with asyncio.timeout(10):
        await begun.wait()
        caller.writer.transport.abort()
        await caller.writer.wait_closed()
        gate.set()
        await done.wait()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_an_ipv6_address_of_its_own(connect):
    """Bound to one address, and the caller's is as a handler sees it."""

    async def handler(request):
        return PageResponse(200, request.peer.encode())

    caller = await connect(handler, "::1")
    await caller.send(get())
    assert (await caller.answer())[1] == b"::1"


async def test_one_address_may_hold_all_connections_there_are():
    """Callers behind one sidecar look like one, probes among them; with all places taken the idlest makes room."""
    listening = await listen({"/": Page(echo, "")}, "127.0.0.1", 0, clients=Clients(most=20))
    callers = [Caller(*await asyncio.open_connection("127.0.0.1", listening.port)) for _ in range(20)]
    for caller in callers:
        await caller.send(get())
        assert (await caller.answer())[0].startswith(b"HTTP/1.1 200 ")
    callers.append(Caller(*await asyncio.open_connection("127.0.0.1", listening.port)))
    await callers[-1].send(get())
    assert (await callers[-1].answer())[0].startswith(b"HTTP/1.1 200 ")
    assert await callers[0].rest() == b""
    for caller in callers:
        caller.writer.close()
    await listening.close()


async def test_a_listener_that_closes_gives_answers_under_way_a_moment(monkeypatch):
    """One that takes longer is ended, and leaves no task behind."""
    monkeypatch.setattr(server, "CLOSE_SECONDS", 5 * TICK)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handler(request):
        begun.set()
        try:
            await asyncio.sleep(TICK if request.path == "/quick" else 60)
        finally:
            ended.set()
        return PageResponse(200, b"done")

    for path, last in ((b"/quick", b"done"), (b"/slow", b"")):
        listening = await listen({"/": Page(handler, "")}, "127.0.0.1", 0)
        caller = Caller(*await asyncio.open_connection("127.0.0.1", listening.port))
        await caller.send(get(path))
        await begun.wait()
        await listening.close()
        assert ended.is_set()
        assert (await caller.rest()).endswith(last)
        begun.clear()
        ended.clear()
        caller.writer.close()


async def test_pages_answer_alike_among_those_of_a_proxy():
    """On a server with bounds and refusals of its own: HEAD, query, headers, and the bound of a body."""

    async def handler(request):
        text = f"{dict(request.query)} {request.headers['x-a']} {request.peer}"
        return PageResponse(200, text.encode(), headers={"X-Ours": "yes"})

    def render(refusal, _):
        return [(b"X-Proxy", b"yes")], b"%d" % refusal.status

    routes: PageTable = {"/pages/a": Page(handler, "")}
    pages, sweeper = Pages(routes), Sweeper()
    proxy = http1.Server(pages, ServerOptions(), sweeper, render=render)
    sock = socket.create_server(("127.0.0.1", 0))
    await proxy.start(sock)
    caller = Caller(*await asyncio.open_connection(*sock.getsockname()))
    await caller.send(get(b"/pages/a?b=1", b"X-A: yes"))
    head, body = await caller.answer()
    assert b"\r\nX-Ours: yes\r\n" in head
    assert body == b"{'b': '1'} yes 127.0.0.1"
    await caller.send(get(b"/pages/a?b=1", b"X-A: yes").replace(b"GET", b"HEAD"))
    assert undated(await caller.head()) == undated(head)
    await caller.send(chunked(b"x" * (BODY_BYTES + 1)))
    head, body = await caller.answer()
    assert (head.split()[1], b"X-Proxy: yes" in head, body) == (b"413", True, b"413")
    caller.writer.close()
    await proxy.stop(0)
    await pages.close()
    sweeper.close()
