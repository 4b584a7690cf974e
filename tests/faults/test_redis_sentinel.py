"""Sentinels name another master while the store is used: it is found, and at most one burst passes twice."""

import asyncio

import pytest

from ratelimitd.algorithms import Decision, make_rate
from ratelimitd.limiter.seam import FailureKind
from testkit.redis_sentinel import redis_sentinel
from tests.algorithms.cases import YEAR, ask
from tests.faults.load import TENDER, answered, decided, kinds, load

pytestmark = [pytest.mark.scenario("another server becomes the master"), pytest.mark.redis, pytest.mark.alone]

SENTINEL = {"REDIS_TYPE": "sentinel"}
BURST = 50


@pytest.fixture(scope="module")
def whole():
    """A master, a replica and three Sentinels."""
    with redis_sentinel() as running:
        yield running


@pytest.fixture
def sentinel(whole):
    """The same, settled and without keys."""
    for each in whole.servers:
        if not each.awake:
            each.kill()
            each.start()
    whole.settle()
    whole.master.ask("FLUSHALL")
    return whole


async def admitted(store):
    """How many of twice the burst pass on one key."""
    rate = make_rate("token_bucket", BURST, YEAR)
    outcomes = await answered(store, *(ask((rate, b"hot_", 1)) for _ in range(2 * BURST)))
    return sum(isinstance(outcome, Decision) and outcome.allowed for outcome in outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["asked for", "killed", "hung"])
async def test_another_master(make, sentinel, how, watch):
    """A failover under load: calls end in time, decisions come soon after the promotion, over-admission is a burst."""
    store = make(sentinel.url, env=SENTINEL, budget=0.1)
    assert await store.connect()
    old = sentinel.master
    assert await admitted(store) == BURST
    async with load(store) as made:
        await made.more(200)
        if how == "asked for":
            new = await asyncio.to_thread(sentinel.failover)
        else:
            old.kill() if how == "killed" else old.hang()
            await made.failed(50)
            new = await asyncio.to_thread(sentinel.promoted, old)
        # A hung master's connections are given up after a second; each attempt asks the Sentinels anew.
        assert await decided(store) < 2.0
        await made.more(200)
    assert new is not old
    assert await admitted(store) <= BURST
    assert made.longest < TENDER
    assert set(made.failures) <= {*FailureKind} - {FailureKind.PERMANENT, FailureKind.KEY, FailureKind.OUT_OF_MEMORY}
    assert watch.told_once_each


async def test_a_sentinel_that_is_away_or_lies_behind(make, sentinel):
    """With one Sentinel dead the others are asked; none of them up is a failure that names it, and passes."""
    first, second, third = sentinel.sentinels
    first.kill()
    store = make(sentinel.url, env=SENTINEL, budget=0.1)
    await store.connect()
    assert await decided(store) < 2.0
    second.hang()
    third.hang()
    store.nodes[0].drop("by the test")
    assert kinds(await answered(store, ask((make_rate("token_bucket", 1, YEAR), b"k_", 1)))) == {
        FailureKind.DISCONNECTED
    }
    second.resume()
    third.resume()
    assert await decided(store) < 2.0
    await asyncio.to_thread(first.start)  # without the pace of its own, which makes it slow: so this test is the last
