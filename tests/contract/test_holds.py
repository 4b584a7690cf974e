"""Reservations and requests in progress: what docs/policies.md promises of holds and leases, on every kind of store."""

import asyncio
from itertools import count

import pytest

from ratelimitd.algorithms import ALGORITHMS, NEVER, SECOND
from ratelimitd.limiter import Modes, NewKeys, OverLimitCache, PlanOptions
from tests.contract.asking import HOUR, START, Caller, sent
from tests.contract.cases import PATIENCE
from tests.contract.holding import PLACES, RESERVE, at_once, held, lease, limit, looked, renew, settle, took, used

NAMES = list(ALGORITHMS)
TTL = 300 * SECOND


@pytest.mark.parametrize("name", NAMES)
async def test_100_questions_at_once_take_what_there_is(counters, name):
    """5 holds of 10 fit into 50, each with a lease of its own; in one batch and one after the other."""
    caller = Caller(counters, "descriptors:\n" + limit("k", name) + limit("one", name))
    answers = await at_once(caller, 100)
    leases = {answer.lease for answer in answers if not answer.over}
    assert (len(leases), sum(answer.over for answer in answers)) == (5, 95)
    assert all(not answer.lease for answer in answers if answer.over)
    assert [await lease(caller, "one") is not None for _ in range(7)] == [True] * 5 + [False] * 2
    assert await held(caller) == await held(caller, "one") == 50


async def test_a_settlement_makes_room_for_what_it_did_not_use(counters):
    """5 of 20 pass; each answer of 3 leaves 7 of its 10 for others."""
    caller = Caller(counters, RESERVE)
    first = [await lease(caller) for _ in range(20)][:5]
    assert await settle(caller, first[0], 3)
    assert await lease(caller) is None
    for each in first[1:]:
        assert await settle(caller, each, 3)
    assert await used(caller) == 15
    assert [await lease(caller) is not None for _ in range(4)] == [True, True, True, False]


async def test_with_nothing_held_one_unit_is_enough(counters):
    """The rest of a budget is used, and no more than one answer at a time."""
    caller = Caller(counters, RESERVE)
    await caller.passes("k", 49)
    found = await lease(caller)
    assert found
    assert await lease(caller) is None
    assert not await settle(caller, found, 30)
    assert (await caller.ask(("k", 0))).over


async def test_holds_expire(counters):
    """Not before their ttl, and not with the window that they were taken in."""
    caller = Caller(
        counters, "descriptors:\n" + limit("k", "fixed_window") + limit("m", more="reserve: {ttl: 1s, amount: 25}")
    )
    late = START + HOUR - START % HOUR - SECOND
    assert [await lease(caller, now=late) is not None for _ in range(6)] == [True] * 5 + [False]
    assert await lease(caller, now=late + 2 * SECOND) is None  # another window
    assert await lease(caller, now=late + TTL - 1) is None
    assert [await lease(caller, now=late + TTL) is not None for _ in range(6)] == [True] * 5 + [False]
    assert [await lease(caller, "m", now=START + number * 500_000) is not None for number in range(3)] == [True] * 3
    assert caller.after("k").holds_expired == 5


async def test_a_hold_that_is_renewed_expires_later(counters):
    """A whole ttl after its renewal, and no other with it; renewing neither takes nor frees anything."""
    caller = Caller(counters, PLACES)
    first, _ = [await took(caller) for _ in range(2)]
    assert await renew(caller, first, now=START + 500 * SECOND) == [1]
    assert await held(caller, now=START + 500 * SECOND) == 2
    assert await held(caller, now=START + 600 * SECOND) == 1
    assert await held(caller, now=START + 1_099 * SECOND) == 1
    assert await held(caller, now=START + 1_100 * SECOND) == 0


async def test_a_hold_that_has_expired_is_taken_again(counters):
    """Its request is in progress, so it counts, also past the limit; it is released as if it had never expired."""
    caller = Caller(counters, PLACES)
    first = await took(caller)
    late = START + 700 * SECOND
    assert None not in [await took(caller, now=late) for _ in range(2)]
    assert await renew(caller, first, now=late) == [0]
    assert await held(caller, now=late) == 3
    caller.engine.release(first, late)
    assert await held(caller, now=late) == 2
    assert await took(caller, now=late) is None


