"""The fast transport's server over real sockets: what time ends, and what is left behind."""

import asyncio
import gc
from collections import deque
from contextlib import AsyncExitStack, suppress

import grpc
import pytest
from grpc import aio
from hyperframe.frame import HeadersFrame, PingFrame

from ratelimitd.net.listen import SocketFile
from ratelimitd.net.tls import TlsFiles
from ratelimitd.transport import connection, lifetime
from ratelimitd.transport.streams import ServerStream
from tests.transport.raw import closed, narrow_at_a_drain, raw, read_until
from tests.transport.servers import ECHO, STREAM, echo
from tests.transport.wire import Caller, message

PATIENCE = 30.0
"""Seconds until a test that waits fails."""


async def test_a_stream_reset_before_its_first_step_is_over(fast):
    """Opened and reset in one turn of the loop, its handler never ran: nothing of it is left, without a collection."""
    started = []

    async def watch(stream):
        started.append(stream)

    async with fast.serve(stream=watch) as server, raw(server) as (caller, reader, writer):
        writer.write(caller.call())
        await read_until(caller, reader, lambda: caller.answer().trailers)
        (connection,) = server.places
        gc.collect()
        gc.disable()
        try:
            connection.data_received(caller.headers(path=STREAM))
            assert server.calls == 1
            connection.data_received(caller.reset())
            while connection._tasks:
                await asyncio.sleep(0)
            assert (started, server.calls) == ([], 0)
            assert [each for each in gc.get_objects() if isinstance(each, ServerStream)] == []
        finally:
            gc.enable()


async def test_a_call_that_is_forgotten_is_over(fast):
    """At once when its handler forgot it, within a sweep when that happened later: INTERNAL, nobody waits for ever."""
    held = []
    for forget in (len, held.extend):
        async with fast.served(forget) as (channel, _):
            waiting = asyncio.ensure_future(channel.unary_unary(ECHO)(b"x", timeout=5).code())
            while forget is not len and not held:
                await asyncio.sleep(0.01)
            held.clear()
            assert grpc.StatusCode.INTERNAL is await waiting


@pytest.mark.slow
async def test_a_drain_waits_for_a_slow_reader(fast, monkeypatch):
    """An answer that takes longer to read than the last moment of a connection arrives whole."""
    monkeypatch.setattr(lifetime, "LINGER", 0.2)
    held = []
    async with fast.serve(held.extend) as server:
        narrow, caller, stopping = await narrow_at_a_drain(server, held)
        loop = asyncio.get_running_loop()
        held.pop().respond(b"x" * 300_000)
        while not caller.answer().trailers and (out := await loop.sock_recv(narrow, 20_000)):
            caller.read(out)
            await asyncio.sleep(0.05)  # as slow as that
        assert (len(caller.answer().body), caller.answer().trailers) == (300_005, {"grpc-status": "0"})
        narrow.close()
        await stopping


async def test_a_caller_that_never_greets_is_closed(fast, monkeypatch):
    """A connection without preface and SETTINGS holds its place for a moment only; one with them stays."""
    monkeypatch.setattr(lifetime, "PREFACE_WAIT", 0.2)
    async with fast.serve() as server, raw(server) as (caller, greeted, writer):
        host, _, port = server.address.rpartition(":")
        reader, silent = await asyncio.open_connection(host, int(port))
        assert await closed(Caller(), reader)
        silent.close()
        writer.write(caller.call())
        await read_until(caller, greeted, lambda: caller.answer().trailers)
        assert caller.answer().status[1] == "0"


async def test_a_request_that_stays_incomplete_ends(fast):
    """By its own timeout or that of requests; a stream that waits for nothing stays, and so does the connection."""
    options = fast.options._replace(stall_timeout=0.5)
    async with fast.serve(options=options) as server, raw(server) as (caller, reader, writer):
        writer.write(caller.headers(path=STREAM) + caller.data(message(b"first"), end=False))
        writer.write(caller.headers() + caller.headers(("grpc-timeout", "1H")) + caller.headers(("grpc-timeout", "9m")))
        for stream in (7, 5, 3):
            async with asyncio.timeout(PATIENCE):
                await read_until(caller, reader, lambda stream=stream: caller.answer(stream).headers)
            assert caller.answer(stream).status[1] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
        writer.write(caller.data(message(b"second"), stream=1))
        await read_until(caller, reader, lambda: caller.answer(1).trailers)
        assert caller.answer(1).body == message(b"first") + message(b"second")


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
@pytest.mark.parametrize("tls", [False, True])
async def test_what_comes_after_goaway_is_soon_read_no_more(fast, certificates, monkeypatch, tls):
    """Of a client that floods on, the server reads a MiB and a read more; the client can read its GOAWAY."""
    received, receive = [], connection.GrpcConnection.data_received
    monkeypatch.setattr(
        connection.GrpcConnection, "data_received", lambda self, data: (received.append(len(data)), receive(self, data))
    )
    files = TlsFiles(certificates.cert, certificates.key) if tls else None
    async with fast.serve(tls=files) as server, raw(server, ssl=certificates.trust() if tls else None) as talk:
        caller, reader, writer = talk
        writer.write(PingFrame(0, b"flooding").serialize() * 20_000)
        await read_until(caller, reader, caller.goaways)
        received.clear()
        with suppress(ConnectionError):
            while True:
                writer.write(bytes(1 << 20))
                await asyncio.wait_for(writer.drain(), 60)
        assert [code for _, code in caller.goaways()] == [11]
        assert sum(received) <= connection.UNWANTED_BYTES + 2 * max(received, default=0)


