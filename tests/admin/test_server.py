"""The tables on real sockets, with callers that mean well and callers that do not."""

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from io import BytesIO

import aiohttp
import pytest
from structlog.testing import capture_logs

from ratelimitd.admin import server
from ratelimitd.admin.http import Page, PageRequest, PageResponse, PageTable
from ratelimitd.admin.server import BODY_BYTES, HEAD_BYTES, listen


async def echo(request):
    text = f"{request.method} {request.path} {dict(request.query)} {request.headers.get('x-a')} {len(request.body)}"
    return PageResponse(200, text.encode())


async def stream(_):
    return PageResponse(200, counted(1_000), "text/plain; version=0.0.4; charset=utf-8")


async def counted(lines):
    for number in range(lines):
        yield b"%d\n" % number
        await asyncio.sleep(0)


ROUTES: PageTable = {"/echo": Page(echo, ""), "/stream": Page(stream, "")}


@pytest.fixture
async def listener():
    listening = await listen(ROUTES, "127.0.0.1", 0)
    yield listening
    await listening.close()


@pytest.fixture
async def client(listener):
    async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.port}") as session:
        yield session


async def raw(listener, data):
    """Send bytes as they are and return all that comes until the connection is closed."""
    return await raw_at("127.0.0.1", listener.port, data)


async def raw_at(host, port, data):
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(data)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def endless(size):
    """A page without an end in pieces of this size, and a caller of it: the event is set when the page is closed."""
    ended = asyncio.Event()

    async def pieces():
        try:
            while True:
                yield b"x" * size
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def handler(_):
        return PageResponse(200, pieces())

    listening = await listen({"/": Page(handler, "")}, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return ended, listening, reader, writer


@asynccontextmanager
async def readers():
    """An endless page, its first reader, and a function that asks for the page once more."""
    ended, listening, *first = await endless(8_192)
    made = [first]

    async def ask():
        made.append(await asyncio.open_connection("127.0.0.1", listening.port))
        made[-1][1].write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return made[-1]

    try:
        async with asyncio.timeout(10):
            yield ended, first, ask
    finally:
        for _, writer in made:
            writer.transport.abort()
        await listening.close()


async def test_a_port_has_two_streamed_responses_at_a_time(monkeypatch):
    """A third reader gets 503 and when to try again; a place is free after a client left."""
    monkeypatch.setitem(server.STREAMINGS, "text", server.STREAMINGS["text"]._replace(stays=3600))
    async with readers() as (ended, (first, writer), ask):
        second, _ = await ask()
        assert [b" 200 " in await reader.readline() for reader in (first, second)] == [True, True]
        refused, _ = await ask()
        head = await refused.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in head
        writer.close()
        await ended.wait()
        third, _ = await ask()
        assert b" 200 " in await third.readline()


async def test_a_streamed_response_that_is_late_gives_way(monkeypatch):
    """Two clients that do not read their pages keep no other one from its own: the older of them is cut."""
    monkeypatch.setitem(server.STREAMINGS, "text", server.STREAMINGS["text"]._replace(stays=0))
    async with readers() as (ended, (silent, _), ask):
        assert b" 200 " in await silent.readline()
        for reader in [(await ask())[0] for _ in range(2)]:
            assert b" 200 " in await reader.readline()
            assert len(await reader.readexactly(1 << 20)) == 1 << 20
        await ended.wait()
        with suppress(ConnectionResetError):
            await silent.read()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_a_request_arrives_whole(client, method):
    """Method, path, query, headers in any case, and body."""
    async with client.request(method, "/echo?a=1", headers={"X-A": "yes"}, data=b"12345") as response:
        assert await response.text() == f"{method} /echo {{'a': '1'}} yes 5"


async def test_a_request_says_who_asks_and_what_exactly():
    """The caller's address, and the query undecoded with every value of a name; headers of the answer arrive."""
    seen: list[PageRequest] = []

    async def handler(request):
        seen.append(request)
        return PageResponse(200, b"", headers={"X-Ours": "yes"})

    listening = await listen({"/": Page(handler, "")}, "127.0.0.1", 0)
    answer = await raw(listening, b"GET /?a=%ff&a=b+c HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    await listening.close()
    assert b"X-Ours: yes\r\n" in answer
    assert [(request.peer, request.raw_query) for request in seen] == [("127.0.0.1", "a=%ff&a=b+c")]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_a_caller_over_ipv4_is_on_this_host_on_a_dual_stack_port_too():
    """There the system shows its address as IPv6 that holds IPv4; the pages, and their logs, see IPv4."""
    peers: list[str] = []

    async def handler(request):
        peers.append(request.peer)
        return PageResponse(200, b"")

    listening = await listen({"/": Page(handler, "")}, "::", 0)
    await raw_at("127.0.0.1", listening.port, b"GET / HTTP/1.0\r\n\r\n")
    await listening.close()
    assert peers == ["127.0.0.1"]


async def test_a_stream_arrives_whole(client):
    """With its own content type."""
    async with client.get("/stream") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert await response.text() == "".join(f"{number}\n" for number in range(1_000))


async def test_head_has_no_body(client):
    """Neither for a whole answer nor for a stream, and the connection stays usable."""
    for path in ("/echo", "/stream"):
        async with client.head(path) as response:
            assert (response.status, await response.read()) == (200, b"")


async def test_an_unknown_path_is_404(client):
    """Without reading on."""
    async with client.get("/nope") as response:
        assert response.status == 404


async def test_a_body_up_to_the_bound_is_read(client):
    """1 MiB passes, a byte more is 413."""
    async with client.post("/echo", data=BytesIO(b"x" * BODY_BYTES)) as response:
        assert (await response.text()).endswith(f" {BODY_BYTES}")
    async with client.post("/echo", data=BytesIO(b"x" * (BODY_BYTES + 1))) as response:
        assert response.status == 413


async def test_a_compressed_body_is_bounded_by_what_it_holds(client):
    """A few bytes that unpack to 64 MiB are 413 too."""
    async with client.post("/echo", data=BytesIO(bytes(64 << 20)), compress="deflate") as response:
        assert response.status == 413


@pytest.mark.slow
async def test_a_slow_body_is_408(listener, monkeypatch):
    """A caller that announces a body and does not send it does not keep the connection."""
    monkeypatch.setattr(server, "BODY_SECONDS", 0.05)
    answer = await raw(listener, b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_curls_expect_is_answered(listener):
    """A caller that waits for 100 Continue gets it at once."""
    head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
    answer = await raw(listener, head + b"Connection: close\r\n\r\nab")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


CHUNKED = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        CHUNKED + b"zz\r\nab\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab",
    ],
)
async def test_bytes_that_are_no_http_are_400(listener, data, caplog):
    """Never 500, and nothing logged that a caller could fill a disk with."""
    assert (await raw(listener, data)).split()[1] == b"400"
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /echo HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * HEAD_BYTES, b"431"),
        (b"GET /echo HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 1_000 + b"\r\n", b"431"),
        (b"GET /" + b"a" * HEAD_BYTES, b"414"),
    ],
)
async def test_a_head_over_its_bounds_is_refused(listener, head, status):
    """Too long, too many headers, or too long a target; its end is not waited for."""
    assert (await raw(listener, head)).split()[1] == status