async def test_settlements_without_a_lease_release_the_newest(counters):
    """k questions and j settlements leave k - j holds; a settlement more releases none, and is recorded."""
    caller = Caller(counters, RESERVE)
    first, *_ = [await lease(caller, now=START + number) for number in range(5)]
    for _ in range(3):
        await caller.passes("k", 1, now=START + 9)
    assert await held(caller, now=START + 9) == 20
    assert await settle(caller, first, 1, now=START + 9)
    assert await held(caller, now=START + 9) == 10
    for _ in range(3):
        await caller.passes("k", 1, now=START + 9)
    assert (await held(caller, now=START + 9), await used(caller, now=START + 9)) == (0, 7)


async def test_a_lease_releases_once(counters):
    """With hits or without; a second time, and after it has expired, only the cost is recorded."""
    caller = Caller(counters, RESERVE)
    one, two, three = [await lease(caller) for _ in range(3)]
    assert await settle(caller, one, 0)
    assert await held(caller) == 20
    assert await settle(caller, one, 5)  # released, then settled
    assert await settle(caller, two, None)
    assert await settle(caller, two, 2)
    assert (await held(caller), await used(caller)) == (10, 7)
    assert await settle(caller, three, 2, now=START + TTL)
    assert (await held(caller, now=START + TTL), caller.after("k").leases_unknown) == (0, 3)
    assert caller.after("k").settled_hits == 9


@pytest.mark.parametrize(
    "text",
    [
        b"none",
        b"",
        b"0123456789abcdef.10",
        b"x" * 5_000,
        b'",1]',
        b"held",
        b"\xff\x00",
        b"0123456789abcdef" + b".1" * 2_000,
    ],
)
async def test_another_lease_releases_nothing(counters, text):
    """None, one that was never given, any text; the cost is recorded, and a hold stays with its request."""
    caller = Caller(counters, RESERVE)
    await lease(caller)
    assert await settle(caller, text, 5)
    assert await settle(caller, text, 0)
    assert (await held(caller), caller.after("k").settled_hits) == (10, 5)


async def test_a_lease_of_another_counter_releases_nothing(counters):
    """It names holds of its own."""
    caller = Caller(counters, RESERVE)
    mine, others = await lease(caller), await lease(caller, "other")
    assert mine != others
    await settle(caller, others)
    assert (await held(caller), await held(caller, "other")) == (10, 10)
    await settle(caller, others, key="other")
    assert (await held(caller), await held(caller, "other")) == (10, 0)


async def test_one_lease_is_that_of_all_holds_of_a_call(counters):
    """Also of different amounts; a descriptor that comes twice holds once and releases once."""
    tree = (
        "descriptors:\n"
        + limit("k")
        + limit("big", more="reserve: {amount: 20}")
        + PLACES.partition("\n")[2].replace("k,", "p,")
    )
    caller = Caller(counters, tree)
    await caller.ask(("k", 0))
    answer = await caller.ask(("k", 0), ("big", 0), ("k", 0), ("p", 0))
    assert answer.lease
    assert [await held(caller, key) for key in ("k", "big", "p")] == [20, 20, 1]
    settled = [sent(key, 3, lease=answer.lease) for key in ("k", "k", "big", "p")]
    await caller.ask(*settled)
    assert [await held(caller, key) for key in ("k", "big", "p")] == [10, 0, 0]
    await caller.ask(("k", 0))
    await caller.ask(("k", 3), ("k", 3))
    assert await held(caller) == 10


async def test_a_request_that_another_limit_denies_keeps_no_hold(counters):
    """Together or each by itself; the holds that it took meanwhile are released."""
    tree = RESERVE + "- {key: full, rate_limit: {unit: hour, requests_per_unit: 0}}\n"
    for top in ("", "all_or_nothing: true\n"):
        caller = Caller(counters, top + tree)
        answer = await caller.ask(("k", 0), ("full", None))
        assert (answer.over, answer.lease) == (True, b"")
        assert await eventually(caller, "k", 0)


async def eventually(caller, key, wanted):
    """Whether that much is held in the end."""
    async with asyncio.timeout(PATIENCE):
        while await held(caller, key) != wanted:
            await asyncio.sleep(0)
    return True


