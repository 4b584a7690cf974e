import tracemalloc

import pytest

from ratelimitd.algorithms import NEVER, Decision, make_rate
from ratelimitd.limiter import Ask, Charge, Failure, FailureKind, Fallback, OverLimitCache, Plan, Rule
from ratelimitd.limiter.seam import Remembered
from ratelimitd.policy import Limit, OnStoreFailure, Unit
from ratelimitd.stores.memory import MemoryStore

SECOND = 1_000_000
NOW = 1_000 * SECOND
LIMIT = Limit(make_rate("token_bucket", 10, SECOND), 10, Unit.SECOND, upstream=False)
BROKEN = Failure(FailureKind.DISCONNECTED, "gone")


def ask_of(cost, key=b"k", limit=LIMIT):
    plan = Plan((Charge(Rule(limit), key),))
    return Ask(plan, [cost])


def denied(retry_after=SECOND):
    return Decision(False, 0, 2 * SECOND, retry_after, 10)


def learnt(cost=5, retry_after=SECOND, limit=LIMIT, max_bytes=100_000):
    """A cache that has seen one denial of this cost at NOW."""
    cache = OverLimitCache(max_bytes)
    ask = ask_of(cost, limit=limit)
    ask.outcomes[0] = denied(retry_after)
    cache.after([ask], NOW)
    return cache


def before(cache, ask, now):
    cache.before([ask], now)
    return ask.outcomes[0]


