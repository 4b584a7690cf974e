"""A Redis cluster that is changed, harmed and made to forget while it is used."""

import asyncio
import random
import socket
from collections import deque
from functools import partial
from pathlib import Path

import hiredis
import pytest

from ratelimitd.algorithms import make_rate
from ratelimitd.limiter.seam import Failure, FailureKind
from ratelimitd.stores.redis.cluster import Cluster
from ratelimitd.stores.redis.dialer import ask_slots
from testkit.fault_proxy import fault_proxy
from testkit.redis_cluster import CLUSTER, connected, redis_cluster
from tests.algorithms.cases import YEAR, ask
from tests.faults.load import (
    PATIENCE,
    SLOTS_USED,
    TENDER,
    answered,
    decided,
    held,
    key,
    kinds,
    load,
    until,
    wanted,
)

pytestmark = [pytest.mark.redis, pytest.mark.alone]


@pytest.fixture(scope="module")
def whole():
    """Three masters with a replica each, so that one may die; the others' slots are served meanwhile."""
    with redis_cluster("--cluster-require-full-coverage", "no", masters=3, replicas=1, node_timeout=1000) as running:
        yield running


@pytest.fixture
def cluster(whole):
    """The same, without keys."""
    whole.flush()
    return whole


@pytest.mark.scenario("Redis is not running when the service starts")
async def test_a_cluster_that_comes_later(make, cluster, watch):
    """No node can be reached at the start: charges fail at once; within 2 s of one's coming they are decided.

    The outage of the whole cluster, of which no node was known, has an end too.
    """
    with fault_proxy(cluster.nodes[0].address) as first:
        first.set(connects="reset")
        store = make(first.address, env=CLUSTER)
        assert not await store.connect()
        assert kinds(await answered(store, wanted())) == {FailureKind.DISCONNECTED}
        assert watch.ups == [False]
        first.heal()
        assert await decided(store) < 2.0
        whole = watch.seen[0][0]
        assert [up for name, up, _ in watch.seen if name == whole] == [False, True]


@pytest.mark.scenario("cluster nodes lose the script between pipelined calls")
async def test_the_script_lost_within_pipelines(make, cluster):
    """Every master forgets the script every few milliseconds under load: no call fails, and each is charged once."""
    store = await connected(make, cluster, budget=PATIENCE)
    clients = [each.client() for each in cluster.masters()]
    async with load(store, callers=50, keys=200) as made:
        flushes = 0
        while made.decisions < 2_000 or flushes < 50:
            for client in clients:
                client.script_flush()
            flushes += 1
            await asyncio.sleep(0.003)
            assert not made.failures
    for client in clients:
        client.close()
    assert store.script_reloads > 50
    await made.counted()


@pytest.mark.scenario("slots move to another server")
async def test_slots_on_the_move_under_load(make, cluster):
    """Slots with their keys move to and fro under load: MOVED and ASK are followed, and only TRYAGAIN fails a call."""
    store = await connected(make, cluster, budget=PATIENCE)
    draw = random.Random(7)

    def move(slot):
        to = draw.choice([each for each in cluster.masters() if each is not cluster.owner(slot)])
        migration = cluster.migration(slot, to)
        migration.begin()
        while migration.move_keys(1):
            pass
        migration.finish()

    async with load(store, callers=50, keys=100) as made:
        for number in range(8):
            await asyncio.to_thread(move, cluster.slot(key(number)))
            await made.more(20)
    failed = [asked.outcomes[0] for _, asked in made.asks if isinstance(asked.outcomes[0], Failure)]
    assert all(failure.message.startswith("TRYAGAIN") for failure in failed), failed
    assert store.redirects["moved"] >= 8
    assert store.redirects["ask"] > 0
    await made.counted()


@pytest.mark.scenario("the keys of one request are in several slots")
async def test_never_across_slots(make, cluster):
    """Charges over many slots, all-or-nothing or not, in one batch: no server refuses a call for its slots."""
    store = await connected(make, cluster, budget=PATIENCE)
    two = make_rate("token_bucket", 2, YEAR)
    draw = random.Random(8)

    def several(atomic):
        return [(two, key(number), 1) for number in draw.sample(range(400), draw.randint(1, 6))]

    asks = [ask(*several(atomic), atomic=atomic) for atomic in (True, False) * 150]  # type: ignore[arg-type]
    assert kinds(await answered(store, *asks)) == {None}
    for each in cluster.masters():
        assert "errorstat_CROSSSLOT" not in each.ask("INFO", "errorstats")
    assert store.round_trips > SLOTS_USED


