"""Script calls over several slots of a cluster's node: when they are made, and keys whose slot is not there."""

import asyncio

import pytest

from ratelimitd.algorithms import BINDING, POST_PAID, Decision, make_rate
from ratelimitd.limiter.seam import FailureKind
from ratelimitd.stores.redis import cluster as topology
from ratelimitd.stores.redis.slots import slot_of
from testkit.redis_cluster import CLUSTER, connected, redis_cluster
from tests.algorithms.cases import SECOND, SETTLEMENT, ask
from tests.contract.cases import PATIENCE, allowed, charge

DAY = 86_400 * SECOND
QUOTA = 100
WINDOW = make_rate("fixed_window", QUOTA, DAY, count_rejected=True)
BUCKET = make_rate("token_bucket", QUOTA, DAY)
KEYS = 40

REPORTED = pytest.mark.parametrize(
    ("cost", "flags"), [(1, BINDING), (QUOTA + 50, SETTLEMENT)], ids=["charge", "settlement"]
)
"""Charges that pass, and settlements past the limit, whose status is a denial though they are made."""


@pytest.fixture(scope="module")
def whole():
    """Two masters with a replica each."""
    with redis_cluster(masters=2, replicas=1, node_timeout=3000) as running:
        yield running


@pytest.fixture
def cluster(whole):
    """The same, without keys."""
    whole.flush()
    return whole


def asks(cost=1, keys=range(KEYS), flags=BINDING):
    """A charge for each key: of a window that is only added to, or of a bucket that the script decides."""
    return [ask((BUCKET if number % 2 else WINDOW, b"{%d}_" % number, cost, flags)) for number in keys]


def slot(number):
    """The slot of a key."""
    return slot_of(b"%d" % number)


async def counts(store):
    """What each counter has, as a call for each alone says."""
    found = []
    for asked in asks(0, flags=SETTLEMENT):
        (outcome,) = await charge(store, [asked])
        assert isinstance(outcome, Decision), outcome
        found.append(outcome.before)
    return found


@pytest.mark.redis
async def test_one_call_for_each_node(make, cluster):
    """Charges over many slots take one call for each node, which declares no keys; each is made once."""
    store = await connected(make, cluster)
    assert [node.cross_slot for node in store.nodes] == [True, True]
    assert allowed(await charge(store, asks())) == [True] * KEYS
    assert store.round_trips == 2
    assert await counts(store) == [1] * KEYS
    assert store.redirects == {"moved": 0, "ask": 0}


@pytest.mark.redis
async def test_a_trial_leaves_no_keys(make, cluster):
    """A trial gives back what it charged."""
    await connected(make, cluster)
    assert [each.ask("KEYS", "*trial*") for each in cluster.masters()] == [[], []]


@pytest.mark.redis
async def test_all_or_nothing_that_cannot_be_whole(make, cluster, monkeypatch):
    """Charges that must pass together, of which one is at another server, are charged together or not.

    A call over several slots would charge those that are there, before the others are found.
    """
    monkeypatch.setattr(topology, "REFRESH_EVERY", PATIENCE)
    store = await connected(make, cluster)
    first, second = cluster.masters()
    there = [number for number in range(1, KEYS, 2) if cluster.owner(slot(number)) is first][:2]
    full = there[1]
    assert allowed(await charge(store, [ask((BUCKET, b"{%d}_" % full, 100))])) == [True]
    cluster.migrate_slot(slot(full), second)  # in this thread, so that no look comes between
    both = ask(*((BUCKET, b"{%d}_" % number, 1) for number in there), atomic=True)
    assert allowed(await charge(store, [both])) == [True, False]
    found = await counts(store)
    assert [found[number] for number in there] == [0, 100]


@REPORTED
@pytest.mark.redis
@pytest.mark.scenario("slots move to another server")
async def test_a_slot_that_moved(make, cluster, monkeypatch, cost, flags):
    """Of a call over many slots the charge whose slot has moved is redirected; all are made once, and none fails."""
    monkeypatch.setattr(topology, "REFRESH_EVERY", PATIENCE)
    store = await connected(make, cluster)
    moving = next(number for number in range(KEYS) if cluster.owner(slot(number)) is cluster.masters()[0])
    cluster.migrate_slot(slot(moving), cluster.masters()[1])  # in this thread, so that no look comes between
    assert allowed(await charge(store, asks(cost, flags=flags))) == [cost <= QUOTA] * KEYS
    assert store.redirects == {"moved": 1, "ask": 0}
    assert await counts(store) == [cost] * KEYS
    assert not any(store.failures.values())
    assert all(not node.refusals.calls for node in store.nodes)