async def test_a_connection_that_cannot_be_judged_ends_alone(fast, silent_loop):
    """A fault in the watch over one connection is told, ends that one, and the watch goes on over the others."""

    def fault():
        raise ValueError("a fault")

    options = fast.options._replace(idle_timeout=0.2)
    async with fast.serve(options=options) as server, raw(server) as (caller, reader, _):
        await read_until(caller, reader, lambda: caller.frames)
        (connection,) = server.places
        connection.step = fault
        async with raw(server) as (other, other_reader, _):
            assert await closed(caller, reader)
            assert not await read_until(other, other_reader, other.goaways)
    assert [str(context["exception"]) for context in silent_loop] == ["a fault"]
    silent_loop.clear()


async def test_unread_responses_have_a_bound_over_all_connections(fast):
    """Connections of which each leaves less unread than it may: the one with the most is closed, the others stay."""
    options = fast.options._replace(max_request_bytes=1 << 16, max_buffered_bytes=1 << 19)
    async with fast.serve(options=options) as server, AsyncExitStack() as stack:

        async def leaves_unread(size, calls):
            caller, reader, writer = await stack.enter_async_context(raw(server, {4: 0}))
            writer.write(b"".join(caller.call(bytes(size)) for _ in range(calls)))
            await read_until(caller, reader, lambda: sum(isinstance(f, HeadersFrame) for f in caller.frames) == calls)
            return caller, reader, writer

        few = [await leaves_unread(10_000, 4) for _ in range(2)]
        caller, reader, _ = await leaves_unread(60_000, 4)
        assert await closed(caller, reader)
        assert server.connections == 2
        for caller, reader, writer in few:
            writer.write(caller.window(1 << 20, caller.last))
            assert not await read_until(caller, reader, lambda who=caller: who.answer().trailers)


async def test_requests_in_flight_have_a_bound_in_bytes(fast):
    """While the service is busy, a connection has two of the largest requests in flight, not as many as it sends."""
    held = []

    def hold(calls):
        held.extend(calls)
        for call in held if len(held) > 2 else ():
            call.respond(b"")

    options = fast.options._replace(max_request_bytes=1 << 16, max_buffered_bytes=1 << 16)
    async with fast.serve(hold, options=options) as server, raw(server) as (caller, reader, writer):
        writer.write(b"".join(caller.call(bytes(60_000)) for _ in range(4)))
        await read_until(caller, reader, lambda: caller.answer().headers)
        assert caller.answer().status == ("200", "8", "too much request data in flight")
        assert len(held) == 2
        for call in held:
            call.respond(b"")


async def test_only_our_own_socket_file_goes(fast, tmp_path):
    """A file that another instance put in its place stays, however often we stop."""
    path = tmp_path / "grpc.sock"
    async with fast.serve(uds=str(path)) as server:
        path.unlink()
        async with fast.serve(uds=str(path)):
            await server.stop(0)
            await server.stop(0)
            assert path.is_socket()


async def test_a_socket_file_goes_before_its_server(fast, tmp_path, monkeypatch):
    """Until the file is gone we listen there, so that nobody takes for stale what is about to be removed."""
    path, remove, refused = tmp_path / "grpc.sock", SocketFile.remove, []

    def race(file):
        with pytest.raises(OSError, match="in use"):
            fast.bind(uds=str(path))
        refused.append(path)
        remove(file)

    monkeypatch.setattr(SocketFile, "remove", race)
    async with fast.serve(uds=str(path)):
        pass
    assert [path] == refused


@pytest.mark.slow
async def test_calls_that_time_out_end_no_connection(fast):
    """A real client whose every call meets its deadline, several times the budget of frames: it is served on."""
    held = deque(maxlen=2000)
    options = fast.options._replace(wasted_frames=200)
    async with fast.served(held.extend, options=options) as (channel, server):
        loop, connections = asyncio.get_running_loop(), set()
        until = loop.time() + 3

        async def ask():
            while loop.time() < until:
                with pytest.raises(aio.AioRpcError) as caught:
                    await channel.unary_unary(ECHO)(b"", timeout=0.2)
                assert grpc.StatusCode.DEADLINE_EXCEEDED is caught.value.code()
                connections.update(server.places)

        await asyncio.gather(*(ask() for _ in range(100)))
        assert len(connections) == 1
        waiting = asyncio.ensure_future(channel.unary_unary(ECHO)(b"served"))
        while not (held and held[-1].body):
            await asyncio.sleep(0.01)
        echo([held.pop()])
        assert await waiting == b"served"
