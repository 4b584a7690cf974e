"""What every transport promises, with real grpcio clients over real sockets."""

import asyncio

import grpc
import pytest
from grpc import aio

from ratelimitd.transport import GrpcError, GrpcStatus
from tests.transport.servers import ECHO, MESSAGE_BOUND, STREAM, echo, put_into


async def test_a_call_is_answered_with_its_own_body(transport):
    """Concurrent calls, empty ones among them, each get what belongs to them."""
    async with transport.served() as (channel, _):
        bodies = [b"%d" % n for n in range(200)] + [b""]
        assert bodies == await asyncio.gather(*(channel.unary_unary(ECHO)(body) for body in bodies))


@pytest.mark.alone
@pytest.mark.slow
async def test_ten_thousand_calls_on_one_connection(transport):
    """A connection does not tire: ten thousand calls, a hundred at a time, are all answered."""
    async with transport.served() as (channel, _):
        call = channel.unary_unary(ECHO)

        async def some(first):
            for n in range(first, 10_000, 100):
                assert b"%d" % n == await call(b"%d" % n)

        await asyncio.gather(*(some(first) for first in range(100)))


async def test_two_hundred_connections(transport):
    """Two hundred connections at once are each served."""
    async with transport.serve() as server:
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [aio.insecure_channel(server.address, options=own) for _ in range(200)]
        bodies = [b"%d" % n for n in range(200)]
        answers = await asyncio.gather(*(c.unary_unary(ECHO)(b) for c, b in zip(channels, bodies, strict=True)))
        assert bodies == answers
        await asyncio.gather(*(channel.close() for channel in channels))


async def test_large_answers_pass_a_small_window(transport):
    """Answers of 1 MiB and 20 kB at once reach a caller whose windows are the default 64 KiB."""
    small_windows = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535)]
    async with transport.served(channel_options=small_windows) as (channel, _):
        bodies = [bytes([n]) * size for n in range(8) for size in (20_000, MESSAGE_BOUND)]
        assert bodies == await asyncio.gather(*(channel.unary_unary(ECHO)(body) for body in bodies))


async def test_calls_of_one_turn_of_the_loop_arrive_together(transport):
    """Calls that wait at the same time reach the handler as one list, so that a store can take them in one go."""
    sizes = []

    def sized(calls):
        sizes.append(len(calls))
        echo(calls)

    async with transport.served(sized) as (channel, _):
        for _ in range(20):  # what arrives in one turn is the kernel's affair, too
            sizes.clear()
            await asyncio.gather(*(channel.unary_unary(ECHO)(b"x") for _ in range(300)))
            assert sum(sizes) == 300
            if max(sizes) > 1:
                break
    assert max(sizes) > 1


async def test_calls_answered_later_and_out_of_order(transport):
    """Each call is answered on its own, whenever and in whatever order the service does."""
    held, loop = [], asyncio.get_running_loop()

    def hold(calls):
        held.extend(calls)
        if len(held) == 50:
            for call in reversed(held):
                loop.call_soon(call.respond, call.body)

    async with transport.served(hold) as (channel, _):
        bodies = [b"%d" % n for n in range(50)]
        assert bodies == await asyncio.gather(*(channel.unary_unary(ECHO)(body) for body in bodies))


@pytest.mark.parametrize("message", ["domaine « vide »", "100 % of\nit", "", "x" * 1000])
async def test_a_failure_carries_its_status_and_message(transport, message):
    """What a handler fails with is what the client sees, non-ASCII text and line ends included."""

    def refuse(calls):
        for call in calls:
            call.fail(GrpcStatus.INVALID_ARGUMENT, message)

    async with transport.served(refuse) as (channel, _):
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary(ECHO)(b"")
    assert (grpc.StatusCode.INVALID_ARGUMENT, message) == (caught.value.code(), caught.value.details())


async def test_the_first_answer_counts(transport):
    """A second answer to a call does nothing."""

    def twice(calls):
        for call in calls:
            call.respond(b"first")
            call.respond(b"second")
            call.fail(GrpcStatus.INTERNAL, "third")

    async with transport.served(twice) as (channel, _):
        assert [await channel.unary_unary(ECHO)(b"") for _ in range(3)] == [b"first"] * 3