async def test_a_caller_that_does_not_read_is_cut_off(listener, monkeypatch):
    """A stream that is not taken in time ends in an error, not as if it were whole, and lets go of what it held."""
    monkeypatch.setitem(server.STREAMINGS, "text", server.STREAMINGS["text"]._replace(seconds=0.1))
    ended, listening, reader, writer = await endless(100_000)
    async with asyncio.timeout(10):
        await ended.wait()
        assert not (await reader.read()).endswith(b"0\r\n\r\n")
    writer.close()
    await listening.close()


async def test_a_caller_that_goes_away_ends_its_stream(caplog):
    """Its work stops, quietly."""
    ended, listening, reader, writer = await endless(1_000)
    await reader.read(100)
    writer.transport.abort()
    async with asyncio.timeout(10):
        await ended.wait()
    await listening.close()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_error_of_ours_is_500_and_logged():
    """With its path, once."""

    async def handler(_):
        raise RuntimeError("a bug")

    listening = await listen({"/": Page(handler, "")}, "127.0.0.1", 0)
    with capture_logs() as logs:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{listening.port}/x") as response:
            assert response.status == 500
    await listening.close()
    assert [(entry["event"], entry["path"]) for entry in logs] == [("admin request failed", "/x")]


async def test_a_taken_port_is_an_error_that_names_it(listener):
    """The start ends there; SO_REUSEPORT would have hidden the other instance."""
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{listener.port}: ") as caught:
        await listen(ROUTES, "127.0.0.1", listener.port)
    assert caught.value.errno


@pytest.mark.parametrize("host", ["::", "", "0.0.0.0", "localhost"])
async def test_every_way_to_say_everywhere_takes_ipv4(host):
    """``::`` is dual stack: kubelet may probe either family."""
    listening = await listen(ROUTES, host, 0)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{listening.port}/echo") as response,
    ):
        assert response.status == 200
    await listening.close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_dual_stack_takes_ipv6_too():
    """Both families reach one port."""
    listening = await listen(ROUTES, "::", 0)
    async with aiohttp.ClientSession() as session, session.get(f"http://[::1]:{listening.port}/echo") as response:
        assert response.status == 200
    await listening.close()


async def test_a_closed_listener_frees_its_port():
    """A second start in the same place works at once."""
    first = await listen(ROUTES, "127.0.0.1", 0)
    await first.close()
    second = await listen(ROUTES, "127.0.0.1", first.port)
    assert second.port == first.port
    await second.close()
