"""Lua and Python decide alike, through the stores, whatever the sequence and whatever the clock does."""

import asyncio
import hashlib
from itertools import count
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimitd.algorithms import ALL, CONCURRENT, POST_PAID, Hold, Rate, concurrent_rate, name_of
from ratelimitd.stores import MemoryStore, RedisStore
from ratelimitd.stores.redis.script import Script, compose
from tests.algorithms.cases import ASKED, FLAGS, LATEST, LONG, NOW, SECOND, SETTLEMENT, ask, costs, jumps, rates
from tests.contract.cases import charge
from tests.contract.conftest import options

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.alone]

Wanted = tuple[tuple[tuple[Rate, bytes, int, bool], ...], bool]
"""The charges of one ask, and whether it is atomic."""

HOLDING = st.sampled_from([ASKED, ASKED, ASKED, POST_PAID, SETTLEMENT, SETTLEMENT])
TTLS = st.sampled_from([SECOND, 3 * SECOND, 3_600 * SECOND])

FRESH = count()
"""Prefixes of keys: hypothesis may run the same example again, on the same Redis."""


class Both(NamedTuple):
    """A connected Redis store and the loop it lives in."""

    redis: RedisStore
    runner: asyncio.Runner


@pytest.fixture(scope="session")
def both(server):
    with asyncio.Runner() as runner:

        async def connected():
            # Simulated time stands still while real time runs: keys must outlive a pause of the machine.
            text = compose()
            assert text.count("local GRACE = 1000\n") == 1
            text = text.replace("local GRACE = 1000\n", f"local GRACE = {LONG}\n")
            own = Script(text, hashlib.sha1(text.encode()).hexdigest())
            store = RedisStore(options(server), own=own)
            assert await store.connect()
            return store

        store = runner.run(connected())
        yield Both(store, runner)
        runner.run(store.close())


@st.composite
def sequences(draw):
    """Batches of asks over a few limits, each at its own time, which may step back."""
    limits = [(draw(rates()), b"%d_" % number) for number in range(draw(st.integers(1, 3)))]
    now, batches = NOW, []
    for _ in range(draw(st.integers(1, 6))):
        rate, _ = draw(st.sampled_from(limits))
        now = min(max(now + draw(jumps(rate, back=True)), 0), LATEST)
        batches.append((now, draw(st.lists(asked(limits), min_size=1, max_size=3))))
    return batches


@st.composite
def asked(draw, limits):
    """One ask: a few charges, keys named twice among them."""
    chosen = draw(st.lists(st.sampled_from(limits), min_size=1, max_size=4))
    return tuple((rate, key, draw(costs(rate)), draw(FLAGS)) for rate, key in chosen), draw(st.booleans())


@st.composite
def holding(draw):
    """Batches of asks over a few limits, most of them with holds: taken, released by name, newest first, or all."""
    limits = []
    for number in range(draw(st.integers(1, 3))):
        rate = draw(st.one_of(rates(), rates(largest=100), st.builds(concurrent_rate, st.integers(0, 4), TTLS)))
        limits.append((rate, b"%d_" % number, rate.algorithm == CONCURRENT or draw(st.integers(0, 3)) > 0))
    now, batches, calls, names = NOW, [], count(1), []
    for _ in range(draw(st.integers(1, 6))):
        now = min(max(now + draw(st.one_of(jumps(limits[0][0], back=True), st.integers(0, 4 * SECOND))), 0), LATEST)
        batch = []
        for _ in range(draw(st.integers(1, 4))):
            chosen = draw(st.lists(st.sampled_from(limits), min_size=1, max_size=4))
            call, charges = b"%016x" % next(calls), []
            for rate, key, holds in chosen:
                cost = draw(costs(rate))
                if not holds:
                    charges.append((rate, key, cost, draw(FLAGS)))
                    continue
                flags = draw(HOLDING)
                charges.append((rate, key, cost, flags, draw(hold_of(rate, flags, call, names))))
            batch.append((tuple(charges), draw(st.booleans())))
        batches.append((now, batch))
    return batches


@st.composite
def hold_of(draw, rate, flags, call, names):
    ttl = draw(TTLS)
    if flags == SETTLEMENT:
        known = draw(st.lists(st.sampled_from(names), max_size=2)) if names else []
        return Hold(ttl, draw(st.sampled_from([0, 0, 0, 0, ALL])), tuple(known), newest=draw(st.booleans()))
    amount = 1 if rate.algorithm == CONCURRENT else draw(st.integers(1, max(1, rate.burst // 2)))
    if draw(st.integers(0, 4)) == 0:
        return Hold(ttl, amount)
    names.append(name_of(call, amount))
    return Hold(ttl, amount, (names[-1],))


@pytest.mark.scenario("numbers that Lua would round, truncate or lose")
@settings(max_examples=150)
@given(data=st.data())
def test_both_stores_hold_alike(both, data):
    """The same with holds: taken, released, expired and undone, on counters of every algorithm and without one."""
    batches = data.draw(holding())
    both.runner.run(compare(both.redis, b"h%d/" % next(FRESH), batches))


@pytest.mark.scenario("numbers that Lua would round, truncate or lose")
@settings(max_examples=150)
@given(data=st.data())
def test_both_stores_decide_alike(both, data):
    """Batches of mixed algorithms, atomic asks, peeks and give-backs have the same outcomes in both stores."""
    batches = data.draw(sequences())
    both.runner.run(compare(both.redis, b"%d/" % next(FRESH), batches))


async def compare(redis, prefix, batches):
    """Charge both stores with the same and compare."""
    memory = MemoryStore()
    for now, wanted in batches:
        groups = [
            [ask(*((r, prefix + k, *more) for r, k, *more in charges), atomic=atomic) for charges, atomic in wanted]
            for _ in range(2)
        ]
        assert await charge(redis, groups[0], now) == await charge(memory, groups[1], now)
