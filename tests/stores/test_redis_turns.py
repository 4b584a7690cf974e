"""The replies of one read are handed on in slices: what Redis answers at once is not what the others wait for."""

import asyncio
from collections import Counter

import pytest

from ratelimitd.algorithms import Decision
from ratelimitd.limiter.seam import Failure
from ratelimitd.net.turns import TURN_COST
from ratelimitd.stores.redis.packing import MAX_CHARGES
from tests.algorithms.cases import NOW
from tests.stores.conftest import PATIENCE
from tests.stores.test_redis_store import one

CALLS = 20
ASKS = CALLS * MAX_CHARGES
REPLY = b"*%d\r\n:1\r\n" % (1 + 5 * MAX_CHARGES) + b":1\r\n:9\r\n:5\r\n:0\r\n:0\r\n" * MAX_CHARGES


class Turn:
    """Counts the turns of the event loop, and what each one hands on."""

    def __init__(self):
        self._loop = asyncio.get_running_loop()
        self.number = 0
        self.handed_on = {}
        self.asks = []
        self.complete = asyncio.Event()
        self._loop.call_soon(self._count)

    def _count(self):
        self.number += 1
        if not self.complete.is_set():
            self._loop.call_soon(self._count)

    def take(self, asks):
        """What a store calls when asks are decided."""
        self.handed_on[self.number] = self.handed_on.get(self.number, 0) + len(asks)
        self.asks += asks
        if len(self.asks) == ASKS:
            self.complete.set()


@pytest.fixture
async def asked(make, fake):
    """Many asks in flight to a Redis that answers all at once when it is told to; what it says, how it ends."""
    writers = []
    came = asyncio.Event()

    def behave(_, writer):
        writers.append(writer)
        if len(writers) == CALLS:
            came.set()

    store = make(await fake.start(behave), pool_size=1, max_in_flight=2 * ASKS)
    await store.connect()
    asks, turn = [one(b"%d_" % number) for number in range(ASKS)], Turn()
    store.charge(asks, NOW, turn.take)
    async with asyncio.timeout(PATIENCE):
        await came.wait()
    return store, asks, turn, writers[0]


async def ended(turn):
    """Wait until all are decided; return the most that one turn handed on."""
    async with asyncio.timeout(PATIENCE):
        await turn.complete.wait()
    return max(turn.handed_on.values())


async def test_the_replies_of_one_read_take_turns(asked):
    """A turn of the loop hands on what it has room for and no more than one script call above that, in order."""
    store, asks, turn, writer = asked
    replies = Counter()
    store.observer.round_trip = lambda *_: replies.update([turn.number])
    writer.write(REPLY * CALLS)
    assert await ended(turn) < TURN_COST + MAX_CHARGES
    assert max(replies.values()) * MAX_CHARGES < TURN_COST + MAX_CHARGES
    assert turn.asks == asks
    assert {outcome for each in asks for outcome in each.outcomes} == {Decision(True, 9, 5, 0, 0)}
    assert store.in_flight == 0


async def test_reading_waits_for_replies(asked):
    """While replies wait for their turn the socket is not read; then it is again."""
    store, _, turn, writer = asked
    (connection,) = store.nodes[0].connections
    seen = []
    asyncio.get_running_loop().call_soon(_watch, connection, turn, seen)
    writer.write(REPLY * CALLS)
    await ended(turn)
    assert (True, True) not in seen
    assert (True, False) in seen
    assert connection._transport.is_reading()


def _watch(connection, turn, seen):
    """Note in each turn whether replies wait, and whether the socket is read."""
    seen.append((connection.waits, connection._transport.is_reading()))
    if not turn.complete.is_set():
        asyncio.get_running_loop().call_soon(_watch, connection, turn, seen)


async def test_a_reply_that_waits_has_arrived(asked, monkeypatch):
    """A budget that ends while replies wait for their turn fails none of them: they arrived in time."""
    store, asks, turn, writer = asked
    loop = asyncio.get_running_loop()
    clock = loop.time
    store.observer.round_trip = lambda *_: monkeypatch.setattr(loop, "time", lambda: clock() + 10 * PATIENCE)
    writer.write(REPLY * CALLS)
    while not turn.complete.is_set():
        await asyncio.sleep(0)
    assert [each for ask in asks for each in ask.outcomes if isinstance(each, Failure)] == []
    assert store.breaker_opens == 0


async def test_replies_before_the_end_of_a_connection_count(asked):
    """A Redis that closes after its replies has decided: those that wait for their turn are passed on first."""
    store, asks, turn, writer = asked
    (connection,) = store.nodes[0].connections
    writer.write(REPLY * CALLS)
    async with asyncio.timeout(PATIENCE):
        while not connection.waits:
            await asyncio.sleep(0)
    connection._transport.abort()
    await ended(turn)
    assert [each for ask in asks for each in ask.outcomes if isinstance(each, Failure)] == []


async def test_a_lost_connection_takes_turns(asked):
    """What a lost connection fails at once is handed on in slices too."""
    _, asks, turn, writer = asked
    writer.close()
    assert await ended(turn) < TURN_COST + MAX_CHARGES
    assert turn.asks == asks
    assert all(isinstance(each, Failure) for ask in asks for each in ask.outcomes)


async def test_nothing_waits_after_the_end(asked):
    """A store that is closed completes all of them before ``close`` returns."""
    store, asks, turn, _ = asked
    await store.close()
    assert len(turn.asks) == len(asks)
    turn.complete.set()
