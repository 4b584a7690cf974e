"""Calls that one read completed are served in slices: what a burst costs is not what the others wait for."""

import asyncio
from contextlib import AsyncExitStack
from itertools import groupby

from ratelimitd.net.turns import LEAST_SHARE, MESSAGES, TURN_COST, Turns
from tests.transport.raw import raw, read_until
from tests.transport.servers import ECHO, STREAM
from tests.transport.wire import message
from tests.turning import turning

COST = TURN_COST // 8
SLICE = TURN_COST // COST
BURST = 40 * SLICE


def burst(caller, body=b"burst"):
    return b"".join(caller.call(body) for _ in range(BURST))


def bodies_of(served):
    """A handler that records the message of each call and answers it."""

    def serve(calls):
        served.extend(call.body for call in calls)
        for call in calls:
            call.respond(call.body)

    return serve


async def test_a_burst_does_not_delay_the_calls_of_others(fast):
    """A call sent while a burst is served is served within a few slices of it, and the burst is answered whole."""
    served = []
    async with (
        fast.serve(bodies_of(served), cost=COST) as server,
        raw(server) as (caller, reader, writer),
        raw(server) as (other, other_reader, other_writer),
    ):
        await read_until(other, other_reader, lambda: other.frames)
        writer.write(burst(caller))
        while not served:
            await asyncio.sleep(0)
        other_writer.write(other.call(b"other"))
        await read_until(other, other_reader, lambda: other.answer().trailers)
        assert served.index(b"other") <= 6 * SLICE
        await read_until(caller, reader, lambda: caller.answer().trailers)
        assert (len(served), caller.answer(1).status[1]) == (BURST + 1, "0")


async def test_bursts_take_turns(fast):
    """While calls of two connections wait, neither is served more than a slice before the other."""
    served = []
    async with (
        fast.serve(bodies_of(served), cost=COST) as server,
        raw(server) as (caller, reader, writer),
        raw(server) as (other, other_reader, other_writer),
    ):
        writer.write(burst(caller, b"a"))
        other_writer.write(burst(other, b"b"))
        await read_until(caller, reader, lambda: caller.answer().trailers)
        await read_until(other, other_reader, lambda: other.answer().trailers)
    runs = [len(list(run)) for _, run in groupby(served)]
    assert max(runs[1:-1]) <= SLICE
    assert len(served) == 2 * BURST