async def test_all_or_nothing_holds_all_or_nothing(counters):
    """A request that one reserve refuses holds nothing of the other; settlements release both."""
    caller = Caller(counters, "all_or_nothing: true\n" + RESERVE)
    leases = [(await caller.ask(("k", 0), ("other", 0))).lease for _ in range(3)]
    assert all(leases)
    for _ in range(2):
        assert await lease(caller, "other")
    denied = await caller.ask(("k", 0), ("other", 0))
    assert (denied.over, await held(caller), await held(caller, "other")) == (True, 30, 50)
    await caller.ask(*[sent(key, 1, lease=leases[0]) for key in ("k", "other")])
    assert (await held(caller), await held(caller, "other")) == (20, 40)


async def test_places_are_taken_and_freed_once(counters):
    """By a lease with hits or without, or the newest; hits are no cost."""
    caller = Caller(counters, PLACES)
    one, two = await lease(caller), await lease(caller, hits=None)
    refused = await caller.ask(("k", 0))
    (status,) = refused.statuses
    assert (refused.over, status.reset, status.remaining, status.limit.requests_per_unit) == (True, 1, 0, 2)
    assert await settle(caller, one, 700)
    assert await settle(caller, one, 700)
    assert await held(caller) == 1
    three = await lease(caller)
    assert three
    assert await lease(caller) is None
    await caller.ask(("k", 1, True))  # a give-back: Envoy sends it after a denial too
    assert await held(caller) == 2
    assert await caller.passes("k", 1)
    await settle(caller, two, None)
    assert await held(caller) <= 1
    assert await lease(caller, now=START + 600 * SECOND)


async def test_a_place_is_free_after_its_ttl(counters):
    """600 seconds, if the policy does not say."""
    caller = Caller(counters, PLACES)
    assert [await lease(caller) is not None for _ in range(3)] == [True, True, False]
    assert await lease(caller, now=START + 600 * SECOND - 1) is None
    assert await lease(caller, now=START + 600 * SECOND)


async def test_a_refusal_by_holds_is_not_remembered(counters):
    """One by the counter is, so the next question does not reach the store."""
    caller = Caller(counters, RESERVE, guards=[OverLimitCache(1 << 20)])
    leases = [await lease(caller) for _ in range(5)]
    assert await lease(caller) is None
    await settle(caller, leases[0], 1)
    for each in leases[1:]:
        await settle(caller, each, 1)
    assert await lease(caller)
    await caller.passes("k", 100)
    assert await lease(caller) is None
    assert await lease(caller) is None
    assert len(caller.engine.guards[0]) == 1


async def test_shadow_limits_hold_as_if_they_were_enforced(counters):
    """And SHADOW_MODE keeps no hold of what it lets pass."""
    shadow = "descriptors:\n- {key: k, shadow_mode: true, rate_limit: {concurrent: 2}}\n"
    caller = Caller(counters, shadow)
    answers = [await caller.ask(("k", 0)) for _ in range(3)]
    assert [(answer.over, bool(answer.lease)) for answer in answers] == [(False, True)] * 2 + [(False, False)]
    assert await held(caller) == 2
    both = "descriptors:\n" + limit("r") + "- {key: full, rate_limit: {unit: hour, requests_per_unit: 0}}\n"
    caller = Caller(counters, both, options=PlanOptions(modes=Modes(shadow=True)))
    caller.engine.modes = Modes(shadow=True)
    answer = await caller.ask(("r", 0), ("full", None))
    assert (answer.over, answer.shadowed, answer.lease) == (False, True, b"")
    assert await eventually(caller, "r", 0)


async def test_an_auto_amount_is_learnt_from_settlements(counters):
    """Per limit; it begins with ``start`` and survives a reload."""
    tree = "descriptors:\n" + limit("k", more="reserve: {start: 40}", quota=1_000)
    caller = Caller(counters, tree)
    first = await lease(caller)
    assert first.endswith(b".40")
    await settle(caller, first, 40)
    for _ in range(400):
        await caller.passes("k", 1, now=START + 2 * HOUR)
    caller.load(tree)
    ((name, amount),) = caller.post_paid.amounts()
    assert (name, amount < 30) == ("d.k", True)
    assert (await lease(caller, now=START + 4 * HOUR)).endswith(b".%d" % amount)


