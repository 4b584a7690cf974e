"""Requests of our own: to servers that are well, slow, greedy, cut off, or speak something else."""

import asyncio
import socket
import ssl

import pytest
import trustme

from ratelimitd.http1 import (
    HIGH_WATER,
    READ_BYTES,
    ConnectError,
    Endpoint,
    FetchError,
    FetchTimeoutError,
    RemoteProtocolError,
    ResponseTooLargeError,
    fetch,
    receive,
)
from tests.http1.rig import OK, endpoint

SOON = 0.05


def ask(upstream, method=b"GET", target=b"/a?b=c", **options):
    """Ask the scripted upstream, in a task."""
    return asyncio.ensure_future(
        fetch(endpoint(upstream), method, target, **{"seconds": 30, "max_body": 100, **options})
    )


async def test_a_response_comes_whole(upstream):
    """Status, headers as sent and body; the request says where it goes and that it is the connection's only one."""
    asking = ask(upstream, headers=[(b"Accept", b"text/plain")])
    end = await upstream.accept()
    port = upstream.port
    head = b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: text/plain\r\nConnection: close\r\n\r\n" % port
    assert head == await end.until()
    await end.send(b"HTTP/1.1 404 Not Found\r\nX-Y: Z\r\nContent-Length: 2\r\n\r\nok")
    assert await asking == (404, [(b"X-Y", b"Z"), (b"Content-Length", b"2")], b"ok")
    assert await end.rest() == b""


@pytest.mark.parametrize(("method", "body"), [(b"POST", b""), (b"POST", b"hello"), (b"DELETE", b"hello")])
async def test_a_body_goes_with_its_length(upstream, method, body):
    """Also an empty one where the method is known for having one."""
    asking = ask(upstream, method, body=body)
    end = await upstream.accept()
    assert b"\r\nContent-Length: %d\r\n" % len(body) in await end.until()
    assert body == await end.exactly(len(body))
    await end.send(OK)
    assert (await asking).body == b"ok"


async def test_a_host_of_the_callers_replaces_the_endpoints(upstream):
    """There is never more than one."""
    asking = ask(upstream, headers=[(b"host", b"other")])
    end = await upstream.accept()
    assert (await end.until()).lower().count(b"host: ") == 1
    await end.send(OK)
    await asking


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello more",
    ],
)
async def test_a_body_is_what_its_frame_holds(upstream, response):
    """In chunks or counted, in single bytes or at once; a response before it and bytes behind it are left out."""
    asking = ask(upstream)
    end = await upstream.accept()
    await end.until()
    for at in range(len(response) - 10):
        await end.send(response[at : at + 1])
        await asyncio.sleep(0)
    await end.send(response[-10:])
    assert ((await asking).status, (await asking).body) == (200, b"hello")


async def test_a_body_may_end_with_its_connection(upstream):
    """As that of a server of HTTP 1.0 does."""
    asking = ask(upstream)
    end = await upstream.accept()
    await end.until()
    await end.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
    end.close()
    assert (await asking).body == b"hello"


async def test_the_response_to_head_has_no_body(upstream):
    """Whatever length it speaks of."""
    asking = ask(upstream, b"HEAD")
    end = await upstream.accept()
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    assert ((await asking).status, (await asking).body) == (200, b"")


@pytest.mark.parametrize(
    "response",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nConten",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"",
    ],
)
async def test_what_is_no_whole_response_is_an_error(upstream, response):
    """Framing in doubt, a switch nobody asked for, an end in the middle or at once."""
    asking = ask(upstream)
    end = await upstream.accept()
    await end.until()
    await end.send(response)
    end.close()
    with pytest.raises(RemoteProtocolError):
        await asking


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101,
        b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 101,
    ],
)
async def test_a_body_over_the_bound_is_an_error(upstream, response):
    """By its length at once, else with the first byte too many; the connection is ended."""
    asking = ask(upstream)
    end = await upstream.accept()
    await end.until()
    await end.send(response)
    with pytest.raises(ResponseTooLargeError):
        await asking
    await end.closed()


async def test_a_body_of_the_bound_is_none(upstream):
    """The bound is the most that is taken."""
    asking = ask(upstream)
    end = await upstream.accept()
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100)
    assert (await asking).body == b"x" * 100


