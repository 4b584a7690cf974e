import mmap
from pathlib import Path

import pytest

from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.limiter import (
    Ask,
    Charge,
    Engine,
    Failure,
    FailureKind,
    Fallback,
    LimitRequest,
    NewKeys,
    OverLimitCache,
    Planner,
    PlanOptions,
    Rule,
    Tallies,
    key_maker,
)
from ratelimitd.limiter.new_keys import STEPS, SWEEP
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import Descriptor, Override, Unit
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore

SECOND = 1_000_000
START = 1_000 * SECOND
STEP = SWEEP // STEPS
TABLE_SIZE = 1 << 20
POLICY = b"""
domain: d
descriptors:
  - {key: ip, on_store_failure: local, rate_limit: {unit: hour, requests_per_unit: 2}}
  - {key: other, rate_limit: {unit: hour, requests_per_unit: 2}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 2}}
  - {key: free, rate_limit: {unlimited: true}}
  - key: user
    rate_limits:
      - {name: fast, unit: second, requests_per_unit: 5, algorithm: token_bucket}
      - {name: slow, unit: hour, requests_per_unit: 100, algorithm: token_bucket}
      - {name: shared, unit: hour, requests_per_unit: 900, algorithm: token_bucket}
  - key: zone
    descriptors:
      - {key: ip, rate_limit: {unit: hour, requests_per_unit: 2}}
"""


def planner(policy=POLICY, prefix=b""):
    return Planner(parse([("p.yaml", policy)]), key_maker(prefix, safe=True), Tallies(), PlanOptions())


PLANNER = planner()


def descriptor(text, **more):
    return Descriptor(tuple(tuple(part.split(b"=")) for part in text.split(b",")), **more)


def ask_of(*texts, by=PLANNER, atomic=False, domain=b"d", **more):
    plan = by.plan(LimitRequest(domain, tuple(descriptor(text, **more) for text in texts)))
    return Ask(plan, list(plan.costs), atomic=atomic)


def turned(guard, since, turns=STEPS):
    """The hand after so many moves; returns when that is."""
    for n in range(turns):
        guard.before((), since + n * STEP)
    return since + turns * STEP


def warm(per_second, prefix=b"", size=TABLE_SIZE):
    """A guard that knows no key and may redirect, and a time at which a second begins."""
    guard = NewKeys(per_second, prefix, size)
    now = turned(guard, START, STEPS + 1)
    return guard, now - now % SECOND + SECOND


def keys_asked(guard, now, *asks):
    """What the store would be asked for."""
    guard.before(asks, now)
    return [charge.key for ask in asks for charge in ask.plan.charges]


def shared_key(by=PLANNER, text=b"ip=x", prefix=b""):
    """The overflow counter of the limit that a single descriptor matches."""
    guard, now = warm(0, prefix)
    [key] = keys_asked(guard, now, ask_of(text, by=by))
    return key


def test_below_the_cap_nothing_changes():
    """As many new keys as the cap says keep counters of their own, and the shared plan itself."""
    guard, now = warm(3)
    asks = [ask_of(b"ip=%d" % n) for n in range(3)]
    plans = [ask.plan for ask in asks]
    guard.before(asks, now)
    assert all(ask.plan is plan for ask, plan in zip(asks, plans))
    assert guard.redirected == 0


@pytest.mark.scenario("a caller that invents keys")
def test_past_the_cap_new_keys_share_one_counter_and_known_ones_do_not():
    """In the same second, in one batch or several: known keys keep theirs, new ones share one, and are counted."""
    guard, now = warm(2)
    own = keys_asked(guard, now, ask_of(b"ip=1"), ask_of(b"ip=2"))
    first = keys_asked(guard, now + 1, ask_of(b"ip=3"), ask_of(b"ip=1"), ask_of(b"ip=4"))
    second = keys_asked(guard, now + SECOND - 1, ask_of(b"ip=5"), ask_of(b"ip=2"))
    assert [first[0], own[0], first[0]] == first
    assert [first[0], own[1]] == second
    assert first[0] not in own
    assert guard.redirected == 3


