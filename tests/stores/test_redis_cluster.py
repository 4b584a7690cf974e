"""A Redis cluster under the store: calls that are sent elsewhere, slots on their way, servers that come and go."""

import asyncio
from functools import partial
from itertools import count

import pytest

from ratelimitd.algorithms import Decision, counter_key, make_rate
from ratelimitd.limiter.seam import Failure, FailureKind
from ratelimitd.stores.redis import Observer
from ratelimitd.stores.redis import cluster as slots
from testkit.redis_cluster import connected, redis_cluster
from tests.algorithms.cases import NOW, SECOND, ask
from tests.contract.cases import allowed, charge
from tests.stores.conftest import PATIENCE

pytestmark = pytest.mark.redis

HOUR = 3_600 * SECOND
TEN = make_rate("token_bucket", 10, HOUR)
WINDOW = make_rate("fixed_window", 10, HOUR)

TIMEOUT = 3000
"""ms that a node may be unavailable before the others act on it; no test here depends on that."""

FRESH = count()


@pytest.fixture(scope="module")
def whole():
    """Two masters with a replica each; without a slot's server the others still serve."""
    covered = ("--cluster-require-full-coverage", "no")
    with redis_cluster(*covered, masters=2, replicas=1, node_timeout=TIMEOUT) as running:
        yield running


@pytest.fixture
def cluster(whole):
    """The same, without keys."""
    whole.flush()
    return whole


