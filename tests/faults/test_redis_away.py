"""Redis unavailable, killed, hung, slow or unreachable: each call ends within its budget, and Redis is found again."""

import asyncio
import gc
import time
from functools import partial

import pytest

from ratelimitd.limiter.seam import FailureKind
from ratelimitd.stores.redis.call import Pending
from testkit.fault_proxy import Way
from tests.algorithms.cases import NOW
from tests.faults.conftest import NO_BREAKER
from tests.faults.load import PATIENCE, TENDER, answered, decided, held, kinds, load, until, wanted

pytestmark = pytest.mark.alone

LOST = {FailureKind.TIMEOUT, FailureKind.DISCONNECTED, FailureKind.OPEN, FailureKind.SLOW, FailureKind.OVERLOADED}
"""What a call may come to while Redis gives no answer."""

BACK = 20.0
"""Seconds from the return of Redis to the first right decision, at most. bench faults measures them, below one; a test
holds that recovery does not wait for ``PATIENCE``, on a machine that may be busy."""


async def bounded(store, made, calls):
    """While this number of further calls is made, charges in flight stay within their bound, and so does memory."""
    enough = len(made.asks) + calls
    most = store.options.max_in_flight
    while len(made.asks) < enough:
        assert store.in_flight <= most
        await asyncio.sleep(0.005)
    own = {id(asked) for _, asked in made.asks}
    kept = sum(isinstance(each, Pending) and id(each.ask) in own for each in gc.get_objects())
    assert kept <= 2 * most + 100


@pytest.mark.redis
@pytest.mark.scenario("Redis is not running when the service starts")
async def test_found_within_two_seconds(make, server, watch):
    """A store that starts before its Redis fails at once, and decides within 2 s of Redis' coming."""
    server.kill()
    store = make(server.address)
    assert not await store.connect()
    assert kinds(await answered(store, wanted())) == {FailureKind.DISCONNECTED}
    server.start()
    assert await decided(store) < 2.0
    assert watch.ups == [False, True]


@pytest.mark.redis
@pytest.mark.scenario("Redis dies under load")
async def test_killed_under_load(make, server, watch, breaker_after):
    """kill -9 under load: every call ends in time, once; after a restart a decision comes within a second."""
    store = make(server.address, breaker_after=breaker_after)
    await store.connect()
    async with load(store) as made:
        await made.more(200)
        server.kill()
        await made.further(500)
        assert not watch.ups[-1]
        server.start()
        assert await decided(store) < BACK
        await made.more(200)
    assert made.longest < TENDER
    assert set(made.failures) <= LOST
    assert made.failures[FailureKind.DISCONNECTED] > 100
    assert watch.told_once_each


@pytest.mark.redis
@pytest.mark.scenario("Redis hangs, is slow, or is unreachable")
@pytest.mark.parametrize(
    "fault", ["stopped", "slow", "very slow", "no replies", "lost replies", "no requests", "no way in"]
)
async def test_hung(make, server, proxy, breaker_after, fault, watch):
    """A Redis without answers, however it comes about: calls end in time, nothing piles up, and it is found again."""
    store = make(proxy.address, breaker_after=breaker_after, max_in_flight=300, stale_after=0.4)
    await store.connect()
    begin, end = ways(server, proxy, fault)
    async with load(store, callers=50) as made:
        await made.more(200)
        told = len(watch.ups)
        begin()
        try:
            await made.failed(100)
            await bounded(store, made, 2_000)
            # Until the connections are given up: but those over which answers come, if late.
            await until(lambda: fault == "slow" or not store.nodes[0].connections)
            if fault != "no way in":  # a connection that was half made then may come up, and go, after the others
                assert watch.ups[told:] == ([] if fault == "slow" and breaker_after == NO_BREAKER else [False])
        finally:
            end()
        assert await decided(store) < BACK
        await made.more(200)
    assert made.longest < TENDER
    assert set(made.failures) <= LOST
    if fault != "no way in":
        assert made.failures[FailureKind.TIMEOUT] > 0
        alone = FailureKind.SLOW if fault == "slow" else FailureKind.OPEN
        assert made.failures[alone] > 0 or breaker_after == NO_BREAKER
    assert watch.told_once_each