@pytest.mark.scenario("one hot key")
@pytest.mark.parametrize("cost", [5, 6, 1000])
def test_a_remembered_denial_covers_its_cost_and_larger_ones(cost):
    """Until the denied cost could pass, the same or a larger one is denied without the store, and counted so."""
    ask = ask_of(cost)
    outcome = before(learnt(), ask, NOW + SECOND // 2)
    assert Remembered(False, 0, 3 * SECOND // 2, SECOND // 2, 10) == outcome
    assert cost == ask.plan.charges[0].rule.tally.over_limit_with_local_cache


@pytest.mark.parametrize("cost", [4, 1, 0, -3])
def test_smaller_costs_peeks_and_give_backs_go_by(cost):
    """What might pass although a larger cost did not is left to the store."""
    assert before(learnt(), ask_of(cost), NOW + 1) is None


def test_a_denial_ends_when_its_cost_could_pass():
    """At retry_after the store is asked again; one µs before it is not."""
    assert before(learnt(), ask_of(5), NOW + SECOND - 1) is not None
    assert before(learnt(), ask_of(5), NOW + SECOND) is None


def test_a_give_back_forgets_the_denial():
    """After hits were given back the same cost may pass, so the store decides."""
    cache = learnt()
    assert before(cache, ask_of(-1), NOW + 1) is None
    assert before(cache, ask_of(5), NOW + 2) is None


def test_the_cache_counts_what_it_is_asked():
    """Every charge, those that it denied, and denials that made room for others."""
    cache = learnt()
    before(cache, ask_of(5), NOW + 1)
    before(cache, ask_of(5, key=b"other"), NOW + 1)
    assert (cache.lookups, cache.hits, cache.evicted) == (2, 1, 0)
    small = OverLimitCache(1)
    for key in (b"a", b"b"):
        ask = ask_of(5, key=key)
        ask.outcomes[0] = denied()
        small.after([ask], NOW)
    assert (len(small), small.evicted) == (0, 2)


def test_a_changed_limit_forgets_its_denials():
    """A reload that changes a limit's numbers drops what was remembered; one that does not keeps it."""
    raised = LIMIT._replace(rate=make_rate("token_bucket", 99, SECOND))
    same = LIMIT._replace(rate=make_rate("token_bucket", 10, SECOND))
    assert before(learnt(), ask_of(5, limit=raised), NOW + 1) is None
    assert before(learnt(), ask_of(5, limit=same), NOW + 1) is not None


def test_a_clock_that_steps_back_forgets():
    """A denial from the future says nothing, or a clock's step would shut a key for as long."""
    assert before(learnt(), ask_of(5), NOW - 1) is None


@pytest.mark.scenario("costs and limits that are zero, too large, or the largest a number can hold")
def test_a_cost_that_never_passes_is_not_remembered():
    """A cost above the limit is denied for itself; it says nothing of others, nor for how long."""
    assert len(learnt(cost=11, retry_after=NEVER)) == 0


def test_the_smaller_of_two_denials_is_kept():
    """When a smaller cost is denied too, it is the one that is remembered."""
    cache = learnt(cost=5)
    ask = ask_of(2)
    ask.outcomes[0] = denied()
    cache.after([ask], NOW + 1)
    assert before(cache, ask_of(2), NOW + 2) is not None


@pytest.mark.scenario("one hot key")
@pytest.mark.scenario("a caller that invents keys")
@pytest.mark.alone
def test_a_denial_takes_no_more_than_it_is_counted_as():
    """Keys of any length, and limits that came with the requests, which no policy has already."""
    cache = OverLimitCache(1 << 20)
    cache.after([], NOW)
    tracemalloc.start()
    try:
        for number in range(2_000):
            limit = Limit(LIMIT.rate, number, Unit.SECOND, upstream=False)
            ask = ask_of(5, b"a key of a usual length %d" % (1_000_000 + number), limit)
            ask.outcomes[0] = denied(SECOND + number)
            cache.after([ask], NOW + number)
        del ask, limit
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= 1.1 * sum(cache._bytes)


def test_the_cache_is_bounded_in_bytes():
    """However many keys are denied, the cache stays within max_bytes, and the newest denials are kept."""
    cache = OverLimitCache(10_000)
    for n in range(1000):
        ask = ask_of(5, key=b"key%d" % n)
        ask.outcomes[0] = denied()
        cache.after([ask], NOW)
    assert 10 < len(cache) < 40
    assert before(cache, ask_of(5, key=b"key999"), NOW + 1) is not None
    assert before(cache, ask_of(5, key=b"key0"), NOW + 1) is None


@pytest.mark.scenario("the event loop is blocked")
def test_a_large_cache_grows_in_parts():
    """The denials of a large cache are in parts, each quickly copied; together they stay within the bound."""
    cache = OverLimitCache(8 << 20)
    for n in range(30_000):
        ask = ask_of(5, key=b"key%d" % n)
        ask.outcomes[0] = denied()
        cache.after([ask], NOW)
    assert 10_000 < len(cache) < 20_000
    assert max(map(len, cache._parts)) < 3_000


def test_a_denial_of_an_asks_own_making_is_not_remembered():
    """What an atomic ask was denied for its own earlier charges was not kept, so it says nothing to others."""
    cache = OverLimitCache(10_000)
    charge = Charge(Rule(LIMIT), b"k")
    ask = Ask(Plan((charge, charge)), [6, 6], atomic=True)
    ask.outcomes = [Decision(True, 10, 0, 0, 0), denied()]
    cache.after([ask], NOW)
    assert len(cache) == 0
    single = Ask(Plan((charge,)), [6], atomic=True)
    single.outcomes = [denied()]
    cache.after([single], NOW)
    assert len(cache) == 1


def test_what_is_remembered_can_be_looked_at():
    """As long as a charge would be denied by it, and a look changes nothing."""
    cache, charge = learnt(cost=5), Charge(Rule(LIMIT), b"k")
    raised = Charge(Rule(LIMIT._replace(rate=make_rate("token_bucket", 99, SECOND))), b"k")
    assert (cache.holds(charge, NOW).cost, cache.holds(charge, NOW).until) == (5, NOW + SECOND)
    assert [
        cache.holds(charge, NOW + SECOND),
        cache.holds(charge, NOW - 1),
        cache.holds(raised, NOW),
        cache.holds(charge._replace(key=b"other"), NOW),
    ] == [None] * 4
    assert before(cache, ask_of(5), NOW + 1) is not None


def test_what_is_remembered_can_be_forgotten():
    """Only that counter's denial is dropped, and its memory is freed; a key that is not cached may be dropped too."""
    cache = learnt()
    other = ask_of(5, key=b"other")
    other.outcomes[0] = denied()
    cache.after([other], NOW)
    cache.forget(b"k")
    cache.forget(b"k")
    assert before(cache, ask_of(5), NOW + 1) is None
    assert before(cache, ask_of(5, key=b"other"), NOW + 1) is not None
    cache.forget(b"other")
    assert (len(cache), cache._bytes) == (0, [0])


class LocalStore:
    """Says what it was charged."""

    def __init__(self):
        self.charged = []

    def charge(self, asks, now, done):
        for ask in asks:
            self.charged.extend((charge.limit.rate.quota, cost) for charge, cost in zip(ask.plan.charges, ask.costs))
            assert ask.outcomes == [None]
            ask.outcomes[0] = Decision(True, 1, 0, 0, 0)
        done(asks)


def fallen_back(policy, replicas=1, rate=LIMIT.rate, cost=3):
    store, counted = LocalStore(), []
    ask = ask_of(cost, limit=LIMIT._replace(on_store_failure=policy, rate=rate))
    ask.outcomes[0] = BROKEN
    Fallback(store, replicas, lambda *failed: counted.append(failed)).after([ask], NOW)
    assert counted == [(ask, 0, BROKEN, NOW)]
    return ask.outcomes[0], store


def test_error_leaves_the_failure():
    """on_store_failure: error leaves the decision to Envoy's failure_mode_deny."""
    assert fallen_back(OnStoreFailure.ERROR)[0] == BROKEN


def test_allow_and_deny_decide_by_themselves():
    """allow passes; deny says OVER_LIMIT with a wait that a status can show."""
    assert fallen_back(OnStoreFailure.ALLOW)[0].allowed
    outcome, _ = fallen_back(OnStoreFailure.DENY)
    assert (outcome.allowed, outcome.retry_after) == (False, SECOND)


@pytest.mark.scenario("one of several processes dies")
@pytest.mark.parametrize(("quota", "replicas", "share"), [(10, 1, 10), (10, 4, 2), (3, 10, 1), (0, 4, 0)])
def test_local_counts_this_replicas_share(quota, replicas, share):
    """local decides in memory with the limit divided by the replicas, at least 1; a limit of 0 stays 0."""
    outcome, store = fallen_back(OnStoreFailure.LOCAL, replicas, make_rate("token_bucket", quota, SECOND))
    assert outcome.allowed
    assert [(share, 3)] == store.charged


def test_a_share_that_would_refill_too_slowly_has_no_burst():
    """A burst whose share takes over 71 years to refill cannot be counted; the share is then the quota's alone."""
    year = 31_536_000 * SECOND
    outcome, store = fallen_back(OnStoreFailure.LOCAL, 2, make_rate("token_bucket", 3, year, 200))
    assert outcome.allowed
    assert store.charged == [(1, 3)]


def test_local_charges_of_an_atomic_ask_stand_or_fall_together():
    """all_or_nothing applies while the store is unavailable: one denied limit leaves the others uncharged."""
    many = LIMIT._replace(on_store_failure=OnStoreFailure.LOCAL)
    one = many._replace(rate=make_rate("token_bucket", 1, 3600 * SECOND))
    store = MemoryStore(1 << 20)
    guard = Fallback(store, 1, lambda *_: None)
    left = []
    for _ in range(3):
        ask = Ask(Plan((Charge(Rule(many), b"many"), Charge(Rule(one), b"one"))), [1, 1], atomic=True)
        ask.outcomes = [BROKEN, BROKEN]
        guard.after([ask], NOW)
        left.append((ask.outcomes[0].remaining, ask.outcomes[1].allowed))
    assert left == [(9, True), (9, False), (9, False)]


def test_decisions_are_left_alone():
    """The fallback touches failures only."""
    ask = ask_of(1, limit=LIMIT._replace(on_store_failure=OnStoreFailure.DENY))
    ask.outcomes[0] = Decision(True, 5, 0, 0, 0)
    Fallback(LocalStore(), 1, pytest.fail).after([ask], NOW)
    assert ask.outcomes[0].allowed