async def test_nothing_is_read_while_calls_wait(fast):
    """So that what waits is no more than one read completed; reading goes on after the last of them."""
    reading = []

    def serve(calls):
        (connection,) = server.places
        reading.append(connection._transport.is_reading())
        for call in calls:
            call.respond(b"")

    async with fast.serve(serve, cost=COST) as server, raw(server) as (caller, reader, writer):
        writer.write(burst(caller))
        await read_until(caller, reader, lambda: caller.answer().trailers)
        assert (len(reading), reading[0], set(reading[1:])) == (BURST // SLICE, True, {False})
        writer.write(caller.call())
        assert not await read_until(caller, reader, lambda: caller.answer().trailers)


async def test_calls_that_wait_end_with_their_connection(fast):
    """They are not served, and no longer in flight."""
    served = []
    async with fast.serve(bodies_of(served), cost=COST) as server:
        async with raw(server) as (caller, _, writer):
            writer.write(burst(caller))
            while not served:
                await asyncio.sleep(0)
            (connection,) = server.places
            connection.abort()
            while server.connections:
                await asyncio.sleep(0)
            assert server.calls == 0
            done = len(served)
        async with raw(server) as (caller, reader, writer):
            writer.write(caller.call(b"last"))
            await read_until(caller, reader, lambda: caller.answer().trailers)
        assert served[done:] == [b"last"]


async def test_a_batch_costs_no_more_than_a_turn(transport):
    """Of both transports: of calls that come together, a batch has as many as a turn has room for; all are answered."""
    batches = []

    def serve(calls):
        batches.append(len(calls))
        for call in calls:
            call.respond(call.body)

    async with transport.served(serve, cost=COST) as (channel, _):
        echo = channel.unary_unary(ECHO)
        assert await asyncio.gather(*(echo(b"%d" % n) for n in range(100))) == [b"%d" % n for n in range(100)]
    assert (sum(batches), max(batches) <= SLICE) == (100, True)


class Connection:
    """A connection whose calls cost one each."""

    def __init__(self, calls, fault=None):
        self.left, self.fault, self.slices, self.aborted = calls, fault, [], False

    @property
    def waits(self):
        return self.left > 0

    def serve(self, room):
        if self.fault is not None:
            raise self.fault
        self.slices.append(min(room, self.left))
        self.left -= self.slices[-1]
        return self.slices[-1]

    def abort(self):
        self.aborted, self.left = True, 0


async def test_the_slices_of_a_turn_cost_no_more_than_a_turn():
    """However many connections wait: in a turn, the first ones are served while there is room, and queue up again."""
    turns = Turns(asyncio.get_running_loop())
    waiting = [Connection(TURN_COST // 2), Connection(TURN_COST * 2), Connection(TURN_COST)]
    for connection in waiting:
        turns.add(connection, served=True)
    seen = []
    while any(connection.waits for connection in waiting):
        await asyncio.sleep(0)
        seen.append([len(connection.slices) for connection in waiting])
    assert seen[:4] == [[1, 1, 0], [1, 1, 1], [1, 2, 1], [1, 3, 1]]
    assert [connection.slices[0] for connection in waiting] == [TURN_COST // 2, TURN_COST // 2, TURN_COST]


async def test_what_is_served_at_once_shrinks_with_the_queue():
    """A connection that was just read gets its part of a turn, at least the least: many may be read in one turn."""
    turns = Turns(asyncio.get_running_loop())
    shares = []
    for _ in range(20):
        shares.append(turns.share)
        turns.add(Connection(1), served=True)
    assert (shares[:3], shares[-1]) == ([TURN_COST, TURN_COST // 2, TURN_COST // 3], LEAST_SHARE)
    await asyncio.sleep(0)


async def test_the_reads_of_a_turn_share_its_room():
    """What many connections may use at once is a turn's room together, and it is there again after the next turn."""
    turns = Turns(asyncio.get_running_loop())
    turns.room -= TURN_COST - 3
    assert turns.share == 3
    turns.room -= 3
    assert turns.share == 0
    turns.add(Connection(1), served=False)
    await asyncio.sleep(0)
    assert turns.share == TURN_COST


async def test_the_room_is_there_again_though_nothing_waits():
    """What is served at once in many turns is no reason to wait in one of them."""
    turns = Turns(asyncio.get_running_loop())
    for _ in range(10):
        assert turns.share == TURN_COST
        turns.spend(TURN_COST)
        assert turns.share == 0
        await asyncio.sleep(0)


async def test_a_few_calls_do_not_wait_for_all_the_bursts():
    """A connection of which nothing was served has its slice in the next turn, before those that have had one."""
    turns = Turns(asyncio.get_running_loop())
    bursts = [Connection(10 * TURN_COST) for _ in range(50)]
    for burst in bursts:
        turns.add(burst, served=True)
    few = Connection(2)
    turns.add(few, served=False)
    await asyncio.sleep(0)
    assert (few.slices, sum(sum(burst.slices) for burst in bursts)) == ([2], TURN_COST - 2)


async def test_small_slices_leave_half_of_a_turn_to_bursts():
    """However many connections are new, and they have no more than the least share before they are not."""
    turns = Turns(asyncio.get_running_loop())
    burst = Connection(10 * TURN_COST)
    turns.add(burst, served=True)
    fresh = [Connection(10 * TURN_COST) for _ in range(100)]
    for each in fresh:
        turns.add(each, served=False)
    await asyncio.sleep(0)
    assert burst.slices == [TURN_COST // 2]
    assert [each.slices for each in fresh[:9]] == [[LEAST_SHARE]] * 8 + [[]]


async def test_many_connections_read_in_one_turn_are_served_in_several(fast):
    """No batch of handlers follows another in the same turn of the loop beyond the room of a turn."""
    served = []

    def serve(calls):
        served.extend([turns.count] * len(calls))
        for call in calls:
            call.respond(b"")

    async with AsyncExitStack() as stack:
        turns = stack.enter_context(turning())
        server = await stack.enter_async_context(fast.serve(serve, cost=COST))
        callers = [await stack.enter_async_context(raw(server)) for _ in range(30)]
        for caller, reader, _ in callers:
            await read_until(caller, reader, lambda caller=caller: caller.frames)
        for caller, _, writer in callers:
            writer.write(b"".join(caller.call() for _ in range(SLICE)))
        for caller, reader, _ in callers:
            await read_until(caller, reader, lambda caller=caller: caller.answer().trailers)
    assert len(served) == 30 * SLICE
    assert max(served.count(each) for each in set(served)) <= 3 * SLICE


async def test_messages_of_streams_take_turns(fast):
    """A turn takes a few messages of all streams together, whatever their windows hold, and streams are equal."""
    taken = []

    async def take(stream):
        async for body in stream:
            taken.append((turns.count, body))  # noqa: PERF401 -- in the order of all streams

    async with AsyncExitStack() as stack:
        turns = stack.enter_context(turning())
        server = await stack.enter_async_context(fast.serve(stream=take))
        callers = [await stack.enter_async_context(raw(server)) for _ in range(4 * MESSAGES)]
        for n, (caller, _, writer) in enumerate(callers):
            writer.write(caller.headers(path=STREAM) + caller.data(message(b"%d" % n) * 20))
        for caller, reader, _ in callers:
            await read_until(caller, reader, lambda caller=caller: caller.answer().headers)
    at = [each for each, _ in taken]
    assert len(taken) == 20 * len(callers)
    assert max(at.count(each) for each in set(at)) <= MESSAGES
    assert len({body for _, body in taken[: 10 * len(callers)]}) > len(callers) // 2


async def test_a_fault_in_a_turn_ends_its_connection_alone(silent_loop):
    """It is told, the connection is closed, and the others have their turns."""
    turns = Turns(asyncio.get_running_loop())
    bad, good = Connection(1, ValueError("a fault")), Connection(1)
    turns.add(bad, served=True)
    turns.add(good, served=True)
    await asyncio.sleep(0)
    assert (bad.aborted, good.slices) == (True, [1])
    assert [str(context["exception"]) for context in silent_loop] == ["a fault"]
    silent_loop.clear()