def test_the_shared_plan_is_left_alone():
    """A redirected ask gets a separate plan, which differs only in that charge's key."""
    guard, now = warm(0)
    ask = ask_of(b"ip=1", b"free=1", b"shadow=2")
    plan, keys = ask.plan, [charge.key for charge in ask.plan.charges]
    shared = keys_asked(guard, now, ask)
    assert keys == [charge.key for charge in plan.charges]
    assert not set(shared) & set(keys)
    moved = tuple(charge._replace(key=key) for charge, key in zip(plan.charges, shared))
    assert plan._replace(charges=moved) == ask.plan


def test_a_second_later_new_keys_are_taken_again():
    """The cap applies per second: a key that was redirected gets its own counter once the cap allows."""
    guard, now = warm(1)
    own, shared = keys_asked(guard, now, ask_of(b"ip=1"), ask_of(b"ip=2"))
    again, still = keys_asked(guard, now + SECOND, ask_of(b"ip=2"), ask_of(b"ip=3"))
    assert len({own, shared, again}) == 3
    assert still == shared


def test_a_redirected_key_is_not_remembered():
    """It meets the cap again the next time, or a flood would be let in by coming twice."""
    guard, now = warm(1)
    keys_asked(guard, now, ask_of(b"ip=1"), ask_of(b"ip=2"))
    _, shared = keys_asked(guard, now + SECOND, ask_of(b"ip=3"), ask_of(b"ip=2"))
    assert shared_key() == shared


def test_one_key_twice_in_a_request_is_one_new_key():
    """Two descriptors with the same counter never part."""
    guard, now = warm(1)
    first, second, third = keys_asked(guard, now, ask_of(b"ip=1", b"ip=1", b"ip=2"))
    assert first == second != third
    assert third == shared_key()


def test_a_flood_of_one_limit_touches_no_other():
    """New keys of another descriptor, another level, another item or an override keep their counters."""
    guard, now = warm(1)
    flood = keys_asked(guard, now, *[ask_of(b"ip=%d" % n) for n in range(100)])
    assert len(set(flood)) == 2
    others = [
        ask_of(b"other=1"),
        ask_of(b"zone=z,ip=1"),
        ask_of(b"user=1"),
        ask_of(b"ip=1", override=Override(7, Unit.DAY)),
    ]
    before = [charge.key for ask in others for charge in ask.plan.charges]
    assert before == keys_asked(guard, now, *others)


def test_each_limit_has_an_overflow_counter_of_its_own():
    """Nodes, levels, items and overrides apart; the values of a request, and an override's numbers, are no part."""
    guard, now = warm(0)
    texts = [b"ip=1", b"other=1", b"zone=z,ip=1", b"user=1", b"shadow=1"]
    asks = [ask_of(text) for text in texts] + [ask_of(b"ip=1", override=Override(7, Unit.HOUR))]
    assert len(set(keys_asked(guard, now, *asks))) == 8
    [first], [second] = (keys_asked(guard, now, ask_of(text)) for text in (b"zone=a,ip=1", b"zone=b,ip=2"))
    assert first == second
    [first], [second] = (keys_asked(guard, now, ask_of(b"ip=%d" % n, override=Override(n, Unit.HOUR))) for n in (1, 2))
    assert first == second


def test_replicas_and_reloads_share_the_overflow_counter():
    """Its name is of the policy alone: the same in two processes, and after the numbers of the limit changed."""
    raised = planner(POLICY.replace(b"requests_per_unit: 2}", b"requests_per_unit: 9}"))
    assert shared_key() == shared_key(by=planner()) == shared_key(by=raised)
    assert shared_key() != shared_key(by=planner(POLICY.replace(b"unit: hour", b"unit: day")))
    assert shared_key(prefix=b"p:") == b"p:" + shared_key()


def test_a_reload_forgets_no_key():
    """The guard outlives a policy, so the keys that were known stay so under the next one."""
    guard, now = warm(1)
    [own] = keys_asked(guard, now, ask_of(b"ip=1"))
    assert [own] == keys_asked(guard, now, ask_of(b"ip=1", by=planner()))
    assert guard.redirected == 0


def test_nothing_is_redirected_at_the_start():
    """For one round of the hand every key passes and is learnt; then those keep their counters and new ones share."""
    guard = NewKeys(0, b"", TABLE_SIZE)
    asks = [ask_of(b"ip=%d" % n) for n in range(50)]
    own = [ask.plan.charges[0].key for ask in asks]
    for n in range(STEPS):
        assert own == keys_asked(guard, START + n * STEP, *asks)
    after = keys_asked(guard, START + SWEEP, *asks, ask_of(b"ip=new"))
    assert [*own, shared_key()] == after