async def test_a_hold_of_a_new_key_past_the_cap_is_in_the_overflow_counter(counters):
    """The keys share it, and a call that has two of them holds once; every process finds it by the lease."""
    guard = NewKeys(1, b"", size=1 << 10)
    caller = Caller(counters, RESERVE, guards=[guard])
    for step in count():
        if not guard._warm_up:
            break
        guard.before((), START + step * 120 * SECOND)
    now = START + (step + 1) * 120 * SECOND
    assert (await caller.ask(sent("k", 0, value="known"), now=now)).lease
    answer = await caller.ask(sent("k", 0, value="a"), sent("k", 0, value="b"), now=now)
    assert (answer.over, guard.redirected) == (False, 2)
    answers = [await caller.ask(sent("k", 0, value=str(number)), now=now) for number in range(6)]
    assert [each.over for each in answers] == [False] * 4 + [True] * 2
    other = Caller(counters, RESERVE, guards=[NewKeys(1, b"", size=1 << 10)])
    await other.ask(sent("k", 0, value="a", lease=answer.lease), now=now)
    assert not (await caller.ask(sent("k", 0, value="c"), now=now)).over


async def test_give_backs_hold_and_release_nothing(counters):
    """They are applied to the counter."""
    caller = Caller(counters, RESERVE)
    await lease(caller)
    await caller.passes("k", 10)
    await lease(caller)
    await caller.ask(("k", 4, True))
    assert (await held(caller), await used(caller)) == (10, 6)


async def test_a_fixed_window_with_holds_has_a_counter_of_its_own(counters):
    """Not the one of envoyproxy/ratelimit; rejected requests count there, and those refused by holds do not."""
    caller = Caller(counters, "descriptors:\n" + limit("k", "fixed_window"))
    for _ in range(5):
        await lease(caller)
    assert await lease(caller, hits=None) is None
    assert (await held(caller), await used(caller)) == (50, 0)
    for _ in range(5):
        await caller.passes("k", 1)
    assert (await held(caller), await used(caller)) == (0, 5)


async def test_places_may_be_taken_away_by_a_reload(counters):
    """With none left a request can never pass; the places of before are freed as ever."""
    caller = Caller(counters, PLACES)
    first = await lease(caller)
    caller.load(PLACES.replace("concurrent: 2", "concurrent: 0"))
    assert (await looked(caller, "k", START)).retry_after == NEVER
    await settle(caller, first, 0)
    assert await held(caller) == 0


@pytest.mark.redis
async def test_a_shorter_ttl_shortens_no_hold_that_was_taken(empty, redis_store):
    """After a reload, or by a replica with another policy: the key lives as long as its last hold may."""
    caller = Caller(redis_store, "descriptors:\n" + limit("k", more="reserve: {amount: 10, ttl: 300s}"))
    assert await lease(caller)
    caller.load("descriptors:\n" + limit("k", more="reserve: {amount: 10, ttl: 1s}"))
    assert await lease(caller)
    (only,) = empty.ask("KEYS", "*")
    assert empty.ask("PTTL", only) > 250_000


@pytest.mark.parametrize(
    ("tree", "hits"),
    [(PLACES.replace("2}", "1}"), 0), ("descriptors:\n" + limit("k", more="reserve: {amount: 25}"), 1)],
)
async def test_a_call_does_not_stand_in_its_own_way(counters, tree, hits):
    """Two descriptors of one call on one counter hold once, and pass where one of them would; another call does not."""
    caller = Caller(counters, tree)
    assert await caller.passes("k", hits)
    await settle(caller, None, 1)
    answer = await caller.ask(("k", 0), ("k", 0))
    assert not answer.over
    assert await held(caller) == (25 if hits else 1)
    assert await lease(caller) is None
    await settle(caller, answer.lease, 0)
    assert await held(caller) == 0


@pytest.mark.redis
@pytest.mark.scenario("Redis is out of memory")
async def test_a_full_redis_releases_holds(empty, redis_store):
    """A release needs no memory, so the requests that end make room for others."""
    caller = Caller(redis_store, "descriptors:\n" + limit("k"))
    leases = [await lease(caller) for _ in range(2)]
    empty.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        for each in leases:
            await settle(caller, each, 0)
    finally:
        empty.ask("CONFIG", "SET", "maxmemory", 0)
    assert await held(caller) == 0
