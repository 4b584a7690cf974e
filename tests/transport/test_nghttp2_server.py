"""The fast transport's server over real sockets: what ends a connection ends that one alone."""

import asyncio
import gc
import resource
import ssl
from contextlib import suppress

import grpc
import pytest
from grpc import aio
from hyperframe.frame import PingFrame

from ratelimitd.net.tls import TlsFiles
from ratelimitd.transport import Refusal, nghttp2_available
from ratelimitd.transport._nghttp2 import Session
from ratelimitd.transport.lifetime import LifetimePhase
from ratelimitd.transport.nghttp2 import _peer
from tests.transport.raw import closed, narrow_at_a_drain, raw, read_until
from tests.transport.servers import ECHO, MESSAGE_BOUND, STREAM, echo
from tests.transport.wire import Caller, message


async def gone(server, count=0):
    """Wait until the server has this many connections."""
    while server.connections != count:
        await asyncio.sleep(0.01)


def sessions():
    """Those that live, by address."""
    return {id(each) for each in gc.get_objects() if isinstance(each, Session)}


def test_the_extension_is_built_here():
    """Where the suite runs, the fast transport is there."""
    assert nghttp2_available()


async def test_a_raw_call(fast):
    """The hand-made caller is served as a real client is."""
    async with fast.serve() as server, raw(server) as (caller, reader, writer):
        writer.write(caller.call(b"hello"))
        await read_until(caller, reader, lambda: caller.answer().trailers)
        assert message(b"hello") == caller.answer().body


@pytest.mark.scenario("the service shuts down")
async def test_a_drain_loses_no_call(fast):
    """Callers that go on calling while the server drains lose no call: each is answered, or was never taken."""
    taken, refused = 0, []

    def later(calls):
        nonlocal taken
        taken += len(calls)
        asyncio.get_running_loop().call_later(0.02, echo, calls)

    async with fast.serve(later) as server, aio.insecure_channel(server.address) as channel:
        answered = 0

        async def caller():
            nonlocal answered
            while True:
                try:
                    assert await channel.unary_unary(ECHO)(b"x") == b"x"
                except aio.AioRpcError as error:
                    refused.append(error.code())
                    return
                answered += 1

        callers = [asyncio.create_task(caller()) for _ in range(50)]
        while answered < 500:
            await asyncio.sleep(0.01)
        await server.stop(10)
        await asyncio.gather(*callers)
    assert taken == answered
    assert {grpc.StatusCode.UNAVAILABLE} == set(refused)  # nobody listens any more


async def test_a_garbage_preface_ends_that_connection_alone(fast):
    """What is no HTTP/2 is closed; another connection goes on."""
    async with fast.served() as (channel, server):
        assert await channel.unary_unary(ECHO)(b"x") == b"x"
        host, _, port = server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x16\x03\x01 not HTTP/2 at all" * 100)
        await closed(Caller(), reader)
        writer.close()
        assert await channel.unary_unary(ECHO)(b"x") == b"x"
        await gone(server, 1)


@pytest.mark.alone
@pytest.mark.scenario("clients that flood, reset streams, or do not read")
async def test_a_flood_ends_that_connection_alone(fast):
    """GOAWAY ENHANCE_YOUR_CALM for the one that resets as fast as it can; another connection goes on."""
    async with fast.served() as (channel, server), raw(server) as (caller, reader, writer):
        for _ in range(15_000):
            writer.write(caller.call() + caller.reset())
        assert await closed(caller, reader)
        assert [code for _, code in caller.goaways()] == [11]
        assert await channel.unary_unary(ECHO)(b"x") == b"x"


@pytest.mark.alone
@pytest.mark.scenario("clients that flood, reset streams, or do not read")
async def test_a_caller_that_does_not_read_is_paused_then_closed(fast):
    """It is not read from any more, memory stays bounded, and after the stall time it is gone."""
    options = fast.options._replace(stall_timeout=0.5)
    async with fast.serve(options=options) as server, raw(server, {4: 1 << 30}) as (caller, _, writer):
        writer.transport.pause_reading()
        writer.write(caller.window(1 << 30))
        sent = 0
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            while sent < 200 << 20:
                writer.write(caller.call(b"x" * 50_000))
                sent += 50_000
                await asyncio.wait_for(writer.drain(), 3)
        except (TimeoutError, ConnectionError):
            pass
        await gone(server)
        assert sent < 100 << 20
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 100 << 10


async def test_a_caller_that_grants_no_window_is_closed(fast):
    """Answers that HTTP/2's own windows hold back stall a connection just as well."""
    options = fast.options._replace(stall_timeout=0.3)
    async with fast.serve(options=options) as server, raw(server, {4: 0}) as (caller, reader, writer):
        writer.write(caller.call())
        assert await closed(caller, reader)
        assert caller.answer().body == b""


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
async def test_one_connection_too_many_is_closed(fast):
    """While all max_connections have calls in flight, one more is closed at once and told of; these are answered."""
    told, held = [], []
    options = fast.options._replace(max_connections=1)
    served = fast.served(held.extend, options=options, refused=lambda *refusal: told.append(refusal))
    async with served as (channel, server):
        asking = asyncio.ensure_future(channel.unary_unary(ECHO)(b"x"))
        while not held:
            await asyncio.sleep(0.01)
        async with raw(server) as (caller, reader, _):
            assert await closed(caller, reader)
        held.pop().respond(b"x")
        assert await asking == b"x"
    ((reason, peer, found),) = told
    assert (reason, peer.rpartition(":")[0], found) == (Refusal.ADDRESS, "127.0.0.1", "1 are open")