def test_a_key_that_is_asked_for_stays_known():
    """A client that comes once in the time of a round is never new again."""
    guard, now = warm(1)
    keys_asked(guard, now, ask_of(b"ip=1"))
    for _ in range(6):
        now = turned(guard, now)
        _, own = keys_asked(guard, now, ask_of(b"ip=filler%d" % now), ask_of(b"ip=1"))
        assert ask_of(b"ip=1").plan.charges[0].key == own


def test_a_key_that_is_not_asked_for_is_forgotten():
    """After two sweeps a key is new again, so only keys of the last minutes are known."""
    guard, now = warm(1)
    keys_asked(guard, now, ask_of(b"ip=1"))
    now = turned(guard, now, 2 * STEPS)
    _, shared = keys_asked(guard, now, ask_of(b"ip=2"), ask_of(b"ip=1"))
    assert shared_key() == shared


def test_a_pause_lets_no_key_be_forgotten():
    """The hand makes nothing up after a quiet night, or the calls of the morning would wipe what they have learnt."""
    guard, now = warm(1)
    keys_asked(guard, now, ask_of(b"ip=1"))
    now += 36_000 * SECOND
    for n in range(4 * STEPS):
        guard.before((), now + n)
    assert keys_asked(guard, now, ask_of(b"ip=2"), ask_of(b"ip=1"))[1] == ask_of(b"ip=1").plan.charges[0].key


def test_keys_age_although_the_clock_steps_back():
    """By an hour: the hand goes on by the new time, and the cap holds for its seconds."""
    guard, now = warm(1)
    keys_asked(guard, now, ask_of(b"ip=1"))
    now = turned(guard, now - 3_600 * SECOND, 2 * STEPS)
    assert shared_key() == keys_asked(guard, now, ask_of(b"ip=2"), ask_of(b"ip=1"))[1]


@pytest.mark.parametrize("hits", [{"hits": 0}, {"hits": 3, "negative": True}])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_peeks_and_give_backs_go_by(hits, algorithm):
    """They make no counter, so they are not redirected, not counted, and leave no key known."""
    by = planner(b"domain: d\ndefault_algorithm: %b\n" % algorithm.encode() + POLICY.replace(b"domain: d\n", b""))
    guard, now = warm(0)
    ask = ask_of(b"ip=1", by=by, **hits)
    plan, store = ask.plan, MemoryStore()
    decided([guard], store, now, ask)
    assert ask.plan is plan
    assert (len(store), guard.redirected) == (0, 0)
    assert shared_key(by) == keys_asked(guard, now, ask_of(b"ip=1", by=by))[0]


def test_a_shadow_limit_is_guarded_too():
    """It counts like any other, so its keys fill the store like any other's."""
    guard, now = warm(1)
    assert len(set(keys_asked(guard, now, *[ask_of(b"shadow=%d" % n) for n in range(9)]))) == 2


def test_requests_without_a_counter_pass():
    """No descriptors, no limit, unlimited, an unknown domain: there is nothing to guard."""
    guard, now = warm(0)
    asks = [ask_of(), ask_of(b"none=1"), ask_of(b"free=1"), ask_of(b"ip=1", domain=b"unknown")]
    assert keys_asked(guard, now, *asks) == []


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.scenario("a caller that invents keys")
def test_a_flood_takes_no_more_room_than_its_cap():
    """Of 100,000 unique keys in a second, no more are remembered than the cap let through, in room that never grows."""
    guard, now = warm(1_000)
    for n in range(0, 100_000, 1_000):
        guard.before([ask_of(b"ip=%d" % m) for m in range(n, n + 1_000)], now)
    assert 900 < TABLE_SIZE - guard._ages[:].count(0) <= 1_000
    assert len(guard._ages) == TABLE_SIZE
    assert len(guard._new_keys) == 1
    assert 98_000 < guard.redirected <= 99_000


