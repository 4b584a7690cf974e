"""Connections of the fast transport that make room for others, over real sockets of several addresses."""

import asyncio
import errno
import socket
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import grpc
import pytest
from grpc import aio

from ratelimitd.net import accept
from ratelimitd.net.tls import TlsFiles
from ratelimitd.transport import Refusal
from tests.transport.raw import closed, raw, read_until
from tests.transport.servers import ECHO
from tests.transport.wire import Caller

PATIENCE = 30.0


async def gone(caller, reader):
    """Wait until the server closes a connection."""
    async with asyncio.timeout(PATIENCE):
        return await closed(caller, reader)


@asynccontextmanager
async def caller_from(server, host="127.0.0.1"):
    """A connection from one of this machine's own addresses that had a call, and its caller."""
    where, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(where, int(port), local_addr=(host, 0))
    caller = Caller()
    try:
        writer.write(caller.start() + caller.call())
        await read_until(caller, reader, lambda: caller.answer().trailers)
        await asyncio.sleep(0.002)  # the loop's clock has milliseconds
        yield caller, reader, writer
    finally:
        writer.transport.abort()


def silent(server, stack, host="127.0.0.1"):
    """Open a connection that sends nothing, until the stack ends."""
    where, _, port = server.address.rpartition(":")
    return stack.enter_context(socket.create_connection((where, int(port)), source_address=(host, 0)))


async def answered(caller, reader, writer):
    """Whether a further call is answered."""
    writer.write(caller.call())
    async with asyncio.timeout(PATIENCE):
        return not await read_until(caller, reader, lambda: caller.answer().trailers)


def places(fast, number, **more):
    return fast.options._replace(max_connections=number, **more)


async def test_the_idlest_is_asked_to_leave_while_places_are_left(fast):
    """Past nine tenths of the places it gets the notice of a drain, then GOAWAY, and is closed; others stay."""
    async with fast.serve(options=places(fast, 10)) as server, AsyncExitStack() as stack:
        held = [await stack.enter_async_context(caller_from(server, f"127.0.0.{2 + turn}")) for turn in range(10)]
        caller, reader, _ = held[0]
        assert await gone(caller, reader)
        assert [code for _, code in caller.goaways()] == [0, 0]
        for one in held[1:]:
            assert await answered(*one)
        while len(server.places) > 9:
            await asyncio.sleep(0.01)
        assert server.places.made_room == 1


async def test_silent_connections_do_not_keep_a_caller_out(fast):
    """Places full of connections that never spoke: a caller of the same address is served."""
    async with fast.serve(options=places(fast, 20)) as server, AsyncExitStack() as stack:
        for _ in range(40):
            silent(server, stack)
        channel = await stack.enter_async_context(aio.insecure_channel(server.address))
        assert await channel.unary_unary(ECHO)(b"x", timeout=20) == b"x"
        assert len(server.places) <= 20


async def test_a_call_in_flight_keeps_its_connection(fast):
    """Idle connections come and go around it, and its answer arrives."""
    held = []
    async with fast.serve(held.extend, options=places(fast, 2)) as server, AsyncExitStack() as stack:
        caller, reader, writer = await stack.enter_async_context(raw(server))
        writer.write(caller.call())
        while not held:
            await asyncio.sleep(0.01)
        for turn in range(10):
            silent(server, stack, f"127.0.0.{2 + turn}")
        while server.places.made_room < 9:
            await asyncio.sleep(0.01)
        held.pop().respond(b"y")
        assert not await read_until(caller, reader, lambda: caller.answer().trailers)
        assert caller.answer().body.endswith(b"y")


@pytest.mark.parametrize(("trusted", "stays"), [((), False), (("127.0.0.2/32",), True)])
async def test_an_address_over_a_quarter_makes_room_first(fast, trusted, stays):
    """Although another is idle longer; a trusted peer has no such share."""
    options = places(fast, 8, trusted_peers=trusted)
    async with fast.serve(options=options) as server, AsyncExitStack() as stack:
        other = await stack.enter_async_context(caller_from(server, "127.0.0.3"))
        many = [await stack.enter_async_context(caller_from(server, "127.0.0.2")) for _ in range(7)]
        await stack.enter_async_context(caller_from(server, "127.0.0.4"))
        first, (kept, *_) = (other, many) if stays else (many[0], [other])
        assert await gone(*first[:2])
        assert await answered(*kept)