@REPORTED
@pytest.mark.redis
@pytest.mark.scenario("slots move to another server")
async def test_a_slot_on_its_way(make, cluster, cost, flags):
    """Keys that have gone, or are new, are charged at the target, and those that are still there where they are."""
    store = await connected(make, cluster)
    first, second = cluster.masters()
    moving = next(number for number in range(1, KEYS, 2) if cluster.owner(slot(number)) is first)
    there = [ask((BUCKET, b"{%d}%d" % (moving, number), cost, flags)) for number in range(3)]
    assert allowed(await charge(store, there[:2])) == [cost <= QUOTA] * 2
    move = cluster.migration(slot(moving), second)
    move.begin()
    assert move.move_keys(1) == 1
    try:
        again = [ask((BUCKET, b"{%d}%d" % (moving, number), cost, flags)) for number in range(3)]
        before = [outcome.before for outcome in await charge(store, [*again, *asks(cost, flags=flags)])][:3]
    finally:
        while move.move_keys():  # Valkey 9 gives no slot away whose keys are left
            pass
        await asyncio.to_thread(move.finish)
    assert before == [cost, cost, 0]
    assert store.redirects["ask"] == 3  # the one that has gone, the one that is new, and that of asks()
    assert await counts(store) == [cost] * KEYS


@REPORTED
@pytest.mark.redis
@pytest.mark.scenario("another server becomes the master")
async def test_a_master_that_became_a_replica(make, cluster, monkeypatch, cost, flags):
    """It has no slots left: all charges of a call to it are made once by its successor."""
    monkeypatch.setattr(topology, "REFRESH_EVERY", PATIENCE)
    store = await connected(make, cluster)
    old = cluster.masters()[0]
    mine = [number for number in range(KEYS) if cluster.owner(slot(number)) is old]
    cluster.failover(cluster.replicas(slot(mine[0]))[0])  # in this thread, so that no look comes between
    assert allowed(await charge(store, asks(cost, mine, flags))) == [cost <= QUOTA] * len(mine)
    assert store.redirects["moved"] >= 1
    assert [count for number, count in enumerate(await counts(store)) if number in mine] == [cost] * len(mine)
    assert not any(store.failures.values())


@pytest.mark.redis
@pytest.mark.scenario("slots move to another server")
async def test_what_belongs_together_moves_together(make, cluster, monkeypatch):
    """A give-back and a settlement of a counter that has moved are made in one call, in their order: the give-back, of
    more than is used, does not cut the settlement.
    """
    monkeypatch.setattr(topology, "REFRESH_EVERY", PATIENCE)
    store = await connected(make, cluster)
    moving = next(number for number in range(1, KEYS, 2) if cluster.owner(slot(number)) is cluster.masters()[0])
    key = b"{%d}_" % moving
    assert allowed(await charge(store, [ask((BUCKET, key, 5, SETTLEMENT))])) == [True]
    cluster.migrate_slot(slot(moving), cluster.masters()[1])  # in this thread, so that no look comes between
    both = ask((BUCKET, key, 30, SETTLEMENT), (BUCKET, key, -50, POST_PAID))
    others = asks(30, [number for number in range(KEYS) if number != moving], SETTLEMENT)
    assert allowed(await charge(store, [both, *others])) == [True] * (KEYS + 1)
    assert store.redirects == {"moved": 1, "ask": 0}
    assert await counts(store) == [30] * KEYS


@pytest.mark.redis
@pytest.mark.scenario("slots move to another server")
async def test_settlements_of_an_all_or_nothing_ask_go_their_way(make, cluster, monkeypatch):
    """Of one ask over both nodes: settlements are recorded once, one of them past its limit and one where its slot has
    moved, whether the charges that must pass together are vetoed or made.
    """
    monkeypatch.setattr(topology, "REFRESH_EVERY", PATIENCE)
    store = await connected(make, cluster)
    first, second = cluster.masters()
    moved, full, free = [number for number in range(1, KEYS, 2) if cluster.owner(slot(number)) is first][:3]
    far, window = (next(n for n in range(start, KEYS, 2) if cluster.owner(slot(n)) is second) for start in (1, 0))
    assert allowed(await charge(store, asks(QUOTA, [full]))) == [True]
    cluster.migrate_slot(slot(moved), second)  # in this thread, so that no look comes between

    def mixed(beside):
        reports = ((BUCKET, b"{%d}_" % moved, 70, SETTLEMENT), (WINDOW, b"{%d}_" % window, 130, SETTLEMENT))
        asked = ((BUCKET, b"{%d}_" % number, 1, BINDING) for number in (beside, far))
        return ask(*asked, *reports, atomic=True)

    assert allowed(await charge(store, [mixed(full)])) == [False, True, True, False]
    found = await counts(store)
    assert [found[number] for number in (full, far, moved, window)] == [QUOTA, 0, 70, 130]
    assert allowed(await charge(store, [mixed(free)])) == [True, True, False, False]
    found = await counts(store)
    assert [found[number] for number in (free, far, moved, window)] == [1, 1, 140, 260]
    assert not any(store.failures.values())


