"""A cluster that lies: hosts that it makes up get no password, and cost neither connections nor lines of the log."""

import asyncio

import pytest

from ratelimitd.algorithms import Decision, make_rate
from ratelimitd.limiter.seam import Failure, FailureKind
from ratelimitd.stores.redis import cluster as topology
from ratelimitd.stores.redis.cluster import DIALS, REDIALS
from ratelimitd.stores.redis.connection import RedisConnectionError
from ratelimitd.stores.redis.slots import MASTERS, slot_of
from ratelimitd.stores.redis.strangers import STRANGERS
from testkit.redis_cluster import CLUSTER, connected, redis_cluster
from testkit.redis_server import until
from tests.algorithms.cases import SECOND, ask
from tests.contract.cases import charge
from tests.stores.conftest import PATIENCE
from tests.stores.lying_cluster import SLOTS, encoded, masters

TEN = make_rate("token_bucket", 10, 3_600 * SECOND)
KEY = b"hello"
SLOT = slot_of(KEY)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """The cluster is looked at often."""
    monkeypatch.setattr(topology, "REFRESH_EVERY", 0.02)


@pytest.fixture
async def known(liars):
    """The server that is configured."""
    return await liars()


@pytest.fixture
async def other(liars):
    """A server that redirections name."""
    return await liars()


@pytest.fixture
async def store(make, known):
    """A store that is connected to the known server, with a password."""
    made = make(known.address, "canary", env=CLUSTER)
    assert await made.connect()
    return made


def one(budget=PATIENCE):
    """A charge with this budget in seconds."""
    asked = ask((TEN, KEY, 1))
    asked.deadline = int((asyncio.get_running_loop().time() + budget) * 1e6)
    return asked


def redirection(kind, server):
    """The error that sends a call to a server."""
    return b"-%s %d %s\r\n" % (kind, SLOT, server.address.encode())


async def looked(known, times=2):
    """Wait for this many more looks at the cluster."""
    seen = known.commands.count([b"CLUSTER", b"SLOTS"]) + times
    async with asyncio.timeout(PATIENCE):
        while known.commands.count([b"CLUSTER", b"SLOTS"]) < seen:
            await asyncio.sleep(0.01)


@pytest.mark.scenario("logs that fill up or contain secrets")
@pytest.mark.parametrize("kind", [b"MOVED", b"ASK"])
async def test_a_host_that_no_look_names_gets_no_password(store, known, other, kind):
    """A redirection to it fails its call after a look, before its budget ends; nothing is sent there, then or later."""
    known.charged = redirection(kind, other)
    (outcome,) = await charge(store, [one()])
    assert isinstance(outcome, Failure)
    assert (outcome.kind, "CLUSTER SLOTS does not name it" in outcome.message) == (FailureKind.DISCONNECTED, True)
    await looked(known)
    assert (other.accepted, other.commands) == (0, [])
    assert [node.name for node in store.nodes] == [known.address]
    assert store.in_flight == 0


def as_master(known, other):
    known.slots = encoded(
        [
            [0, SLOT - 1, [b"127.0.0.1", known.port, b"id"]],
            [SLOT, SLOT, [b"127.0.0.1", other.port, b"id"]],
            [SLOT + 1, SLOTS - 1, [b"127.0.0.1", known.port, b"id"]],
        ]
    )


def as_replica(known, other):
    known.slots = encoded([[0, SLOTS - 1, [b"127.0.0.1", known.port, b"id"], [b"127.0.0.1", other.port, b"id"]]])


def without_slots(known, other):
    lines = b"a 127.0.0.1:%d@1 myself,master - 0 0 1 connected 0-16383\n" % known.port
    known.nodes = encoded(lines + b"b 127.0.0.1:%d@1,host master - 0 0 2 connected\n" % other.port)


def as_a_host_name(known, other):
    known.nodes = encoded(b"b 10.0.0.9:%d@1,127.0.0.1 master - 0 0 2 connected\n" % other.port)


@pytest.mark.parametrize("named", [as_master, as_replica, without_slots, as_a_host_name])
@pytest.mark.parametrize("kind", [b"MOVED", b"ASK"])
async def test_a_host_that_a_look_names_is_followed(store, known, other, kind, named):
    """A master, a replica that was promoted, or a new server that has no slot yet: the call waits, and is decided."""
    named(known, other)
    known.charged = redirection(kind, other)
    assert await charge(store, [one()]) == [Decision(True, 9, 5, 0, 0)]
    assert other.commands[0] == [b"AUTH", b"canary"]


@pytest.mark.parametrize("flags", [b"handshake", b"master,noaddr"])
async def test_a_host_that_the_cluster_has_not_met(store, known, other, flags):
    """Anyone may make a node shake hands with any host: that names none."""
    known.nodes = encoded(b"b 127.0.0.1:%d@1 %s - 0 0 2 connected\n" % (other.port, flags))
    known.charged = redirection(b"ASK", other)
    assert isinstance((await charge(store, [one()]))[0], Failure)
    assert other.accepted == 0