async def test_unix_sockets_have_no_share(fast, tmp_path):
    """All their connections have one peer, so all places are theirs, and the idlest makes room."""
    path = str(tmp_path / "socket")
    async with fast.serve(options=places(fast, 4), uds=path) as server, AsyncExitStack() as stack:
        for _ in range(4):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        async with aio.insecure_channel(server.address) as channel:
            assert await channel.unary_unary(ECHO)(b"x", timeout=20) == b"x"


async def test_a_handshake_is_a_connection(fast, certificates):
    """Silent clients of a TLS port count within the places, and a caller is served at once in place of one."""
    files = TlsFiles(certificates.cert, certificates.key)
    async with fast.serve(options=places(fast, 4), tls=files) as server, AsyncExitStack() as stack:
        for _ in range(4):
            silent(server, stack)
        while len(server.places) < 4:
            await asyncio.sleep(0.01)
        credentials = grpc.ssl_channel_credentials(certificates.root)
        async with aio.secure_channel(server.address, credentials) as channel:
            assert await channel.unary_unary(ECHO)(b"x", timeout=20) == b"x"
        assert server.places.made_room > 0


async def test_handshakes_have_a_bound_of_their_own(fast, certificates, monkeypatch):
    """One more is refused before its hello is read, and told of."""
    monkeypatch.setattr(accept, "HANDSHAKES", 8)
    told = []
    files = TlsFiles(certificates.cert, certificates.key)
    async with (
        fast.serve(tls=files, refused=lambda *refusal: told.append(refusal)) as server,
        AsyncExitStack() as stack,
    ):
        *_, last = (silent(server, stack) for _ in range(9))
        last.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(last, 1) == b""
        assert ([reason for reason, *_ in told], len(server.places)) == ([Refusal.HANDSHAKES], 8)


async def test_a_failed_handshake_frees_its_place(fast, certificates):
    """Of a client that speaks no TLS, or goes away in the middle."""
    async with fast.serve(tls=TlsFiles(certificates.cert, certificates.key)) as server:
        for hello, leaves in ((b"GET / HTTP/1.1\r\n\r\n", False), (b"\x16\x03", True)):
            with ExitStack() as stack:
                client = silent(server, stack)
                while not server.places:
                    await asyncio.sleep(0.01)
                client.sendall(hello)
                if leaves:
                    client.close()
                while server.places:
                    await asyncio.sleep(0.01)


class Full:
    """A listening socket that finds no file for a connection a number of times."""

    def __init__(self, sock, times):
        self.sock, self.left, self.accepted = sock, times, 0

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def _accept(self):
        self.accepted += 1
        if self.left:
            self.left -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self.sock._accept()


async def test_no_file_for_a_connection_keeps_the_loop_free(fast, monkeypatch):
    """While there is none the listening socket, which stays readable, is left alone."""
    monkeypatch.setattr(accept, "RETRY", 3600.0)
    told = []
    server = fast.bind(refused=lambda *refusal: told.append(refusal))
    server._socket = full = Full(server._socket, 1 << 30)
    await server.start()
    with ExitStack() as stack:
        silent(server, stack)
        while not told:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
    await server.stop(0)
    assert (full.accepted, told) == (1, [(Refusal.FILES, "", "Too many open files")])


async def test_no_file_for_a_connection(fast, monkeypatch):
    """It is told of, and when there is one again the connection is served."""
    monkeypatch.setattr(accept, "RETRY", 0.05)
    told = []
    server = fast.bind(refused=lambda *refusal: told.append(refusal))
    server._socket = Full(server._socket, 2)
    await server.start()
    async with aio.insecure_channel(server.address) as channel:
        assert await channel.unary_unary(ECHO)(b"x", timeout=20) == b"x"
    await server.stop(0)
    assert told == 2 * [(Refusal.FILES, "", "Too many open files")]