@pytest.mark.redis
async def test_braces_in_the_prefix(make, cluster):
    """With braces in CACHE_KEY_PREFIX all keys have one slot, so no node is asked over several; nor tried again."""
    store = make(cluster.url, env=CLUSTER, prefix=b"{mine}")
    assert await store.connect()
    assert [node.cross_slot for node in store.nodes] == [False, False]


@pytest.mark.redis
async def test_a_user_who_may_not_make_the_trial(make, cluster):
    """Permission for the keys of limits alone is enough: the trial is refused, and each slot has a call of its own."""
    patterns = ["~*rl1:probe*", *(f"~{{{number}}}_*" for number in range(KEYS))]
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "partly", "on", ">secret", "+@all", *patterns)
    try:
        store = make(cluster.url, "partly:secret", env=CLUSTER)
        assert await store.connect()
        assert [node.cross_slot for node in store.nodes] == [False, False]
        assert allowed(await charge(store, asks())) == [True] * KEYS
        assert await counts(store) == [1] * KEYS
        assert not any(store.failures.values())
    finally:
        for node in cluster.nodes:
            node.ask("ACL", "DELUSER", "partly")


@pytest.mark.redis
async def test_a_server_that_comes_back_is_tried_again(make, cluster, monkeypatch):
    """A node whose connections were lost may be another server: it is asked for one slot at a time until a trial."""
    monkeypatch.setattr(topology, "TRY_EVERY", 0.01)
    store = await connected(make, cluster)
    (first, _) = store.nodes
    first.drop("a test")
    assert first.cross_slot is None
    async with asyncio.timeout(PATIENCE):
        while not first.cross_slot:
            await asyncio.sleep(0.001)


@pytest.fixture
async def lying(liars):
    """A server that says it is a cluster."""
    return await liars()


REFUSED = b"-ERR script tried accessing undeclared key\r\n"
"""What Dragonfly says."""


async def test_a_server_that_insists_on_declared_keys(make, lying):
    """A trial that fails by an error that does not end leaves one call for each slot, and is not repeated."""
    lying.undeclared = REFUSED
    store = make(lying.address, env=CLUSTER)
    assert await store.connect()
    assert [node.cross_slot for node in store.nodes] == [False]
    await charge(store, asks(keys=range(1, 6, 2)))
    assert [words[2] for words in lying.commands if words[0] == b"EVALSHA"][-3:] == [b"1"] * 3


async def test_a_trial_that_fails_for_a_while_is_repeated(make, lying, monkeypatch):
    """A server that is out of memory during its trial is tried again."""
    monkeypatch.setattr(topology, "TRY_EVERY", 0.001)
    lying.undeclared = b"-OOM command not allowed\r\n"
    store = make(lying.address, env=CLUSTER)
    assert await store.connect()
    assert [node.cross_slot for node in store.nodes] == [None]
    lying.undeclared = REFUSED
    async with asyncio.timeout(PATIENCE):
        while store.nodes[0].cross_slot is None:
            await asyncio.sleep(0.001)


async def test_calls_that_are_refused_later(make, lying):
    """A call that is refused for its slots is made again, one for each key, and so are all later ones."""
    store = make(lying.address, env=CLUSTER)
    assert await store.connect()
    (node,) = store.nodes
    node.cross_slot = True
    lying.undeclared = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
    for calls in ([b"0", b"1", b"1", b"1"], [b"1", b"1", b"1"]):
        lying.commands.clear()
        assert allowed(await charge(store, asks(keys=range(1, 6, 2)))) == [True] * 3
        assert [words[2] for words in lying.commands if words[0] == b"EVALSHA"] == calls
    assert node.cross_slot is False


@pytest.mark.redis
async def test_a_cluster_that_is_down(make, cluster):
    """A node that refuses keys because the cluster is down counts as failing, as it does for one key."""
    store = await connected(make, cluster, breaker_after=1)
    masters, owner = cluster.masters(), cluster.owner(slot(1))
    for node in cluster.nodes:
        node.ask("CLUSTER", "DELSLOTS", slot(1))
    try:
        async with asyncio.timeout(PATIENCE):
            while {each.facts()["cluster_state"] for each in masters} != {"fail"}:
                await asyncio.sleep(0.01)
        outcomes = await charge(store, asks(keys=range(2, KEYS)))
    finally:
        owner.ask("CLUSTER", "ADDSLOTS", slot(1))
        await asyncio.to_thread(cluster.settle)
    assert {outcome.kind for outcome in outcomes} == {FailureKind.TRANSIENT}
    assert {outcome.message.split()[0] for outcome in outcomes} == {"CLUSTERDOWN"}
    assert store.breaker_opens == 2