async def unaware(make, cluster):
    """A connected store that looks at the slots again only when something tells it to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "REFRESH_SOON", PATIENCE)
        return await connected(make, cluster)


def key_at(cluster, node):
    """A key that no other test uses, in a slot of this node."""
    while cluster.owner(cluster.slot(key := b"%d_" % next(FRESH))) is not node:
        pass
    return key


def one(key, cost=1, budget=None):
    """A charge of ten an hour, with this budget (seconds) from now."""
    asked = ask((TEN, key, cost))
    if budget is not None:
        asked.deadline = int((asyncio.get_running_loop().time() + budget) * 1e6)
    return asked


async def held(store, key):
    """The count of a key."""
    (outcome,) = await charge(store, [one(key, 0)])
    assert isinstance(outcome, Decision), outcome
    return outcome.before


def failure(outcome):
    """The failure that an outcome is."""
    assert isinstance(outcome, Failure), outcome
    return outcome


async def until(store, key):
    """Charge again and again until it is decided."""
    async with asyncio.timeout(PATIENCE):
        while not isinstance((await charge(store, [one(key, budget=1.0)]))[0], Decision):
            await asyncio.sleep(0.01)


@pytest.mark.scenario("slots move to another server")
async def test_moved_is_followed_once(make, cluster):
    """A call for a slot that has moved is decided where the slot is now, by what was counted; the next goes there."""
    store = await connected(make, cluster)
    source, target = cluster.masters()
    key = key_at(cluster, source)
    assert allowed(await charge(store, [one(key, 3)])) == [True]
    await asyncio.to_thread(cluster.migrate_slot, cluster.slot(key), target)
    assert allowed(await charge(store, [one(key, 4)])) == [True]
    assert await held(store, key) == 7
    # None on a busy machine, where the next look at the slots may come before the call.
    assert store.redirects in ({"moved": 1, "ask": 0}, {"moved": 0, "ask": 0})


async def test_ask_is_followed_for_this_call_alone(make, cluster):
    """While a slot is on its way, keys that have gone are charged at the target, and the rest where they were."""
    store = await connected(make, cluster)
    source, target = cluster.masters()
    gone = key_at(cluster, source)
    assert allowed(await charge(store, [one(gone, 3)])) == [True]
    move = cluster.migration(cluster.slot(gone), target)
    move.begin()
    assert move.move_keys() == 1
    for used in (3, 4):
        (outcome,) = await charge(store, [one(gone)])
        assert isinstance(outcome, Decision), outcome
        assert outcome.before == used
    assert store.redirects == {"moved": 0, "ask": 2}
    await asyncio.to_thread(move.finish)
    assert await held(store, gone) == 5
    assert store.redirects["moved"] <= 1  # none if a look at the slots came first


@pytest.mark.scenario("slots move to another server")
async def test_a_slot_half_moved(make, cluster):
    """During a slot migration each key is found at its node; only an all-or-nothing ask with keys on both fails."""
    store = await connected(make, cluster, breaker_after=1)
    source, target = cluster.masters()
    other = key_at(cluster, source)
    tag = key_at(cluster, source)
    two = ask((TEN, b"{%b}a" % tag, 1), (TEN, b"{%b}b" % tag, 1))
    assert allowed(await charge(store, [two])) == [True, True]
    move = cluster.migration(cluster.slot(tag), target)
    move.begin()
    assert move.move_keys(1) == 1
    both = (TEN, b"{%b}a" % tag, 1), (TEN, b"{%b}b" % tag, 1)
    try:
        assert allowed(await charge(store, [ask(*both)])) == [True, True]
        assert [await held(store, key) for _, key, _ in both] == [2, 2]
        *halves, whole = await charge(store, [ask(*both, atomic=True), one(other)])
    finally:
        await asyncio.to_thread(move.finish)
    assert {failure(half).kind for half in halves} == {FailureKind.TRANSIENT}
    assert allowed([whole]) == [True]
    assert store.breaker_opens == 0


async def test_servers_that_send_a_call_to_each_other(make, cluster):
    """A call that is only sent around ends as transient, after a few servers and long before its budget."""
    store = await connected(make, cluster)
    here, there = cluster.masters()
    key = key_at(cluster, here)
    slot = cluster.slot(key)
    here.ask("CLUSTER", "SETSLOT", slot, "NODE", there.id)  # and the other one goes on naming this one
    (outcome,) = await charge(store, [one(key)])
    here.ask("CLUSTER", "SETSLOT", slot, "NODE", here.id)
    assert failure(outcome).kind is FailureKind.TRANSIENT
    assert "too many MOVED/ASK redirections" in failure(outcome).message
    assert store.redirects["moved"] == store.options.max_attempts + 1
    await until(store, key)


async def test_a_lost_script_in_a_pipeline(make, cluster):
    """Many calls in one write, to servers that have lost the script: each is decided, once."""
    store = await connected(make, cluster)
    keys = [key_at(cluster, master) for master in cluster.masters() for _ in range(20)]
    for master in cluster.masters():
        master.ask("SCRIPT", "FLUSH")
    assert allowed(await charge(store, [one(key) for key in keys])) == [True] * 40
    assert store.script_reloads >= 2
    assert [await held(store, key) for key in keys] == [1] * 40


def apart(cluster):
    """Two keys, each at another master."""
    first, second = (key_at(cluster, master) for master in cluster.masters())
    return first, second


async def test_all_or_nothing_over_two_servers(make, cluster):
    """An ask denied at one node is not charged at the other; one that passes is charged once at both."""
    store = await connected(make, cluster)
    first, second = apart(cluster)
    assert allowed(await charge(store, [one(second, 9)])) == [True]
    for cost, passed in ((1, [True, True]), (2, [True, False])):
        both = ask((TEN, first, cost), (TEN, second, cost), atomic=True)
        assert allowed(await charge(store, [both])) == passed
    assert (await held(store, first), await held(store, second)) == (1, 10)
    assert store.charged_in_part == 0


class Between(Observer):
    """Does something before the answer to the script call of this number is taken."""

    def __init__(self, number, act):
        self._left = number
        self._act = act

    def round_trip(self, seconds, charges):
        """See ``Observer``."""
        self._left -= 1
        if self._left == 0:
            self._act()


@pytest.mark.scenario("only some limits of a request can be decided")
async def test_all_or_nothing_that_was_torn(make, cluster):
    """When a counter fills up between the two rounds, the other one is charged, the ask denied, and it is counted."""
    store = await connected(make, cluster)
    first, second = apart(cluster)
    filled = counter_key(second, WINDOW, NOW)
    owner = cluster.owner(cluster.slot(filled))
    both = ask((TEN, first, 1), (WINDOW, second, 1), atomic=True)
    store.observer = Between(2, partial(owner.ask, "SET", filled.decode(), 10, "PX", 60_000))
    assert allowed(await charge(store, [both])) == [True, False]
    assert await held(store, first) == 1
    assert store.charged_in_part == 1


@pytest.mark.scenario("only some limits of a request can be decided")
async def test_all_or_nothing_that_failed_in_part(make, cluster):
    """When a server hangs between the two rounds the ask has a decision and a failure, and what it tore is counted."""
    store = await connected(make, cluster)
    first, second = apart(cluster)
    owner = cluster.owner(cluster.slot(second))
    both = ask((TEN, first, 1), (TEN, second, 1), atomic=True)
    both.deadline = int((asyncio.get_running_loop().time() + 0.2) * 1e6)
    store.observer = Between(2, partial(owner.hang))
    try:
        fine, late = await charge(store, [both])
    finally:
        owner.resume()
    assert allowed([fine]) == [True]
    assert failure(late).kind is FailureKind.TIMEOUT
    async with asyncio.timeout(PATIENCE):
        while store.in_flight:
            await asyncio.sleep(0.001)
    assert store.charged_in_part == 1


@pytest.mark.scenario("only some limits of a request can be decided")
async def test_a_server_that_hangs_costs_its_own_slots_alone(make, cluster):
    """Its charges are late and then refused at once, others are decided meanwhile, and a probe finds it again."""
    store = await connected(make, cluster, budget=0.05, breaker_after=3, probe_most=0.1)
    well, ill = cluster.masters()
    here, there = key_at(cluster, well), key_at(cluster, ill)
    ill.hang()
    try:
        kinds: list[FailureKind] = []
        while kinds[-1:] != [FailureKind.OPEN]:
            fine, late = await charge(store, [one(here, 0, budget=PATIENCE), one(there)])
            assert allowed([fine]) == [True]
            kinds.append(failure(late).kind)
            assert len(kinds) < 20
        assert {*kinds[:-1]} == {FailureKind.TIMEOUT}
        assert store.connected
    finally:
        ill.resume()
    await until(store, there)
    assert store.breaker_opens == 1


async def test_a_slot_that_no_server_has(make, cluster):
    """Charges of such a slot fail at once as transient, those of others pass, and it is found when it is back."""
    owner, other = cluster.masters()
    key = key_at(cluster, owner)
    slot = cluster.slot(key)
    for node in (owner, *(each for each in cluster.nodes if each is not owner)):
        node.ask("CLUSTER", "DELSLOTS", slot)
    store = await connected(make, cluster)
    lost, fine = await charge(store, [one(key), one(key_at(cluster, other))])
    assert failure(lost).kind is FailureKind.TRANSIENT
    assert "no cluster node serves the slot" in failure(lost).message
    assert allowed([fine]) == [True]
    owner.ask("CLUSTER", "ADDSLOTS", slot)
    await asyncio.to_thread(cluster.settle)
    await until(store, key)


async def test_a_server_without_slots_leaves(make, cluster):
    """A call waits for the connection to a server that was only just named; who has no slots is let go of."""
    store = await unaware(make, cluster)
    old = cluster.masters()[0]
    key = key_at(cluster, old)
    assert allowed(await charge(store, [one(key)])) == [True]
    new = cluster.replicas(cluster.slot(key))[0]
    cluster.failover(new)  # in this thread, so that nothing tells it
    assert old.announced in names(store)
    assert new.announced not in names(store)
    assert await held(store, key) == 1
    assert store.redirects["moved"] == 1
    async with asyncio.timeout(PATIENCE):
        while old.announced in names(store) or ours(old):
            await asyncio.sleep(0.01)
    assert names(store) == {master.announced for master in cluster.masters()}


def names(store):
    """The servers that a store knows."""
    return {node.name for node in store.nodes}


def ours(node):
    """How many connections a server has on which the script was called."""
    clients: str = node.ask("CLIENT", "LIST")
    return sum("cmd=evalsha" in line for line in clients.splitlines())


async def test_a_server_that_was_named_and_cannot_be_reached(make, cluster):
    """A call that was sent to it fails when the attempt to connect does, and not at the end of its budget."""
    store = await unaware(make, cluster)
    old = cluster.masters()[0]
    key = key_at(cluster, old)
    new = cluster.replicas(cluster.slot(key))[0]
    cluster.failover(new)  # in this thread, so that nothing tells it
    new.kill()
    (outcome,) = await charge(store, [one(key)])
    assert failure(outcome).kind is FailureKind.DISCONNECTED
    assert new.announced in failure(outcome).message
    assert store.in_flight == 0
    new.start()
    await asyncio.to_thread(cluster.settle)
    await until(store, key)