@pytest.mark.parametrize("response", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"])
async def test_a_response_that_does_not_come_in_time_is_an_error(upstream, response):
    """The bound is on the whole of it, so that a byte now and then does not put it off; the connection is ended."""
    asking = ask(upstream, seconds=SOON)
    end = await upstream.accept()
    await end.until()
    await end.send(response)
    with pytest.raises(FetchTimeoutError):
        await asking
    await end.closed()


async def test_a_head_without_an_end_is_an_error(upstream):
    """It is bounded like an upstream's."""
    asking = ask(upstream)
    end = await upstream.accept()
    await end.send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000)
    with pytest.raises(RemoteProtocolError, match="too long"):
        await asking


async def test_where_nobody_listens_is_an_error():
    """And nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    for nowhere in (
        Endpoint("127.0.0.1", port),
        Endpoint("no such host.invalid", 80),
        Endpoint("x" * 64 + ".invalid", 80),
    ):
        with pytest.raises(ConnectError):
            await fetch(nowhere, b"GET", b"/", seconds=30, max_body=0)


async def test_a_caller_that_gives_up_leaves_no_connection(upstream):
    """Cancelled in the middle."""
    asking = ask(upstream)
    end = await upstream.accept()
    await end.until()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await end.closed()


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        (b"GET", b"/ HTTP/1.1\r\nX: y", []),
        (b"GET", b"/a b", []),
        (b"GE T", b"/", []),
        (b"GET", b"", []),
        (b"GET", b"/", [(b"X", b"y\r\nZ: 1")]),
        (b"GET", b"/", [(b"X: y\r\nZ", b"1")]),
        (b"GET", b"/", [(b"", b"1")]),
        (b"GET", b"/", [(b"content-length", b"1")]),
        (b"GET", b"/", [(b"Transfer-Encoding", b"chunked")]),
        (b"GET", b"/", [(b"Connection", b"x")]),
    ],
)
async def test_what_would_be_another_request_is_not_sent(method, target, headers):
    """Line ends where none may be, and framing that is not the caller's."""
    with pytest.raises(ValueError, match=r"bytes that end it|not the caller's"):
        await fetch(Endpoint("127.0.0.1", 1), method, target, seconds=30, max_body=0, headers=headers)


@pytest.fixture
async def secure():
    """A server with a certificate for localhost; yields its port and the authority."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1], authority
    server.close()


async def test_tls_is_checked_unless_the_context_says_otherwise(secure):
    """By the given authority and for the name; the system's authorities do not know this one."""
    port, authority = secure
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    named = Endpoint("localhost", port, tls=True)
    assert (await fetch(named, b"GET", b"/", seconds=30, max_body=2, tls=trusting)).body == b"ok"
    for wrong, context in ((named, None), (Endpoint("127.0.0.1", port, tls=True), trusting)):
        with pytest.raises(FetchError):
            await fetch(wrong, b"GET", b"/", seconds=30, max_body=2, tls=context)


async def test_a_response_is_received_as_it_comes(upstream):
    """The pieces before an error come first."""
    async with receive(endpoint(upstream), b"GET", b"/") as response:
        end = await upstream.accept()
        await end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        assert (await response.head()).status == 200
        pieces = response.pieces()
        assert await anext(pieces) == b"ab"
        await end.send(b"2\r\ncd\r\n")
        end.close()
        assert await anext(pieces) == b"cd"
        with pytest.raises(RemoteProtocolError):
            await anext(pieces)


async def test_what_is_not_used_is_not_read(upstream):
    """A caller that takes no pieces holds back the server; nothing is lost when it goes on."""
    most = 32 << 20
    async with receive(endpoint(upstream), b"GET", b"/") as response:
        end = await upstream.accept()
        await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % most)
        await response.head()
        sending = asyncio.ensure_future(end.send(b"x" * most))
        async with asyncio.timeout(60):
            while not (sending.done() or "paused" in repr(response.connection)):
                await asyncio.sleep(0)
        assert not sending.done()
        first = await anext(response.pieces())
        assert len(first) <= HIGH_WATER + READ_BYTES
        rest = 0
        async for piece in response.pieces():
            rest += len(piece)
        await sending
    assert len(first) + rest == most
