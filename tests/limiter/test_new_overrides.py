"""Overrides that a caller invents, under NEW_KEYS_PER_SECOND: all of a domain have one place, whatever keys and units.

Bounds that were examined for a name that a caller chooses:

- kept by a name of the policy or of a route: the share of a domain in flight, overflow counters, the tally ``other``,
  a proxy's counters of requests, the log of store failures
- kept by a sum over all names: plans, denials and counters in memory (bytes), REQUEST_MADE_SERIES, unknown domains
- caches that compute again: rates and statuses of overrides, addresses, request heads
"""

import pytest

from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.limiter import Ask, LimitRequest, NewKeys, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.limiter.keys import is_overflow_key
from ratelimitd.limiter.new_keys import STEPS, SWEEP
from ratelimitd.policy import UNIT_SECONDS, Descriptor, Override, Unit
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore

SECOND = 1_000_000
CAP = 100
MISTAKEN = 4
"""Keys of a flood that may pass as known: of 2,900, each has the place of one of 100 with a chance of 1 in 170,000."""
POLICY = b"""
domain: d
descriptors:
  - {key: ip, rate_limit: {unit: hour, requests_per_unit: 2}}
"""
FLOOD = [Descriptor(((b"key%d" % n, b"v"),), override=Override(5, Unit.HOUR)) for n in range(3_000)]
UNITS = [Unit.SECOND, Unit.MINUTE, Unit.HOUR, Unit.DAY, Unit.WEEK, Unit.MONTH, Unit.YEAR]


def planner(*domains, algorithm="fixed_window"):
    files = [(name.decode(), POLICY.replace(b"domain: d", b"domain: " + name)) for name in domains or (b"d",)]
    return Planner(parse(files, default_algorithm=algorithm), key_maker(b"", safe=True), Tallies(), PlanOptions())


def ask_of(by, descriptor, domain=b"d"):
    plan = by.plan(LimitRequest(domain, (descriptor,)))
    return Ask(plan, list(plan.costs))


def warm(per_second=CAP, until=10_000 * SECOND):
    """A guard that may redirect at this time."""
    guard = NewKeys(per_second, b"")
    for n in range(STEPS + 1):
        guard.before((), until - (STEPS + 1 - n) * (SWEEP // STEPS))
    return guard, until


def guarded(guard, now, asks):
    """The keys that reach the store."""
    guard.before(asks, now)
    return [charge.key for ask in asks for charge in ask.plan.charges]


@pytest.mark.scenario("a caller that invents keys")
def test_new_entry_keys_of_overrides_are_capped_as_new_values_are():
    """Of 3,000 overrides with a key each, as many counters reach the store as the cap says, and one shared."""
    by, store = planner(), MemoryStore()
    guard, now = warm()
    asks = [ask_of(by, descriptor) for descriptor in FLOOD]
    guard.before(asks, now)
    store.charge(asks, now, lambda _: None)
    assert CAP < len(store) <= CAP + 1 + MISTAKEN
    assert len(FLOOD) - CAP - MISTAKEN <= guard.redirected <= len(FLOOD) - CAP


def test_units_do_not_multiply_the_cap():
    """Each unit has an overflow counter of its own, as counters of two windows cannot be one, but the cap is of all."""
    by = planner()
    guard, now = warm()
    flood = [each._replace(override=Override(5, UNITS[n % len(UNITS)])) for n, each in enumerate(FLOOD)]
    reached = set(guarded(guard, now, [ask_of(by, each) for each in flood]))
    assert CAP + len(UNITS) <= len(reached) <= CAP + len(UNITS) + MISTAKEN


def windows_of(asks, guard, now):
    """The windows of the charges on overflow counters, and the counters that reach the store."""
    guard.before(asks, now)
    charges = [charge for ask in asks for charge in ask.plan.charges]
    return charges, {charge.limit.rate.window for charge in charges if is_overflow_key(charge.key)}


@pytest.mark.scenario("a caller that invents keys")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_multipliers_do_not_multiply_the_cap(algorithm):
    """3,000 windows share as many overflow counters as there are units, so not even those fill the store."""
    by, store = planner(algorithm=algorithm), MemoryStore()
    guard, now = warm()
    flood = [each._replace(override=Override(5, UNITS[n % 5], 2 + n)) for n, each in enumerate(FLOOD)]
    asks = [ask_of(by, each) for each in flood]
    assert len({charge.limit.rate.window for ask in asks for charge in ask.plan.charges}) > len(FLOOD) // 2
    _, windows = windows_of(asks, guard, now)
    assert windows <= {UNIT_SECONDS[unit] * SECOND for unit in UNITS}
    store.charge(asks, now, lambda _: None)
    assert CAP < len(store) <= CAP + len(UNITS) + MISTAKEN


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (Override(5, Unit.MINUTE, 10), (Unit.HOUR, 1)),
        (Override(5, Unit.MINUTE, 60), (Unit.HOUR, 1)),
        (Override(5, Unit.MINUTE, 61), (Unit.DAY, 1)),
        (Override(5, Unit.MONTH, 2), (Unit.YEAR, 1)),
        (Override(5, Unit.YEAR, 2), (Unit.YEAR, 1)),
        (Override(5, Unit.MINUTE), (Unit.MINUTE, 1)),
    ],
)
def test_past_the_cap_several_units_count_as_the_next_longer_one(override, told):
    """The status tells the window that is enforced; up to a year, no more passes than in the window asked for."""
    by = planner()
    guard, now = warm(per_second=1)
    guarded(guard, now, [ask_of(by, FLOOD[0])])
    (charge,), windows = windows_of([ask_of(by, FLOOD[1]._replace(override=override))], guard, now)
    assert (charge.limit.unit, charge.limit.unit_multiplier) == told
    assert windows == {UNIT_SECONDS[told[0]] * SECOND}
    assert (charge.limit.requests_per_unit, charge.rule.capacity) == (5, 5)


def test_a_flood_of_overrides_spares_the_limits_and_other_domains():
    """A limit of the policy, and the overrides of another domain, keep a cap of their own."""
    by = planner(b"d", b"e")
    guard, now = warm()
    guarded(guard, now, [ask_of(by, each) for each in FLOOD])
    others = [ask_of(by, Descriptor(((b"ip", b"1"),))), ask_of(by, FLOOD[-1], b"e")]
    own = [charge.key for ask in others for charge in ask.plan.charges]
    assert guarded(guard, now, others) == own


def test_an_override_below_the_cap_has_a_counter_of_its_own():
    """Its name is of its entries: the place is of the overflow counter alone."""
    by = planner()
    guard, now = warm()
    asks = [ask_of(by, each) for each in FLOOD[:CAP]]
    own = [charge.key for ask in asks for charge in ask.plan.charges]
    assert guarded(guard, now, asks) == own
    assert len(set(own)) == CAP


def test_what_is_kept_of_a_second_does_not_grow_with_the_keys():
    """One count for all overrides of a domain, or the guard itself would hold what it keeps from the store."""
    by = planner()
    guard, now = warm()
    guarded(guard, now, [ask_of(by, each) for each in FLOOD])
    assert len(guard._new_keys) == 1
