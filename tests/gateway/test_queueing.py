"""The edge of waiting lines: what is counted, kept and let go. With the real engine and store, no sockets."""

import asyncio
import gc
import time
import tracemalloc
from functools import partial

import pytest

from ratelimitd.app.queueing import WAITER_BYTES, waiting_most
from ratelimitd.gateway.queueing import AT_ONCE, Queueing
from ratelimitd.gateway.waiting import Waiting
from ratelimitd.limiter import Engine, LimitRequest, OverLimitCache, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import Descriptor
from ratelimitd.policy_file import parse
from ratelimitd.stores import MemoryStore
from testkit.builds import interpreted_only
from tests.http1.rig import PATIENCE

ONE = "concurrent: 1, queue: {length: 10000, timeout: 60s}"


class Asking:
    """Requests to one queueing, and what became of each, in order."""

    def __init__(self, *limits, most=10_000, store=None, guards=()):
        keys = [b"k%d" % number for number in range(len(limits))]
        lines = [f"- {{key: {key.decode()}, rate_limit: {{{limit}}}}}" for key, limit in zip(keys, limits, strict=True)]
        text = "domain: d\ndescriptors:\n" + "\n".join(lines) + "\n"
        self.tallies = Tallies()
        self.engine = Engine(MemoryStore() if store is None else store, Counters(), guards)
        policy = parse([("p.yaml", text.encode())])
        self.engine.planner = Planner(policy, key_maker(b"", safe=True), self.tallies, PlanOptions())
        self.queueing = Queueing(self.engine)
        self.queueing.lines.most = most
        self.told = []
        self.asks = {}
        self._keys = keys

    def ask(self, name, value="v", client="192.0.2.1"):
        descriptors = tuple(Descriptor(((key, value.encode()),)) for key in self._keys)
        again = partial(self.engine.ask, descriptors, partial(LimitRequest, b"d"))

        def decided(ask, answer):
            self.asks[name] = ask
            self.told.append((name, "over" if answer.over else "failed" if answer.failure else "ok"))

        request = Waiting(
            again,
            client,
            decided,
            lambda *_: self.told.append((name, "error")),
            partial(self.told.append, (name, "dropped")),
        )
        self.queueing.begin(request, again())
        return request

    def end(self, name):
        ask = self.asks.pop(name)
        self.engine.release(ask, 0)
        self.queueing.freed(ask)

    async def until(self, count):
        async with asyncio.timeout(PATIENCE):
            while len(self.told) < count:
                await asyncio.sleep(0)

    def tally(self, name):
        return sum(getattr(tally, name) for tally in self.tallies)


async def test_a_request_that_waited_counts_once():
    """However often it has asked: one hit that passed; one that is denied in the end is one hit over the limit."""
    asking = Asking("concurrent: 1, queue: {length: 1, timeout: 60s}", "unit: hour, requests_per_unit: 9")
    asking.ask("1")
    asking.ask("2")
    for _ in range(5):
        asking.queueing.wake()
        for _ in range(3):
            await asyncio.sleep(0)
    asking.end("1")
    await asking.until(2)
    assert asking.told == [("1", "ok"), ("2", "ok")]
    asking.ask("3")
    asking.ask("4")
    assert asking.told[2:] == [("4", "over")]
    assert (asking.tally("total_hits"), asking.tally("over_limit")) == (2 * 3, 1)
    asking.queueing.close()


async def test_a_request_that_comes_later_does_not_overtake():
    """Though a place is free when it comes, and the first in line has not asked for it yet."""
    asking = Asking(ONE)
    asking.ask("1")
    asking.ask("2")
    asking.end("1")
    asking.ask("3")
    await asking.until(2)
    asking.end("2")
    await asking.until(3)
    assert asking.told == [("1", "ok"), ("2", "ok"), ("3", "ok")]


async def test_a_wait_holds_nothing_and_leaves_nothing():
    """No place, timer or line is left of requests that passed, left or were dropped."""
    asking = Asking(ONE)
    asking.ask("1")
    requests = [asking.ask(str(number)) for number in range(2, 9)]
    asking.queueing.leave(requests[0])
    asking.queueing.leave(requests[0])
    asking.end("1")
    await asking.until(2)
    asking.queueing.close()
    assert asking.told == [("1", "ok"), ("3", "ok"), *((str(number), "dropped") for number in range(4, 9))]
    assert (len(asking.queueing.lines), asking.queueing._timers, list(asking.queueing.lines)) == (0, {}, [])
    assert all(request.timer is None for request in requests)
    ended = {"left": 1, "served": 1, "drained": 5}
    assert asking.queueing.metrics.ended == {("d.k0", outcome): number for outcome, number in ended.items()}
    assert sum(asking.queueing.metrics.waited.counts) == 7