def test_a_new_key_is_rarely_taken_for_a_known_one():
    """As often as entries are taken: with a sixteenth of them taken, that part of a flood."""
    places = 1 << 16
    guard, now = warm(places, size=places)
    guard.before([ask_of(b"ip=known%d" % n) for n in range(places // 16)], now)
    guard._per_second = 0
    guard.before([ask_of(b"ip=new%d" % n) for n in range(4_000)], now + SECOND)
    assert 0.9 < guard.redirected / 4_000 < 0.97


def decided(guards, store, now, *asks):
    """What each ask came to, as statuses: (over, remaining, quota shown)."""
    statuses = []
    Engine(store, Counters(), guards).decide(
        asks, now, lambda _, told: statuses.extend(told.statuses), lambda _, error: pytest.fail(str(error))
    )
    return [(status.over, status.remaining, status.limit.requests_per_unit) for status in statuses]


def test_the_overflow_counter_holds_what_one_key_may():
    """Redirected requests are answered by their limit's own numbers, all from the one counter."""
    guard, now = warm(0)
    asked = decided([guard], MemoryStore(), now, *[ask_of(b"ip=%d" % n) for n in range(3)])
    assert asked == [(False, 1, 2), (False, 0, 2), (True, 0, 2)]


def test_charges_of_an_atomic_ask_stand_or_fall_together():
    """A full overflow counter holds back the known key of the same request, and two new keys of one fill it."""
    guard, now = warm(1)
    store = MemoryStore()
    assert decided([guard], store, now, ask_of(b"other=1", atomic=True)) == [(False, 1, 2)]
    keys_asked(guard, now, ask_of(b"ip=filler"))
    first = decided([guard], store, now, ask_of(b"ip=1", b"ip=2", atomic=True))
    second = decided([guard], store, now, ask_of(b"other=1", b"ip=3", atomic=True))
    assert first == [(False, 1, 2), (False, 0, 2)]
    assert second == [(False, 1, 2), (True, 0, 2)]


class Counting(MemoryStore):
    """Counts the charges that reach it."""

    reached = 0

    def charge(self, asks, now, done):
        self.reached += sum(outcome is None for ask in asks for outcome in ask.outcomes)
        super().charge(asks, now, done)


def test_a_denial_of_the_overflow_counter_is_remembered_as_its_own():
    """The over-limit cache then keeps the flood from the store, and no other key is denied."""
    guard, now = warm(1)
    by, store = planner(), Counting()
    guards = [guard, OverLimitCache(100_000)]
    keys_asked(guard, now, ask_of(b"ip=filler"))
    flood = [ask_of(b"ip=%d" % n, by=by) for n in range(3)]
    assert [over for over, _, _ in decided(guards, store, now, *flood)] == [False, False, True]
    more = [ask_of(b"ip=9", by=by), ask_of(b"ip=2", by=by)]
    assert [over for over, _, _ in decided(guards, store, now + 1, *more)] == [True, True]
    assert store.reached == 3
    assert more[0].plan.charges[0].rule.tally.over_limit_with_local_cache == 2
    assert decided(guards, store, now + SECOND, ask_of(b"ip=2", by=by)) == [(False, 1, 2)]


def test_a_flood_while_the_store_is_away_is_bounded_too():
    """What on_store_failure: local counts in this process is counted under the overflow key as well."""

    class Away:
        def charge(self, asks, now, done):
            for ask in asks:
                ask.outcomes = [Failure(FailureKind.DISCONNECTED, "gone")] * len(ask.outcomes)
            done(asks)

    guard, now = warm(2)
    local = MemoryStore()
    guards = [Fallback(local, 1, lambda *_: None), guard, OverLimitCache(100_000)]
    asked = decided(guards, Away(), now, *[ask_of(b"ip=%d" % n) for n in range(10)])
    assert len(local) == 3
    assert [over for over, _, _ in asked] == [False] * 4 + [True] * 6


def test_a_charge_of_nobodys_planning_is_left_alone():
    """A plan without items, such as a probe's, names its counter itself."""
    guard, now = warm(0)
    ask = ask_of(b"ip=1")
    ask.plan = ask.plan._replace(items=(), charges=(Charge(Rule(ask.plan.charges[0].limit, binding=False), b"probe"),))
    assert keys_asked(guard, now, ask) == [b"probe"]


def resident():
    """Return the pages of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.alone
def test_an_idle_table_takes_no_memory():
    """Places are no memory until keys come, however often the hand goes round."""
    before = resident()
    guard, now = warm(5, size=1 << 26)
    for turn in range(STEPS):
        guard.before([], now + (turn + 1) * STEP)
    assert resident() - before < (8 << 20) // mmap.PAGESIZE
