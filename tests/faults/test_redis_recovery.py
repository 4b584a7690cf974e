"""Recovery of Redis: by paced probes with the real script, and each edge is reported once."""

import asyncio
import time
from functools import partial

import pytest

from ratelimitd.limiter.seam import FailureKind
from testkit.fault_proxy import Way
from tests.faults.load import PATIENCE, answered, decided, held, kinds, load, until, wanted
from tests.turning import turning

pytestmark = [pytest.mark.redis, pytest.mark.alone]

SLACK = 0.25
"""Seconds that a loaded machine may run a timer late."""


class Noted:
    """A store as its nodes see it, which notes when each probe is sent, by the loop's clock."""

    def __init__(self, store, times):
        self.__dict__["store"], self.__dict__["times"] = store, times

    def __getattr__(self, name):
        return getattr(self.store, name)

    def __setattr__(self, name, value):
        setattr(self.store, name, value)

    def probe(self, node):
        self.times.append(asyncio.get_running_loop().time())
        self.store.probe(node)


def probes(store):
    """Note when each probe is sent from now on; a method of a compiled store cannot be replaced."""
    times: list[float] = []
    for node in store.nodes:
        node._watcher = Noted(store, times)
    return times


async def opened(store):
    """Charge until the breaker opens, one batch per charge."""
    while not store.nodes[0].breaker.open:
        await answered(store, wanted())


async def test_probes_have_a_pace(make, server, watch):
    """A node with an open breaker receives a probe every 250 to 500 ms, whatever the load, and nothing else."""
    store = make(server.address, stale_after=PATIENCE)
    await store.connect()
    times = probes(store)
    server.hang()
    async with load(store) as made:
        await until(lambda: store.nodes[0].breaker.open)
        began = asyncio.get_running_loop().time()
        before = store.in_flight
        await until(lambda: len(times) == 4)
        assert store.in_flight <= before + 4
        assert made.failures[FailureKind.OPEN] > 1_000
        assert (watch.ups, store.breaker_opens) == ([True, False], 1)
        server.resume()
        await made.more(100)
    pauses = [late - early for early, late in zip([began, *times], times[:4])]
    assert all(0.24 <= pause <= 0.5 + SLACK for pause in pauses), pauses
    assert watch.told_once_each


async def test_an_open_breaker_answers_at_once(make, server):
    """While the breaker is open a charge completes before ``charge`` returns, and nothing is sent for it."""
    store = make(server.address, stale_after=PATIENCE)
    await store.connect()
    server.hang()
    await opened(store)
    before = store.in_flight
    asks = [wanted(number) for number in range(100)]
    store.charge(asks, time.time_ns() // 1000, lambda _: None)
    assert [kinds(asked.outcomes) for asked in asks] == [{FailureKind.OPEN}] * 100
    assert store.in_flight == before
    server.resume()
    await decided(store)
    assert await held(store, 99) == 0


@pytest.mark.scenario("Redis loses the script")
async def test_a_probe_runs_the_real_script(make, server):
    """A server that answers PING, and everything else that does not write, is no server: probes find the script fail.

    When it takes writes again, the next one closes the breaker, even if the script is lost by then.
    """
    store = make(server.address)
    await store.connect()
    times = probes(store)
    server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    await opened(store)
    await until(lambda: len(times) == 3)
    await until(lambda: store.in_flight == 0)
    assert store.nodes[0].breaker.open
    server.ask("SCRIPT", "FLUSH")
    server.ask("CONFIG", "SET", "min-replicas-to-write", 0)
    assert await decided(store) < 1.0
    assert server.ask("PTTL", "rl1:probe") > 0
    assert store.script_reloads == 1


@pytest.mark.parametrize("fault", ["killed", "stopped", "no replies", "no way in", "reset"])
async def test_first_right_decision_within_a_second(make, server, proxy, fault, watch, breaker_after):
    """After an outage as long as it takes to give the connections up, decisions come within a second of its end."""
    store = make(proxy.address, breaker_after=breaker_after, stale_after=0.4)
    await store.connect()
    await decided(store)
    begin, end = outages(server, proxy)[fault]
    begin()
    async with load(store, callers=5):
        await until(lambda: not store.nodes[0].connections)
        before = proxy.counts["accepted"]
        await until(lambda: proxy.counts["accepted"] > before + 1 or fault == "no way in")
        assert watch.ups == [True, False]
        end()
        assert await decided(store) < 1.0
    assert watch.told_once_each


def outages(server, proxy):
    """How each begins and ends."""

    def reset():
        proxy.set(connects="reset")
        proxy.reset()

    return {
        "killed": (server.kill, server.start),
        "stopped": (server.hang, server.resume),
        "no replies": (partial(proxy.set, replies=Way(hold=True)), proxy.heal),
        "no way in": (partial(proxy.set, replies=Way(hold=True), connects="unanswered"), proxy.heal),
        "reset": (reset, proxy.heal),
    }


@pytest.mark.scenario("the event loop is blocked")
async def test_an_outage_does_not_hold_the_loop(make, server):
    """Without requests, an unavailable server leaves the event loop nearly idle."""
    store = make(server.address)
    await store.connect()
    server.hang()
    await opened(store)
    with turning() as turns:
        while turns.count < 1_000:
            await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) <= 3
    server.resume()
    assert await decided(store) < 1.0