@pytest.mark.slow
async def test_a_caller_that_still_writes_loses_nothing(fast):
    """The last answer arrives whole at a caller that reads slowly and goes on writing after all was said."""
    held = []
    async with fast.serve(held.extend) as server:
        narrow, caller, stopping = await narrow_at_a_drain(server, held)
        loop = asyncio.get_running_loop()
        held.pop().respond(b"x" * 60_000)
        (connection,) = server.places
        while connection._lifetime.phase is not LifetimePhase.CLOSING:
            await asyncio.sleep(0.01)
        while not caller.answer().trailers:
            await loop.sock_sendall(narrow, PingFrame(0, b"too late").serialize())
            caller.read(await loop.sock_recv(narrow, 10_000))
        assert len(caller.answer().body) == 60_005
        narrow.close()
        await stopping


async def test_a_handshake_that_ends_after_stop_is_too_late(fast, certificates):
    """A connection that was accepted before stop and greets after it is closed, and stop does not wait for it."""
    held = []
    files = TlsFiles(certificates.cert, certificates.key)
    async with fast.serve(held.extend, tls=files) as server:
        host, _, port = server.address.rpartition(":")
        credentials = grpc.ssl_channel_credentials(certificates.root)
        async with aio.secure_channel(server.address, credentials) as channel:
            waiting = asyncio.ensure_future(channel.unary_unary(ECHO)(b""))
            reader, writer = await asyncio.open_connection(host, int(port))
            while not held:
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(server.stop(20))
            await asyncio.sleep(0)
            context = ssl.create_default_context(cadata=certificates.root.decode())
            context.set_alpn_protocols(["h2"])
            with suppress(ConnectionError):
                await writer.start_tls(context, server_hostname="localhost")
                assert await reader.read() == b""
            held.pop().respond(b"answered")
            assert await waiting == b"answered"
            await stopping
            writer.transport.abort()


async def test_an_idle_connection_is_told_to_leave(fast):
    """Without a call for the idle time: a notice, a last GOAWAY, and the end, all without an error."""
    options = fast.options._replace(idle_timeout=0.2)
    async with fast.serve(options=options) as server, raw(server) as (caller, reader, writer):
        writer.write(caller.call())
        await read_until(caller, reader, caller.goaways)
        writer.write(PingFrame(0, bytes(8), flags=["ACK"]).serialize())
        writer.write(PingFrame(0, b"too late").serialize() * 100)
        await read_until(caller, reader, lambda: len(caller.goaways()) == 2)
        writer.write(PingFrame(0, b"too late").serialize() * 100)
        assert caller.goaways() == [(2**31 - 1, 0), (1, 0)]
        await closed(caller, reader)
        writer.close()
        await gone(server)


@pytest.mark.scenario("connections that never close, so that new pods receive no calls")
async def test_ages_differ(fast):
    """Connections that began together do not leave together."""
    async with fast.serve(options=fast.options._replace(max_connection_age=100)) as server:
        ages = [server._limits().age for _ in range(200)]
        assert 90 <= min(ages) < 95 < 105 < max(ages) <= 110


async def test_a_handler_that_raises_fails_its_calls(fast, silent_loop):
    """What it answered stays, the rest is INTERNAL, the fault is told to the loop, and the connection lives on."""

    def clumsy(calls):
        for call in calls:
            if call.body == b"bad":
                raise ValueError("a fault")
            call.respond(call.body)

    async with fast.served(clumsy) as (channel, _):
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary(ECHO)(b"bad")
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
        assert await channel.unary_unary(ECHO)(b"good") == b"good"
    assert [str(context["exception"]) for context in silent_loop] == ["a fault"]
    silent_loop.clear()


async def test_a_stream_handler_that_raises_ends_its_stream(fast, silent_loop):
    """INTERNAL for the caller, the fault for the loop."""

    async def clumsy(stream):
        await stream.send(b"one")
        raise ValueError("a fault")

    async with fast.served(stream=clumsy) as (channel, _):
        call = channel.stream_stream(STREAM)()
        assert await call.read() == b"one"
        assert await call.code() == grpc.StatusCode.INTERNAL
    assert [str(context["exception"]) for context in silent_loop] == ["a fault"]
    silent_loop.clear()


async def test_stop_leaves_nothing_behind(fast):
    """After stop no connection, call or session is left, streams that never end among them."""
    before, held = sessions(), []

    async def forever(stream):
        await asyncio.Event().wait()

    async with fast.served(held.extend, forever) as (channel, server):
        waiting = [asyncio.ensure_future(channel.unary_unary(ECHO)(b"")) for _ in range(10)]
        streams = [channel.unary_stream(STREAM)(b"") for _ in range(10)]
        while server.calls < 20:
            await asyncio.sleep(0.01)
        await server.stop(0)
        assert server.connections == 0
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.code()
        held.clear()
        assert server.calls == 0
    gc.collect()
    assert sessions() <= before


async def test_the_unix_socket_file_goes_with_the_server(fast, tmp_path):
    """A stopped server leaves no socket file."""
    path = tmp_path / "grpc.sock"
    async with fast.serve(uds=str(path)):
        assert path.is_socket()
    assert not path.exists()


async def test_a_mebibyte_both_ways_at_once(fast):
    """Many large calls at once on one connection."""
    async with fast.served() as (channel, _):
        bodies = [bytes([n]) * MESSAGE_BOUND for n in range(3)]
        assert bodies == await asyncio.gather(*(channel.unary_unary(ECHO)(body) for body in bodies))


def test_a_peer_over_ipv4_is_told_as_ipv4():
    """Of a port of both families, too, where the system shows IPv4 in the form of IPv6."""
    told = [_peer(address) for address in (("::ffff:10.0.0.1", 5, 0, 0), ("10.0.0.1", 5), ("fd00::1", 5, 0, 0), "")]
    assert told == ["10.0.0.1:5", "10.0.0.1:5", "[fd00::1]:5", "unix socket"]
