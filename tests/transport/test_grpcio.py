"""The portable transport, with real grpcio clients over real sockets."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc import aio

from ratelimitd.transport import GrpcError, Handlers, Status
from ratelimitd.transport.grpcio import GrpcioServer, Options

OPTIONS = Options(max_request_bytes=1 << 20, max_concurrent_calls=1000)
ECHO, STREAM = "/test.Service/Echo", "/test.Service/Stream"


@asynccontextmanager
async def served(unary=None, stream=None, options=OPTIONS):
    """A server with these handlers and a channel to it."""
    server = GrpcioServer("127.0.0.1", 0, Handlers({ECHO: unary or echo}, {STREAM: stream or echo_stream}), options)
    await server.start()
    try:
        async with aio.insecure_channel(server.address) as channel:
            yield channel, server
    finally:
        await server.stop(0)


def echo(calls):
    for call in calls:
        call.respond(call.body)


async def echo_stream(stream):
    async for body in stream:
        await stream.send(body)


async def test_a_call_is_answered_with_its_own_body():
    """Concurrent calls, empty ones among them, each get what belongs to them."""
    async with served() as (channel, _):
        bodies = [b"%d" % n for n in range(200)] + [b""]
        assert bodies == await asyncio.gather(*(channel.unary_unary(ECHO)(body) for body in bodies))


async def test_calls_of_one_turn_of_the_loop_arrive_together():
    """Calls that wait at the same time reach the handler as one list, so that a store can take them in one go."""
    sizes = []

    def sized(calls):
        sizes.append(len(calls))
        echo(calls)

    async with served(sized) as (channel, _):
        await asyncio.gather(*(channel.unary_unary(ECHO)(b"x") for _ in range(300)))
    assert 300 == sum(sizes)
    assert max(sizes) > 1


async def test_a_failure_carries_its_status_and_message():
    """What a handler fails with is what the client sees, non-ASCII text included."""

    def refuse(calls):
        for call in calls:
            call.fail(Status.INVALID_ARGUMENT, "domaine « vide »")

    async with served(refuse) as (channel, _):
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary(ECHO)(b"")
    assert (grpc.StatusCode.INVALID_ARGUMENT, "domaine « vide »") == (caught.value.code(), caught.value.details())


async def test_an_unknown_method_is_unimplemented():
    """A method nobody serves ends with UNIMPLEMENTED, and the connection lives on."""
    async with served() as (channel, _):
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Service/Nothing")(b"")
        assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()
        assert b"x" == await channel.unary_unary(ECHO)(b"x")


async def test_a_message_over_the_bound_is_refused():
    """One byte more than max_request_bytes is RESOURCE_EXHAUSTED; the bound itself passes."""
    async with served() as (channel, _):
        assert OPTIONS.max_request_bytes == len(await channel.unary_unary(ECHO)(b"x" * OPTIONS.max_request_bytes))
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary(ECHO)(b"x" * (OPTIONS.max_request_bytes + 1))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == caught.value.code()


async def test_the_callers_deadline_is_told():
    """A call's deadline is a time of the loop's clock, µs, as far ahead as the caller said; 0 without one."""
    seen = asyncio.Queue()

    def look(calls):
        for call in calls:
            seen.put_nowait(call.deadline)
        echo(calls)

    async with served(look) as (channel, _):
        before = asyncio.get_running_loop().time()
        await channel.unary_unary(ECHO)(b"", timeout=30)
        after = asyncio.get_running_loop().time()
        await channel.unary_unary(ECHO)(b"")
    deadline = await seen.get() / 1_000_000
    assert before + 29 < deadline < after + 30.1
    assert 0 == await seen.get()


async def test_an_answer_to_a_caller_who_left_does_nothing():
    """A call that timed out at its caller may still be answered; the next call is not disturbed."""
    late = asyncio.Queue()

    def keep(calls):
        for call in calls:
            if call.body == b"slow":
                late.put_nowait(call)
            else:
                call.respond(call.body)

    async with served(keep) as (channel, _):
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary(ECHO)(b"slow", timeout=0.2)
        assert grpc.StatusCode.DEADLINE_EXCEEDED == caught.value.code()
        call = await late.get()
        call.respond(b"too late")
        call.fail(Status.UNAVAILABLE, "too late")
        assert b"next" == await channel.unary_unary(ECHO)(b"next")


async def test_streams_go_both_ways_and_end_with_their_status():
    """Messages of a stream are answered while it is open; a GrpcError ends it with its status."""

    async def fussy(stream):
        async for body in stream:
            if body == b"bad":
                raise GrpcError(Status.NOT_FOUND, "no such thing")
            await stream.send(body)

    async with served(stream=fussy) as (channel, _):
        call = channel.stream_stream(STREAM)()
        for body in (b"one", b"two"):
            await call.write(body)
            assert body == await call.read()
        await call.write(b"bad")
        await call.done_writing()
        assert grpc.StatusCode.NOT_FOUND == await call.code()


async def test_a_taken_port_is_an_error_at_once():
    """A second server on the same port does not start, since SO_REUSEPORT would hide it."""
    async with served() as (_, server):
        port = int(server.address.rpartition(":")[2])
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            GrpcioServer("127.0.0.1", port, Handlers({}, {}), OPTIONS)


async def test_ipv6_works():
    """An IPv6 host is bracketed in the address and serves."""
    server = GrpcioServer("::1", 0, Handlers({ECHO: echo}, {}), OPTIONS)
    await server.start()
    try:
        assert server.address.startswith("[::1]:")
        async with aio.insecure_channel(server.address) as channel:
            assert b"6" == await channel.unary_unary(ECHO)(b"6")
    finally:
        await server.stop(0)


async def test_stop_lets_calls_in_flight_finish():
    """A call accepted before stop is answered within the grace; a call after it is refused."""
    arrived, held = asyncio.Event(), []

    def hold(calls):
        held.extend(calls)
        arrived.set()

    async with served(hold) as (channel, server):
        waiting = asyncio.ensure_future(channel.unary_unary(ECHO)(b"held"))
        await arrived.wait()
        stopping = asyncio.create_task(server.stop(20))
        await asyncio.sleep(0)
        held[0].respond(b"answered")
        assert b"answered" == await waiting
        await stopping
        with pytest.raises(aio.AioRpcError):
            await channel.unary_unary(ECHO)(b"late", timeout=1)