async def test_many_that_may_go_on_do_so_some_at_a_time():
    """A limit that is gone lets a thousand lines go on; other requests have their turns in between."""
    asking = Asking("unit: hour, requests_per_unit: 1, algorithm: gcra, queue: {timeout: 1h}")
    for number in range(200):
        asking.ask(f"{number}", value=str(number))
        asking.ask(f"{number}b", value=str(number))
    asking.told.clear()
    asking.engine.planner = Planner(
        parse([("p.yaml", b"domain: d\n")]), key_maker(b"", safe=True), Tallies(), PlanOptions()
    )
    asking.queueing.wake()
    seen = []
    async with asyncio.timeout(PATIENCE):
        while len(asking.told) < 200:
            before = len(asking.told)
            await asyncio.sleep(0)
            seen.append(len(asking.told) - before)
    assert max(seen) <= AT_ONCE
    assert len(asking.queueing.lines) == 0


async def test_an_error_for_one_that_waits_ends_its_wait_alone():
    """The next one of the line has its turn."""
    asking = Asking(ONE)
    asking.ask("1")
    second = asking.ask("2")
    asking.ask("3")
    second.ask = partial(asking.engine.ask, (), lambda _: 1 / 0)
    asking.end("1")
    await asking.until(3)
    assert asking.told == [("1", "ok"), ("2", "error"), ("3", "ok")]


async def test_one_client_cannot_keep_others_from_waiting():
    """Nor with the addresses of one IPv6 network: of a full process it gives up its newest place."""
    asking = Asking(ONE, most=4)
    for number in range(5):
        asking.ask(str(number), value=str(number % 2), client=f"2001:db8::{number}")
    assert asking.told == [("0", "ok"), ("1", "ok")]
    asking.ask("5", value="0", client="2001:db8::5")
    asking.ask("6", value="0", client="2001:db8::6")
    assert asking.told[2:] == [("6", "over")]
    asking.ask("modest", value="0", client="192.0.2.1")
    assert asking.told[3:] == [("5", "over")]
    assert len(asking.queueing.lines) == 4
    asking.queueing.close()


@pytest.mark.parametrize("algorithm", ["token_bucket", "fixed_window"])
async def test_a_full_line_is_not_remembered_as_a_denial_of_its_limit(algorithm):
    """By LOCAL_CACHE_SIZE_IN_BYTES: its wait is that of the whole line, and the first of it has a shorter one."""
    limit = f"unit: hour, requests_per_unit: 1, algorithm: {algorithm}, queue: {{length: 1, timeout: 1h}}"
    cache = OverLimitCache(1 << 20)
    asking = Asking(limit, guards=[cache])
    for number in range(3):
        asking.ask(str(number))
    (charge,) = asking.asks["2"].plan.charges
    cache.forget(charge.key)
    asking.ask("3")
    assert asking.told == [("0", "ok"), ("2", "over"), ("3", "over")]
    assert cache.holds(charge, time.time_ns() // 1000) is None
    asking.queueing.close()


async def test_many_are_dropped_and_woken_some_at_a_time():
    """A process that stops, or loads a policy, holds the event loop for no longer than by other work."""
    asking = Asking(ONE)
    asking.ask("first")
    for number in range(3 * AT_ONCE):
        asking.ask(str(number))
    asking.queueing.close()
    assert len(asking.told) == 1 + AT_ONCE
    await asking.until(1 + 3 * AT_ONCE)
    asking.ask("late")
    assert asking.told[-1] == ("late", "dropped")


class Late(MemoryStore):
    """A store whose answers come when a test says so."""

    def __init__(self):
        super().__init__()
        self.late = False
        self.waiting = []

    def charge(self, asks, now, done):
        if self.late:
            self.waiting.append(partial(super().charge, asks, now, done))
        else:
            super().charge(asks, now, done)

    def answer(self):
        self.late, waiting = False, self.waiting
        self.waiting = []
        for each in waiting:
            each()


@interpreted_only
async def test_a_place_for_a_request_that_is_gone_is_the_next_ones():
    """Its client left while it was asking: what it got is given back at once, and the next one has it."""
    store = Late()
    asking = Asking(ONE, store=store)
    asking.ask("1")
    second = asking.ask("2")
    asking.ask("3")
    asking.end("1")
    store.late = True
    async with asyncio.timeout(PATIENCE):
        while not store.waiting:
            await asyncio.sleep(0)
    asking.queueing.leave(second)
    store.answer()
    await asking.until(2)
    assert asking.told == [("1", "ok"), ("3", "ok")]


@pytest.mark.alone
@pytest.mark.slow
async def test_a_waiting_request_takes_no_more_memory_than_is_added_up():
    """And not far less, so that the sum tells something."""
    asking = Asking(ONE, most=10_000)
    asking.ask("first")
    gc.collect()
    tracemalloc.start()
    requests = [asking.ask("n", client=f"192.0.2.{number % 250}") for number in range(5_000)]
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert WAITER_BYTES / 3 < size / len(requests) < WAITER_BYTES
    asking.queueing.close()


@pytest.mark.parametrize(("connections", "most"), [(1, 1), (2, 1), (10_000, 5_000)])
def test_half_of_the_connections_never_wait(connections, most):
    """Whatever their number is."""
    assert waiting_most(connections) == most
