"""A counter and its holds, which are two keys, while their slot is on its way to another server of a cluster."""

import asyncio
from itertools import count

import pytest

from ratelimitd.limiter import Fallback, PostPaid
from ratelimitd.limiter.seam import FailureKind
from ratelimitd.stores import MemoryStore
from ratelimitd.stores.redis.errors import WHOLE_ASK
from ratelimitd.stores.redis.slots import slot_of
from testkit.redis_cluster import connected, redis_cluster
from tests.contract.asking import START, Caller, sent
from tests.contract.cases import PATIENCE

pytestmark = [pytest.mark.redis, pytest.mark.scenario("slots move to another server")]

TREE = """
descriptors:
- {key: k, rate_limit: {unit: day, requests_per_unit: 50, algorithm: token_bucket, reserve: {amount: 10}}}
"""
TRIES = 6
"""Times that a call is sent at most: ``max_attempts``, and the first."""


@pytest.fixture(scope="module")
def whole():
    """Two masters."""
    with redis_cluster(masters=2) as running:
        yield running


@pytest.fixture(params=[b"", b"{1}"], ids=["undeclared", "declared"])
def prefix(request):
    """With braces each call declares its keys; without, only one that is sent again does."""
    return request.param


async def calling(make, cluster, prefix, **options):
    """A caller of a cluster, and its settlements that wait."""
    store = await connected(make, cluster, prefix=prefix, **options)
    assert {node.cross_slot for node in store.nodes} == {not prefix}
    post_paid = PostPaid()
    fallback = Fallback(MemoryStore(), 1, lambda *_: None, post_paid.keep)
    caller = Caller(store, TREE, guards=[fallback], post_paid=post_paid)
    caller.load(TREE, prefix=prefix)
    return caller, post_paid


@pytest.fixture
async def moving(make, whole, prefix):
    """A caller, its settlements that wait, and a migration of the slot of its counter, that has not begun."""
    whole.flush()
    caller, post_paid = await calling(make, whole, prefix)
    slot = slot_of(name(caller, "x"))
    source = whole.owner(slot)
    move = whole.migration(slot, next(each for each in whole.masters() if each is not source))
    yield caller, post_paid, move
    while move.move_keys():
        pass
    await asyncio.to_thread(move.finish)
    await caller.store.close()


def name(caller, value):
    """The name of a caller's counter."""
    request = sent("k", 0, value=value)
    return caller.engine.planner.plan(caller.request(request)).charges[0].key


def neighbour(caller, slot):
    """The value of another counter in the slot."""
    return next(value for value in map(str, count()) if slot_of(name(caller, value)) == slot)


def refusals(*nodes):
    """How often these servers have said TRYAGAIN."""
    found = 0
    for node in nodes:
        with node.client() as client:
            found += client.info("errorstats").get("errorstat_TRYAGAIN", {}).get("count", 0)
    return found


async def test_both_keys_at_one_server(moving):
    """Calls are decided where both keys are, before and after they have moved, and nothing is lost on the way."""
    caller, post_paid, move = moving
    for hits in (0, 5):
        assert await caller.passes("k", hits)
    assert await caller.passes("k", 0)
    move.begin()
    assert await caller.passes("k", 0)
    assert await caller.used("k") == 25
    assert move.move_keys() == 2
    assert await caller.passes("k", 0)
    assert await caller.passes("k", 7)
    assert await caller.used("k") == 32
    await asyncio.to_thread(move.finish)
    assert await caller.used("k") == 32
    assert (len(post_paid), post_paid.dropped) == (0, 0)


@pytest.mark.parametrize("first", ["question", "settlement"])
async def test_a_counter_that_is_new(moving, first):
    """It and its holds are made at the server that is about to have the slot, which has neither; before Redis 7, once
    the slot is there, and until then nothing is sent.
    """
    caller, post_paid, move = moving
    value = neighbour(caller, move.slot)
    move.begin()
    if move.source.version() < WHOLE_ASK:
        failure = (await caller.ask(sent("k", 0, value=value))).failure
        assert (failure.kind, failure.sent) == (FailureKind.TRANSIENT, False)
        await asyncio.to_thread(move.finish)
    if first == "question":
        assert not (await caller.ask(sent("k", 0, value=value))).over
    assert not (await caller.ask(sent("k", 5, value=value))).over
    assert not (await caller.ask(sent("k", 0, value=value))).over
    assert await caller.used("k", value=value) == 15
    await asyncio.to_thread(move.finish)
    assert await caller.used("k", value=value) == 15
    assert len(post_paid) == 0


async def test_holds_without_their_counter(moving):
    """Holds are there, and no counter yet, so no server can decide: a few attempts, then failures; nothing was sent.

    The settlement waits, and is recorded once, with its hold released, when the holds have followed; before Redis 7,
    when the slot has.
    """
    caller, post_paid, move = moving
    lease = (await caller.ask(("k", 0))).lease
    move.begin()
    before = refusals(move.source, move.to)
    for hits in (0, None):
        failure = (await caller.ask(("k", hits))).failure
        assert (failure.kind, failure.sent) == (FailureKind.TRANSIENT, False)
    assert (await caller.ask(sent("k", 5, lease=lease))).failure is not None
    assert len(post_paid) == 1
    assert 0 < refusals(move.source, move.to) - before <= 3 * TRIES
    await followed(move)
    post_paid.charge_kept(caller.store, START)
    await recorded(post_paid)
    assert (post_paid.recorded, post_paid.dropped) == (1, 0)
    assert await caller.used("k") == 5


async def test_one_settlement_releases_one_hold(moving, whole):
    """One without a lease, that meets the holds without their counter, releases nothing until it is recorded; also in a
    call with a charge of another slot.
    """
    caller, post_paid, move = moving
    for _ in range(3):
        assert await caller.passes("k", 0)
    other = next(value for value in map(str, count()) if whole.owner(slot_of(name(caller, value))) is move.source)
    move.begin()
    assert (await caller.ask(("k", 5), sent("k", value=other))).failure is not None
    await followed(move)
    assert await caller.used("k") == 30
    post_paid.charge_kept(caller.store, START)
    await recorded(post_paid)
    assert await caller.used("k") == 25


async def test_a_key_that_moves_meanwhile(moving, make, whole, prefix):
    """A question that meets half of its keys is asked again within its budget, and passes when the rest has moved."""
    _, _, move = moving
    caller, _ = await calling(make, whole, prefix, max_attempts=1_000)
    for hits in (0, 5, 0):
        assert await caller.passes("k", hits)
    move.begin()
    assert move.move_keys(1) == 1
    before = refusals(move.source, move.to)  # before Redis 7 the source says ASK
    asked = asyncio.ensure_future(caller.passes("k", 0))
    async with asyncio.timeout(PATIENCE):
        while refusals(move.source, move.to) == before:
            await asyncio.sleep(0)
    assert not asked.done()
    assert move.move_keys() == 1
    assert await asked
    assert await caller.used("k") == 25


async def followed(move):
    """Move the holds, and with Redis before 7 end the migration: until then the target makes no counter for them."""
    assert move.move_keys() == 1
    if move.source.version() < WHOLE_ASK:
        await asyncio.to_thread(move.finish)


async def recorded(post_paid):
    """Wait until nothing waits, as the store has answered."""
    async with asyncio.timeout(PATIENCE):
        while not post_paid.recorded:
            await asyncio.sleep(0.001)
