"""Clocks that differ or step, with a Redis whose clock the test sets."""

import time
from pathlib import Path
from typing import NamedTuple

import pytest

from ratelimitd.algorithms import Decision, make_rate
from ratelimitd.stores import RedisStore
from testkit.redis_server import Clock, RedisServer, faked_clock, redis_server
from tests.algorithms.cases import CLOCKED, NOW, SECOND, ask
from tests.contract.cases import PATIENCE, allowed, charge
from tests.redis_options import store_of

HOUR = 3_600
PERIOD = 600
"""Seconds of all windows here: at a tenth a minute, the time a test takes refills nothing."""

RATES = {name: make_rate(name, 10, PERIOD * SECOND) for name in CLOCKED}
SHARED_MEMORY = Path("/dev/shm")
GRACE = 1_000
"""ms that a key outlives its meaning, see batch.lua."""


class Timed(NamedTuple):
    """A Redis, its clock, a store that goes by that clock, and an offset (s) that puts it in the middle of a window."""

    server: RedisServer
    clock: Clock
    store: RedisStore
    base: int


@pytest.fixture
def clock(tmp_path):
    found = faked_clock(tmp_path)
    if found is None:
        pytest.skip("needs libfaketime (Debian: faketime)")
    return found


@pytest.fixture
def timed_server(clock):
    base = PERIOD // 2 - int(time.time()) % PERIOD
    clock.step_to(base)
    with redis_server(env=clock.env) as server:
        yield server, base


@pytest.fixture
async def timed(timed_server, clock):
    server, base = timed_server
    store = store_of(server.address, budget=PATIENCE)
    assert await store.connect()
    yield Timed(server, clock, store, base)
    await store.close()


async def each(store, cost, now=NOW):
    """One charge of each algorithm, on separate keys."""
    one = ask(*((rate, name.encode(), cost) for name, rate in RATES.items()))
    decided = await charge(store, [one], now)
    assert all(isinstance(outcome, Decision) for outcome in decided), decided
    return {name: outcome for name, outcome in zip(RATES, decided, strict=True) if isinstance(outcome, Decision)}


async def passing(store):
    """How many single charges of each algorithm pass until none does."""
    asks = [ask(*((rate, name.encode(), 1) for name, rate in RATES.items())) for _ in range(25)]
    passed = allowed(await charge(store, asks))
    return {name: sum(passed[place :: len(RATES)]) for place, name in enumerate(RATES)}


@pytest.mark.redis
def test_a_killed_server_leaves_no_shared_memory(clock):
    """A later process with the same id would find the files of libfaketime in its way."""
    with redis_server(env=clock.env) as server:
        own = f"*faketime_*_{server.process.pid}"
        assert list(SHARED_MEMORY.glob(own))
    assert not list(SHARED_MEMORY.glob(own))


@pytest.mark.redis
@pytest.mark.scenario("the clocks of hosts differ")
async def test_hosts_an_hour_apart_decide_alike(timed):
    """Two hosts whose clocks differ by an hour, and by years from Redis', share each limit as one host would."""
    other = store_of(timed.server.address, budget=PATIENCE)
    assert await other.connect()
    for used in range(0, 12, 2):
        here = await each(timed.store, 1, NOW)
        there = await each(other, 1, NOW + HOUR * SECOND)
        for name in CLOCKED:
            assert [(seen[name].before, seen[name].allowed) for seen in (here, there)] == [
                (min(used, 10), used < 10),
                (min(used + 1, 10), used + 1 < 10),
            ], name
            ahead = here[name].reset_after - there[name].reset_after
            assert abs(ahead) < PERIOD // 5 * SECOND, name
    await other.close()


@pytest.mark.redis
@pytest.mark.scenario("the clock of Redis steps forward or back")
async def test_an_hour_forward_costs_one_burst_and_the_way_back_none(timed):
    """A full key passes one more burst when Redis' clock jumps ahead, and nothing when it jumps back or stays."""
    assert await passing(timed.store) == dict.fromkeys(CLOCKED, 10)
    timed.clock.step_to(timed.base + HOUR)
    assert await passing(timed.store) == dict.fromkeys(CLOCKED, 10)
    timed.clock.step_to(timed.base)
    assert await passing(timed.store) == dict.fromkeys(CLOCKED, 0)
    assert await passing(timed.store) == dict.fromkeys(CLOCKED, 0)


@pytest.mark.redis
@pytest.mark.scenario("the clock of Redis steps forward or back")
@pytest.mark.parametrize("back", [1, HOUR])
async def test_a_step_back_adds_and_takes_nothing(timed, back):
    """After a second or an hour back, of ten of which four are used six pass, and no more."""
    assert all(decision.allowed for decision in (await each(timed.store, 4)).values())
    timed.clock.step_to(timed.base - back)
    assert {name: seen.remaining for name, seen in (await each(timed.store, 0)).items()} == dict.fromkeys(CLOCKED, 6)
    assert await passing(timed.store) == dict.fromkeys(CLOCKED, 6)


@pytest.mark.redis
@pytest.mark.scenario("the clock of Redis steps forward or back")
@pytest.mark.parametrize("hammer", [1, 30])
async def test_an_hour_back_shuts_no_key_longer_than_its_period(timed, hammer):
    """A full key, asked once or hammered, opens a period after the step, and its key in Redis lives no longer."""
    assert all(decision.allowed for decision in (await each(timed.store, 10)).values())
    for late in range(0, 30, 30 // hammer):
        timed.clock.step_to(timed.base - HOUR + late)
        for name, decision in (await each(timed.store, 1)).items():
            assert not decision.allowed, name
            assert decision.retry_after <= (PERIOD - late) * SECOND, name
            with timed.server.client() as client:
                assert client.pttl(name) <= decision.reset_after // 1_000 + GRACE + 1, name
    timed.clock.step_to(timed.base - HOUR + PERIOD)
    assert all(decision.allowed for decision in (await each(timed.store, 1)).values())


@pytest.mark.redis
async def test_a_clock_that_jumps_adds_no_quota(timed):
    """Two hours forward refill; an hour back from there neither refills nor removes."""
    assert await passing(timed.store) == dict.fromkeys(CLOCKED, 10)
    timed.clock.step_to(timed.base + 2 * HOUR)
    assert all(decision.allowed for decision in (await each(timed.store, 4)).values())
    timed.clock.step_to(timed.base + HOUR)
    assert await passing(timed.store) == dict.fromkeys(CLOCKED, 6)


@pytest.mark.slow
@pytest.mark.scenario("the clock of Redis steps forward or back")
@pytest.mark.parametrize("name", CLOCKED)
@pytest.mark.parametrize("binding", [True, False])
async def test_asks_in_vain_do_not_keep_a_key_shut(store, name, binding):
    """A full key of an all-or-nothing ask opens a period after an hour's step back, if another limit denied it too."""
    rate, never = RATES[name], make_rate("gcra", 0, SECOND)
    assert all(allowed(await charge(store, [ask((rate, b"k", 10))])))
    start = NOW - HOUR * SECOND
    for late in range(30):
        vain = ask((rate, b"k", 1, binding), (never, b"never", 1), atomic=True)
        assert allowed(await charge(store, [vain], start + late)) == [False, False]
    # A counter's own fade is a tenth of a window longer.
    opened = await charge(store, [ask((rate, b"k", 1))], start + PERIOD * SECOND * 11 // 10 + 30)
    assert allowed(opened) == [True]