def ways(server, proxy, fault):
    """How a fault begins and ends."""

    def begin(way, connects="open", *, by_reset=False):
        proxy.set(replies=way, connects=connects)
        if by_reset:
            proxy.reset()

    def end():
        if fault == "lost replies":  # what comes after them would be theirs; no TCP loses bytes and goes on
            proxy.reset()
        proxy.heal()

    begins = {
        "stopped": server.hang,
        "slow": partial(begin, Way(delay=0.1)),
        "very slow": partial(begin, Way(delay=1.0)),
        "no replies": partial(begin, Way(hold=True), "silent"),
        "lost replies": partial(begin, Way(drop=True)),
        "no requests": lambda: proxy.set(requests=Way(hold=True)),
        "no way in": partial(begin, Way(), "unanswered", by_reset=True),
    }
    return begins[fault], server.resume if fault == "stopped" else end


@pytest.mark.redis
@pytest.mark.scenario("Redis hangs, is slow, or is unreachable")
async def test_a_dead_connection_behind_a_full_room(make, server, watch):
    """One burst uses up the capacity and nothing more is sent: the connection is dropped nevertheless."""
    store = make(server.address, max_in_flight=20, stale_after=0.2)
    await store.connect()
    server.hang()
    assert kinds(await answered(store, *(wanted(number) for number in range(10)))) == {FailureKind.TIMEOUT}
    assert kinds(await answered(store, wanted())) == {FailureKind.OVERLOADED}
    await until(lambda: not store.connected)
    assert store.in_flight == 0
    server.resume()
    assert await decided(store) < BACK


@pytest.mark.redis
@pytest.mark.scenario("Redis hangs, is slow, or is unreachable")
async def test_excess_fails_at_once(make, server, breaker_after):
    """While Redis hangs, a domain that floods is refused before ``charge`` returns, and another has room left."""
    store = make(server.address, max_in_flight=100, breaker_after=breaker_after)
    await store.connect()
    server.hang()
    flood = [domain(wanted(number), b"greedy") for number in range(300)]
    for asked in flood:
        store.charge([asked], NOW, lambda _: None)
    assert [kinds(asked.outcomes) for asked in flood[50:]] == [{FailureKind.OVERLOADED}] * 250
    assert [kinds(await answered(store, domain(wanted(), b"modest")))] == [{FailureKind.TIMEOUT}]
    assert store.in_flight == 51
    server.resume()
    await until(lambda: store.in_flight == 0)
    assert await held(store, 0) == 2


def domain(asked, name):
    """The same ask, of another domain."""
    asked.plan = asked.plan._replace(request=asked.plan.request._replace(domain=name))
    return asked


class Attempts:
    """A server that counts connections and closes them."""

    def __init__(self):
        self.times: list[float] = []

    def __call__(self, reader, writer):
        self.times.append(time.monotonic())
        writer.close()


@pytest.mark.slow
@pytest.mark.scenario("many connections are re-established at once")
async def test_attempts_are_few_and_spread(make, watch):
    """Twenty hosts that lose one Redis at once: few attempts a second each, and not all at the same moment."""
    seen = Attempts()
    listener = await asyncio.start_server(seen, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    stores = [make(f"{host}:{port}") for _ in range(20)]
    await asyncio.gather(*(store.connect() for store in stores))
    await until(lambda: seen.times[-1] - seen.times[0] > 1.2)
    listener.close()
    # First pauses of 25 to 50 ms, then up to 200 to 400: three to eight attempts in 1.2 s.
    assert 3 * 20 <= len(seen.times) <= 10 * 20
    late = [moment for moment in seen.times if moment > seen.times[0] + 0.6]
    assert len({int(moment * 100) for moment in late}) >= len(late) // 4


@pytest.mark.redis
@pytest.mark.scenario("many connections are re-established at once")
async def test_waiting_charges_do_not_dial(make, server, proxy):
    """A thousand charges that wait cause no more connections than the pool has."""
    store = make(proxy.address, pool_size=4, budget=PATIENCE, stale_after=PATIENCE)
    await store.connect()
    proxy.set(replies=Way(hold=True))
    pending = [asyncio.create_task(answered(store, wanted(number % 100))) for number in range(1_000)]
    for _ in range(200):
        await asyncio.sleep(0.001)
    proxy.heal()
    for one in pending:
        assert kinds(await one) == {None}
    assert proxy.counts["accepted"] <= 4


@pytest.mark.redis
@pytest.mark.scenario("many connections are re-established at once")
async def test_a_pool_that_cannot_grow(make, server):
    """While Redis takes no more clients, the connection there serves on, and attempts at another are few."""
    store = make(server.address)
    await store.connect()
    with server.client() as client:
        client.config_set("maxclients", 2)
        before = client.info("stats")["rejected_connections"]
        async with load(store, budget=PATIENCE) as made:
            await made.more(2_000)
            started = time.monotonic()
            await until(lambda: time.monotonic() - started > 0.5)
        assert not made.failures
        assert 1 <= client.info("stats")["rejected_connections"] - before <= 30
