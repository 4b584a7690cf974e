"""Places of streaming calls: who gives way, as a pure table and on both transports."""

import asyncio
import random

import grpc
import pytest
from grpc import aio

from ratelimitd.transport.stream_places import GAVE_WAY, HELD, StreamPlaces, kept
from tests.transport.raw import closed, raw, read_until
from tests.transport.servers import ECHO, STREAM
from tests.transport.wire import message

ENHANCE_YOUR_CALM = 11
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
LOCAL = [("grpc.use_local_subchannel_pool", 1)]


def test_the_oldest_call_of_a_connection_gives_way():
    """At the third of two, and again at the fourth; one that ended has freed its place."""
    places = StreamPlaces(100, held=2)
    assert [places.take("a", call) for call in (1, 2, 3, 4)] == [None, None, ("a", 1), ("a", 2)]
    places.leave("a", 3)
    assert [places.take("a", call) for call in (5, 6)] == [None, ("a", 4)]


def test_the_connection_that_holds_most_gives_way():
    """Its oldest call, for a client that holds less."""
    places = StreamPlaces(6, held=4)
    for connection, call in (("a", 1), ("b", 2), ("b", 3), ("b", 4), ("c", 5), ("c", 6)):
        assert places.take(connection, call) is None
    assert [places.take("d", 7), places.take("a", 8)] == [("b", 2), ("a", 1)]
    places.leave("c", 5)
    assert places.take("d", 9) is None


def test_a_client_that_holds_no_less_gives_way_itself():
    """Clients with one call each keep it, and a new one is refused: else they would take each other's for ever."""
    places = StreamPlaces(3, held=2)
    for connection in "abc":
        assert places.take(connection, connection) is None
    assert places.take("d", 1) == ("d", 1)
    assert places.take("a", 2) == ("a", "a")


def test_an_end_frees_one_place():
    """Twice told or after giving way, it frees nothing more."""
    places = StreamPlaces(2, held=2)
    assert [places.take("a", 1), places.take("a", 2), places.take("b", 3)] == [None, None, ("a", 1)]
    for call in (1, 1, 2, 2):
        places.leave("a", call)
    places.leave("x", 1)
    assert [places.take("c", 4), places.take("d", 5)] == [None, ("d", 5)]


@pytest.mark.parametrize("seed", range(5))
def test_no_bound_is_ever_passed(seed):
    """Whatever begins and ends: the bounds hold, and who gives way holds no less than the client that came."""
    chosen, held, most = random.Random(seed), 3, 10
    places, open_calls = StreamPlaces(most, held), {}
    for number in range(3_000):
        connection = chosen.randrange(12)
        mine = open_calls.setdefault(connection, [])
        if mine and chosen.random() < 0.4:
            places.leave(connection, mine.pop(chosen.randrange(len(mine))))
            continue
        mine.append(number)
        before = {each: len(calls) for each, calls in open_calls.items()}
        loser = places.take(connection, number)
        if loser is not None:
            assert before[loser[0]] == max(before.values())
            assert loser[1] == open_calls[loser[0]].pop(0)
        assert sum(map(len, open_calls.values())) <= most
        assert max(map(len, open_calls.values())) <= held
        full = sum(before.values()) > most or before[connection] > held
        assert (loser is not None) == full


async def begun(channel, number=1):
    """Streams that have answered once."""
    streams = []
    for _ in range(number):
        stream = channel.stream_stream(STREAM)()
        await stream.write(b"hello")
        try:
            assert await stream.read() == b"hello"
        except aio.AioRpcError as error:
            assert error.code() is EXHAUSTED  # noqa: PT017 -- some are refused
        streams.append(stream)
    return streams


async def ended(stream):
    """The status of a stream that ends."""
    async with asyncio.timeout(20):
        return await stream.code(), await stream.details()


async def alive(stream):
    await stream.write(b"more")
    async with asyncio.timeout(20):
        return await stream.read() == b"more"


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
async def test_the_eleventh_stream_ends_the_first(transport):
    """RESOURCE_EXHAUSTED, on both transports; the ten others live on."""
    async with transport.served() as (channel, _):
        streams = await begun(channel, HELD + 1)
        assert await ended(streams[0]) == (EXHAUSTED, GAVE_WAY)
        assert [await alive(stream) for stream in streams[1:]] == [True] * HELD


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
async def test_a_full_server_makes_room(transport):
    """Two clients hold all places: a third one gets some of theirs, one by one, until it holds as many."""
    options = transport.options._replace(max_streaming_calls=20)
    async with transport.serve(options=options) as server:
        channels = [aio.insecure_channel(server.address, options=LOCAL) for _ in range(3)]
        try:
            first, second = await begun(channels[0], 9), await begun(channels[1], 9)
            assert kept(20) == 18
            third = await begun(channels[2], 6)
            assert [await ended(stream) for stream in (*first[:3], *second[:3])] == [(EXHAUSTED, GAVE_WAY)] * 6
            assert [await alive(stream) for stream in (*first[3:], *second[3:], *third)] == [True] * 18
            assert await channels[2].unary_unary(ECHO)(b"x", timeout=20) == b"x"
        finally:
            for channel in channels:
                await channel.close()


@pytest.mark.parametrize("rest", [b"", b"more"], ids=["at once", "later"])
async def test_places_of_streams_that_ended_are_free(transport, rest):
    """A client may begin and end as many as it likes, one after the other."""
    async with transport.served() as (channel, _):
        kept_open = await begun(channel, HELD - 1)
        for _ in range(2 * HELD):
            (stream,) = await begun(channel)
            if rest:
                assert await alive(stream)
            await stream.done_writing()
            assert (await ended(stream))[0] is grpc.StatusCode.OK
        assert [await alive(stream) for stream in kept_open] == [True] * (HELD - 1)


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
async def test_streams_are_paid_for(fast):
    """As 64 frames each: a connection that begins one after the other, each in the place of another, ends."""
    options = fast.options._replace(wasted_frames=640)
    async with fast.serve(options=options) as server, raw(server) as (caller, reader, writer):
        writer.write(caller.call())
        await read_until(caller, reader, lambda: caller.answer().trailers)
        (connection,) = server.places
        begun = 0
        while connection in server.places and begun < 200:
            connection.data_received(caller.headers(path=STREAM) + caller.data(message(b"x"), end=False))
            await asyncio.sleep(0)
            begun += not connection._session.done
        assert 9 <= begun < 100
        assert await closed(caller, reader)
        assert [code for _, code in caller.goaways()] == [ENHANCE_YOUR_CALM]


async def test_a_place_is_free_at_once(fast):
    """A connection keeps ten calls, and the server counts no more, before the client has read anything."""
    async with fast.serve() as server, raw(server) as (caller, reader, writer):
        writer.write(caller.call())
        await read_until(caller, reader, lambda: caller.answer().trailers)
        (connection,) = server.places
        connection.data_received(b"".join(caller.headers(path=STREAM) for _ in range(15)))
        async with asyncio.timeout(20):
            while server.calls > HELD:
                await asyncio.sleep(0)
        assert server.calls == HELD