@pytest.mark.scenario("another server becomes the master")
async def test_a_replica_is_promoted(make, cluster):
    """A master is killed under load: its slots fail in time, the others' go on, and its replica is found.

    A key of its slots admits at most one extra burst, for what the replica had not heard of.
    """
    store = await connected(make, cluster, budget=0.2)
    burst = make_rate("token_bucket", 50, YEAR)
    dying = cluster.owner(cluster.slot(key(0)))
    mine = [number for number in range(100) if cluster.owner(cluster.slot(key(number))) is dying]
    assert 0 < len(mine) < 100

    async def admitted():
        outcomes = await answered(store, *(ask((burst, b"{0}hot_", 1)) for _ in range(100)))
        return sum(not isinstance(outcome, Failure) and outcome is not None and outcome.allowed for outcome in outcomes)

    passed = await admitted()
    async with load(store, keys=100) as made:
        await made.more(300)
        dying.kill()
        await made.failed(50)
        mark = len(made.asks)
        await made.more(300)
        others = {number for number, asked in made.asks[mark:] if kinds(asked.outcomes) == {None}}
        assert len(others - set(mine)) > len(others & set(mine))
        await until(lambda: sum(node.refusal is None for node in store.nodes) == 3, "the replica found")
        mark = made.failures.total()
        await made.more(300)
        assert made.failures.total() == mark
    assert passed + await admitted() <= 2 * 50
    assert made.longest < TENDER
    assert {number for number, asked in made.asks if isinstance(asked.outcomes[0], Failure)} <= set(mine)
    await asyncio.to_thread(dying.start)
    await asyncio.to_thread(cluster.settle)


@pytest.mark.scenario("another server becomes the master")
async def test_a_slot_without_a_server(make, cluster):
    """CLUSTERDOWN fails the charges of that slot alone, as transient."""
    store = await connected(make, cluster, budget=PATIENCE, breaker_after=10**9)
    slot, others = cluster.slot(key(1)), [number for number in range(40) if number % SLOTS_USED != 1]
    owner = cluster.owner(slot)
    for each in cluster.nodes:
        each.ask("CLUSTER", "DELSLOTS", slot) if each.role() == "master" else None
    found = await answered(store, wanted(1), *(wanted(number) for number in others))
    assert isinstance(found[0], Failure)
    assert found[0].kind is FailureKind.TRANSIENT
    assert kinds(found[1:]) == {None}
    owner.ask("CLUSTER", "ADDSLOTS", slot)
    await asyncio.to_thread(cluster.settle)
    await until(lambda: store.connected)
    while kinds(await answered(store, wanted(1))) != {None}:
        await asyncio.sleep(0.01)
    assert await held(store, 1) >= 1


@pytest.mark.scenario("connections are lost and re-established for a long time")
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
async def test_looks_leave_no_descriptor(make, cluster):
    """A hundred looks at the slots, half over connections of their own: as many descriptors as before, and servers."""
    store = await connected(make, cluster)
    topology = store.topology
    assert isinstance(topology, Cluster)
    before = len(list(Path("/proc/self/fd").iterdir()))
    nodes = list(store.nodes)
    for turn in range(50):
        assert await topology._refresh()
        address = topology._redis.deployment.addresses[turn % 3]
        assert await topology._refresh_from(address, partial(ask_slots, topology._redis, address))
    await until(lambda: len(list(Path("/proc/self/fd").iterdir())) == before)
    assert nodes == list(store.nodes)


class Waiters(deque):
    """The waiters of a connection, whose methods are compiled: each gets this reply in place of its own."""

    def __init__(self, reply):
        super().__init__()
        self.reply = reply

    def append(self, waiting):
        sent, waiter = waiting
        super().append((sent, partial(answered_by, waiter, self.reply)))


def answered_by(waiter, reply, _):
    waiter(reply)


@pytest.mark.scenario("slots move to another server")
async def test_a_call_that_waits_for_a_server_that_leaves(make, cluster):
    """ASK names a server without slots, which is let go of before it is connected: the call fails, its room is free."""
    store = await connected(make, cluster, budget=PATIENCE)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sent_on = hiredis.ReplyError(f"ASK {cluster.slot(key(0))} 127.0.0.1:{silent.getsockname()[1]}")
        for node in store.nodes:
            for connection in node.connections:
                connection._waiters = Waiters(sent_on)
        pending = asyncio.create_task(answered(store, wanted(0)))
        await until(lambda: store.redirects["ask"] == 1)
        topology = store.topology
        assert isinstance(topology, Cluster)
        assert await topology._refresh()
        assert kinds(await pending) == {FailureKind.DISCONNECTED}
    assert store.in_flight == 0