@pytest.mark.parametrize(
    "metadata", [[("x", "y" * 50_000)], [(f"x-{n}", "y") for n in range(500)]], ids=["large", "many"]
)
async def test_metadata_of_a_tracing_or_mesh_client_is_taken(transport, metadata):
    """50 KB of metadata, or 500 headers, pass on every call; grpcio alone would refuse some from 8 KiB on."""
    async with transport.served() as (channel, _):
        call = channel.unary_unary(ECHO)
        assert [await call(b"x", metadata=metadata) for _ in range(20)] == [b"x"] * 20


async def test_metadata_over_the_bound_is_refused_alone(transport):
    """RESOURCE_EXHAUSTED, and the next call on the connection is served."""
    async with transport.served() as (channel, _):
        call = channel.unary_unary(ECHO)
        with pytest.raises(aio.AioRpcError) as caught:
            await call(b"x", metadata=[(f"x-{n}", "y" * 30_000) for n in range(3)])
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await call(b"x") == b"x"


async def test_an_unknown_method_is_unimplemented(transport):
    """A method nobody serves ends with UNIMPLEMENTED, and the connection lives on."""
    async with transport.served() as (channel, _):
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary("/test.Service/Nothing")(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
        assert await channel.unary_unary(ECHO)(b"x") == b"x"


@pytest.mark.scenario("messages that are too large")
async def test_a_message_over_the_bound_is_refused(transport):
    """One byte more than max_request_bytes is RESOURCE_EXHAUSTED; the bound itself passes, also afterwards."""
    async with transport.served() as (channel, _):
        call = channel.unary_unary(ECHO)
        assert len(await call(b"x" * MESSAGE_BOUND)) == MESSAGE_BOUND
        with pytest.raises(aio.AioRpcError) as caught:
            await call(b"x" * (MESSAGE_BOUND + 1))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(await call(b"x" * MESSAGE_BOUND)) == MESSAGE_BOUND


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
async def test_one_call_too_many_is_refused_at_once(transport):
    """Over max_concurrent_calls a call is RESOURCE_EXHAUSTED without waiting; an answer makes room."""
    arrived, options = asyncio.Queue(), transport.options._replace(max_concurrent_calls=2)
    async with transport.served(put_into(arrived), options=options) as (channel, _):
        call = channel.unary_unary(ECHO)
        waiting = [asyncio.ensure_future(call(b"")) for _ in range(2)]
        held = [await arrived.get() for _ in waiting]
        with pytest.raises(aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        for each in held:
            each.respond(b"done")
        assert await asyncio.gather(*waiting) == [b"done"] * 2
        again = asyncio.ensure_future(call(b""))
        (await arrived.get()).respond(b"room")
        assert await again == b"room"


async def test_the_callers_deadline_is_told(transport):
    """A call's deadline is a time of the loop's clock, µs, as far ahead as the caller said; 0 without one."""
    seen = asyncio.Queue()

    def look(calls):
        for call in calls:
            seen.put_nowait(call.deadline)
        echo(calls)

    async with transport.served(look) as (channel, _):
        before = asyncio.get_running_loop().time()
        await channel.unary_unary(ECHO)(b"", timeout=30)
        after = asyncio.get_running_loop().time()
        await channel.unary_unary(ECHO)(b"")
    deadline = await seen.get() / 1_000_000
    assert before + 29 < deadline < after + 30.5
    assert await seen.get() == 0


async def test_an_answer_to_a_caller_who_left_does_nothing(transport):
    """A call that timed out at its caller may still be answered; the next call is not disturbed."""
    late = asyncio.Queue()

    def keep(calls):
        for call in calls:
            if call.body == b"slow":
                late.put_nowait(call)
            else:
                call.respond(call.body)

    async with transport.served(keep) as (channel, _):
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary(ECHO)(b"slow", timeout=0.2)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        call = await late.get()
        assert await channel.unary_unary(ECHO)(b"next") == b"next"
        call.respond(b"too late")
        call.fail(GrpcStatus.UNAVAILABLE, "too late")
        assert await channel.unary_unary(ECHO)(b"next") == b"next"


async def test_an_answer_to_a_connection_that_is_gone_does_nothing(transport):
    """A call may be answered after its connection went away."""
    held = asyncio.Queue()
    async with transport.served(put_into(held)) as (channel, _):
        waiting = asyncio.ensure_future(channel.unary_unary(ECHO)(b""))
        call = await held.get()
        await channel.close()
        with pytest.raises((aio.AioRpcError, asyncio.CancelledError)):
            await waiting
        call.respond(b"too late")
    call.respond(b"far too late")


async def test_streams_go_both_ways_and_end_with_their_status(transport):
    """Messages of a stream are answered while it is open; a GrpcError ends it with its status."""

    async def fussy(stream):
        async for body in stream:
            if body == b"bad":
                raise GrpcError(GrpcStatus.NOT_FOUND, "no such thing")
            await stream.send(body)

    async with transport.served(stream=fussy) as (channel, _):
        call = channel.stream_stream(STREAM)()
        for body in (b"one", b"two", b""):
            await call.write(body)
            assert body == await call.read()
        await call.write(b"bad")
        assert (await call.code(), await call.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")


async def test_a_stream_that_half_closes_gets_the_rest_and_ok(transport):
    """A caller who has sent all still gets every answer, in order, then OK."""
    async with transport.served() as (channel, _):
        bodies = [b"%d" % n * 1000 for n in range(500)]

        async def requests():
            for body in bodies:
                yield body

        call = channel.stream_stream(STREAM)(requests())
        assert bodies == [body async for body in call]
        assert await call.code() == grpc.StatusCode.OK


async def test_a_server_stream_of_large_messages(transport):
    """One request, many large answers."""

    async def many(stream):
        async for body in stream:
            for _ in range(20):
                await stream.send(body * 300_000)

    async with transport.served(stream=many) as (channel, _):
        assert [len(body) async for body in channel.unary_stream(STREAM)(b"x")] == [300_000] * 20


async def test_a_stream_waits_for_a_caller_that_does_not_read(transport):
    """A handler that sends to a caller who does not read is held, and goes on when it reads."""
    sent, total = 0, 400

    async def endless(stream):
        nonlocal sent
        async for body in stream:
            for _ in range(total):
                await stream.send(body)
                sent += 1

    async with transport.served(stream=endless) as (channel, _):
        answers = aiter(channel.unary_stream(STREAM)(b"x" * 100_000))
        await anext(answers)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < total
        assert total - 1 == len([body async for body in answers])


async def test_a_stream_whose_caller_leaves_is_cancelled(transport):
    """The handler of a stream ends when its caller cancels, whatever it waits for."""
    ended, started = asyncio.Event(), asyncio.Event()

    async def wait(stream):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with transport.served(stream=wait) as (channel, _):
        call = channel.unary_stream(STREAM)(b"")
        await started.wait()
        call.cancel()
        await ended.wait()
        assert await channel.unary_unary(ECHO)(b"x") == b"x"


@pytest.mark.scenario("the service shuts down")
async def test_stop_lets_calls_in_flight_finish(transport):
    """A call accepted before stop is answered within the grace; a call after it is refused."""
    arrived, held = asyncio.Event(), []

    def hold(calls):
        held.extend(calls)
        arrived.set()

    async with transport.served(hold) as (channel, server):
        waiting = asyncio.ensure_future(channel.unary_unary(ECHO)(b"held"))
        await arrived.wait()
        stopping = asyncio.create_task(server.stop(20))
        await asyncio.sleep(0)
        held[0].respond(b"answered")
        assert await waiting == b"answered"
        await stopping
        with pytest.raises(aio.AioRpcError):
            await channel.unary_unary(ECHO)(b"late", timeout=1)


@pytest.mark.scenario("the service shuts down")
async def test_stop_ends_what_outlasts_the_grace(transport):
    """A call that is not answered within the grace ends with an error, and stop returns."""
    arrived = asyncio.Event()

    async with transport.served(lambda calls: arrived.set()) as (channel, server):
        waiting = asyncio.ensure_future(channel.unary_unary(ECHO)(b""))
        await arrived.wait()
        await server.stop(0.1)
        with pytest.raises(aio.AioRpcError):
            await waiting


@pytest.mark.scenario("connections that never close, so that new pods receive no calls")
async def test_an_aged_connection_leaves_without_losing_a_call(transport):
    """A connection of the maximum age is told to leave; its caller comes back on another, and no call fails."""
    options = transport.options._replace(max_connection_age=0.2, max_connection_age_grace=10)
    async with transport.served(options=options) as (channel, _):
        left = 0

        async def count():
            nonlocal left
            while True:
                await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
                left += 1
                while channel.get_state() is not grpc.ChannelConnectivity.READY:
                    await channel.wait_for_state_change(channel.get_state())

        assert await channel.unary_unary(ECHO)(b"x") == b"x"
        counting = asyncio.create_task(count())
        while left < 2:
            assert await channel.unary_unary(ECHO)(b"x", wait_for_ready=True) == b"x"
        counting.cancel()
