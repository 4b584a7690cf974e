"""The timer of the budgets: one for all, and nothing that was answered is kept for it."""

import asyncio
import gc

import pytest

from ratelimitd.limiter.seam import FailureKind
from ratelimitd.stores.redis.call import Pending, ScriptCall, Tick
from testkit.redis_server import redis_server
from tests.contract.cases import allowed, charge
from tests.stores.conftest import PATIENCE
from tests.stores.test_redis_store import kinds, one

pytestmark = pytest.mark.redis


@pytest.fixture
def server():
    """A redis-server of this test's own, to be hung."""
    with redis_server() as running:
        yield running


async def test_what_was_answered_is_let_go(make, server):
    """Nothing of a tick is left once its last reply was handed on: the collector meets none of it."""
    store = make(server.address)
    await store.connect()
    gc.collect()
    gc.disable()
    try:
        for number in range(20):
            assert allowed(await charge(store, [one(b"%d_" % number), one(b"k%d_" % number)])) == [True, True]
        kept = [each for each in gc.get_objects() if isinstance(each, Pending | ScriptCall | Tick)]
    finally:
        gc.enable()
    assert kept == []


async def test_one_timer_serves_all_ticks(make, server, monkeypatch):
    """Ticks whose budgets end in the order in which they were sent arm one timer and cancel none."""
    store = make(server.address)
    await store.connect()
    await charge(store, [one()])
    loop = asyncio.get_running_loop()
    armed = []
    monkeypatch.setattr(loop, "call_at", lambda *args, at=loop.call_at: armed.append(args) or at(*args))
    for number in range(50):
        await charge(store, [one(b"%d_" % number)])
    assert [args for args in armed if args[1] == store._deadlines._woke] == []


async def test_a_shorter_budget_ends_first(make, server):
    """An ask that can wait less than those before it does not wait for their timer; they are waited for on."""
    store = make(server.address)
    await store.connect()
    server.hang()
    long = asyncio.ensure_future(charge(store, [one(b"long_", budget=PATIENCE)]))
    while not store._deadlines.ticks:
        await asyncio.sleep(0)
    short = [asyncio.ensure_future(charge(store, [one(b"short_", budget=budget)])) for budget in (0.03, 0.01)]
    for each in short:
        assert kinds(await each) == {FailureKind.TIMEOUT}
    assert not long.done()
    server.resume()
    assert allowed(await long) == [True]
    while store._deadlines.ticks:
        await asyncio.sleep(0.001)


async def test_a_second_budget_in_a_tick_ends_too(make, server):
    """The asks of one tick end each with its own budget, and after the last one nothing is watched."""
    store = make(server.address, budget=0.02)
    await store.connect()
    server.hang()
    early = asyncio.ensure_future(charge(store, [one(b"early_", budget=0.01)]))
    late = asyncio.ensure_future(charge(store, [one(b"late_", budget=0.05)]))
    assert kinds(await early) == {FailureKind.TIMEOUT}
    assert kinds(await late) == {FailureKind.TIMEOUT}
    async with asyncio.timeout(PATIENCE):
        while store._deadlines.ticks:
            await asyncio.sleep(0.001)
    server.resume()


@pytest.mark.parametrize("said", [b"TRYAGAIN x", b"CROSSSLOT x"])
async def test_what_is_over_is_not_sent_again(make, fake, said):
    """A call whose asks have failed is not split: nothing would receive what its charges find."""
    heard, waiting = [], []

    def behave(words, writer):
        if words[0] == b"EVALSHA":
            heard.append(words)
            waiting.append(writer)

    store = make(await fake.start(behave), budget=0.05)
    await store.connect()
    assert kinds(await charge(store, [one(b"a_"), one(b"b_")])) == {FailureKind.TIMEOUT}
    assert store.in_flight == 2
    async with asyncio.timeout(PATIENCE):
        while not waiting:
            await asyncio.sleep(0)
        waiting[0].write(b"-%b\r\n" % said)
        while store.in_flight and len(heard) == 1:
            await asyncio.sleep(0)
    assert (len(heard), store.in_flight) == (1, 0)
    assert store._deadlines.ticks == {}