async def test_another_server_confirms(make, known, liars, monkeypatch):
    """If a server names a host, another one is asked about it: a single server that lies is not believed."""
    monkeypatch.setattr(topology, "REFRESH_EVERY", PATIENCE)
    liar, other = await liars(), await liars()
    half = SLOTS // 2
    ranges = [[0, half - 1, [b"127.0.0.1", liar.port, b"id"]], [half, SLOTS - 1, [b"127.0.0.1", known.port, b"id"]]]
    known.slots = liar.slots = encoded(ranges)
    store = make(known.address, "canary", env=CLUSTER)
    assert await store.connect()
    as_master(liar, other)
    liar.charged = redirection(b"MOVED", other)
    for _ in range(5):
        assert isinstance((await charge(store, [one()]))[0], Failure)
    assert other.accepted == 0


async def test_hosts_that_are_made_up_for_each_call(store, known):
    """Each call is sent to another host: those that wait for a look are few, and the rest fails at once."""
    (node,) = store.nodes
    targets = [store.topology.redirect_for(node, f"MOVED {SLOT} 10.0.0.1:{port}") for port in range(1, 100)]
    assert [target is not None for target in targets] == [True] * STRANGERS + [False] * (99 - STRANGERS)
    await looked(known)
    assert store.topology.redirect_for(node, f"MOVED {SLOT} 10.0.0.2:1") is not None


class Dials:
    """Takes the place of ``dial``: counts what is under way, and fails when it is told to."""

    def __init__(self):
        self.now = self.most = self.begun = 0
        self.go_on = asyncio.Semaphore(0)

    async def dial(self, *_):
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await self.go_on.acquire()
        self.now -= 1
        raise RedisConnectionError("nothing there")


@pytest.fixture
async def dials(monkeypatch):
    made = Dials()
    monkeypatch.setattr(topology, "dial", made.dial)
    return made


async def begun(dials, number):
    """Wait until this many dials have begun."""
    async with asyncio.timeout(PATIENCE):
        while dials.begun < number:
            await asyncio.sleep(0)


async def test_servers_are_dialled_a_few_at_a_time(make, known, dials):
    """A cluster of dead servers: eight are dialled at once, and four once they have failed."""
    known.slots = masters(MASTERS)
    store = make(known.address, env=CLUSTER, retry_first=0.0, retry_most=0.0)
    connecting = asyncio.ensure_future(store.connect())
    await begun(dials, DIALS)
    for _ in range(MASTERS):
        dials.go_on.release()
    await begun(dials, MASTERS + REDIALS)
    assert dials.most == DIALS
    assert len(store.nodes) == MASTERS
    assert not await connecting
    for _ in range(100):
        await asyncio.sleep(0)
    assert dials.now == REDIALS
    dials.go_on = asyncio.Semaphore(10**9)


@pytest.mark.parametrize("number", [MASTERS + 1, 4_096, SLOTS])
async def test_more_masters_than_any_cluster(make, known, edges, dials, number):
    """A reply with more masters than the specification recommends names none: nothing is dialled, one line says why."""
    dials.go_on = asyncio.Semaphore(10**9)
    known.slots = masters(number)
    assert not await make(known.address, env=CLUSTER).connect()
    assert dials.begun == 0
    assert [(up, "more than 1,000 masters" in why) for up, why in edges.seen] == [(False, True)]


@pytest.mark.redis
async def test_a_slot_moves_to_a_new_server(make):
    """A real cluster gets a server without slots: its first key is found there while its slot is on its way."""
    with redis_cluster(masters=2) as cluster:
        first, second = cluster.nodes
        for node in cluster.nodes:
            node.ask("CLUSTER", "DELSLOTS", *range(SLOTS // 2, SLOTS))
        first.ask("CLUSTER", "ADDSLOTS", *range(SLOTS // 2, SLOTS))
        whole = [(0, SLOTS - 1, (first.id,))]
        await asyncio.to_thread(until, lambda: [node.owners() for node in cluster.nodes] == [whole] * 2, "one master")
        store = await connected(make, cluster)
        assert [node.name for node in store.nodes] == [first.announced]
        assert (await charge(store, [one()]))[0] == Decision(True, 9, 360 * SECOND, 0, 0)
        move = cluster.migration(cluster.slot(KEY), second)
        move.begin()
        assert move.move_keys() == 1
        (outcome,) = await charge(store, [one()])
        assert isinstance(outcome, Decision), outcome
        assert outcome.before == 1
        assert store.redirects["ask"] == 1
        await asyncio.to_thread(move.finish)
        (outcome,) = await charge(store, [one()])
        assert isinstance(outcome, Decision), outcome
        assert outcome.before == 2
