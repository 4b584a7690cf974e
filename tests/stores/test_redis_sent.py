"""Failures say whether their charges were sent: what was may have been applied, what was not was not."""

import asyncio

import pytest

from ratelimitd.limiter.seam import Failure, FailureKind
from ratelimitd.stores.redis import cluster as topology
from ratelimitd.stores.redis.errors import classify
from testkit.redis_cluster import connected, redis_cluster
from tests.contract.cases import allowed, charge
from tests.stores.conftest import PATIENCE
from tests.stores.test_redis_store import one, pytestmark, server  # noqa: F401 -- as that file has them


def sent(outcomes):
    """Whether the failures among outcomes say that they were sent."""
    return {outcome.sent for outcome in outcomes if isinstance(outcome, Failure)}


async def test_what_a_lost_or_silent_server_had_been_sent(make, edges, server):  # noqa: F811 -- the fixture
    """A charge whose reply did not come in time, or whose connection was lost; but not one that found no server."""
    store = make(server.address)
    await store.connect()
    server.hang()
    assert sent(await charge(store, [one(budget=0.02)])) == {True}
    under_way = asyncio.ensure_future(charge(store, [one(b"%d_" % i) for i in range(3)]))
    await asyncio.sleep(0)
    server.kill()
    assert sent(await under_way) == {True}
    await edges.until(True, False)
    assert sent(await charge(store, [one()])) == {False}


async def test_what_the_store_refused_or_redis_did_not_run_was_not_applied(make, server):  # noqa: F811 -- as above
    """Too many in flight, a budget that is over before anything is sent, and an error of the whole call."""
    store = make(server.address, max_in_flight=1)
    await store.connect()
    assert sent(await charge(store, [one(b"%d_" % i) for i in range(3)])) == {False}
    late = one()
    late.deadline = 1
    assert sent(await charge(store, [late])) == {False}
    server.ask("CONFIG", "SET", "maxmemory", "1")
    assert sent(await charge(store, [one(b"full_")])) == {False}


async def test_what_a_proxy_lost_may_have_been_applied():
    """Envoy's redis_proxy says the same of a server that it lost, and of one that was silent."""
    assert classify("upstream failure") == Failure(FailureKind.TRANSIENT, "upstream failure", sent=True)
    assert not classify("no upstream host").sent


@pytest.mark.scenario("another server becomes the master")
async def test_what_waited_for_a_connection_was_not_applied_and_is_not_later(make, monkeypatch):
    """A charge that was redirected to a server without a connection, whose budget ends first, in a call with one that
    goes on waiting: that one is made once there is a connection, alone.
    """
    monkeypatch.setattr(topology, "REFRESH_EVERY", PATIENCE)
    with redis_cluster(masters=2, node_timeout=30_000) as cluster:
        store = await connected(make, cluster, prefix=b"{1}", stale_after=PATIENCE)
        key = b"{1}k_"
        slot = cluster.slot(key)
        source = cluster.owner(slot)
        target = next(each for each in cluster.masters() if each is not source)
        cluster.migrate_slot(slot, target)  # in this thread, so that no look comes between
        target.hang()
        (node,) = [each for each in store.nodes if each.address.port == target.port]
        node.drop("a test")
        # One call: declared keys of one slot.
        long = asyncio.ensure_future(charge(store, [one(key)]))
        assert sent(await charge(store, [one(key, budget=0.05)])) == {False}
        assert not long.done()
        target.resume()
        assert allowed(await long) == [True]
        (look,) = await charge(store, [one(key)])
        assert look.before == 1


@pytest.mark.scenario("slots move to another server")
async def test_what_waits_for_its_keys_was_not_applied(make, fake):
    """A call that Redis told to try again, whose budget ends in the pause."""
    store = make(await fake.start(lambda words, writer: writer.write(b"-TRYAGAIN x\r\n")), max_attempts=10**6)
    await store.connect()
    long = asyncio.ensure_future(charge(store, [one()]))
    assert sent(await charge(store, [one(budget=0.05)])) == {False}
    assert not long.done()
    await store.close()
    assert sent(await long) == {False}
