"""Plans that equal requests share, and those that each request must have for itself."""

import pytest

from ratelimitd.limiter import Engine, LimitRequest, Planner, PlanOptions, Tallies, key_maker, repeats
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import Descriptor, Override, Unit
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore

POLICY = b"""
domain: d
identity: {key: api_key, tiers: {gold: [secret]}}
descriptors:
  - {key: a, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: b, rate_limit: {unit: second, requests_per_unit: 5, algorithm: token_bucket}}
  - {key: after, rate_limit: {unit: second, requests_per_unit: 5, charge: after}}
  - {key: held, rate_limit: {concurrent: 5}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: quota, quota_mode: true, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: valued, value_to_metric: true, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: api_key, value: gold, rate_limit: {unit: second, requests_per_unit: 5}}
"""


def planner():
    return Planner(parse([("p.yaml", POLICY)]), key_maker(b"", safe=True), Tallies(), PlanOptions())


def descriptor(key, **more):
    return Descriptor(((key.encode(), b"secret" if key == "api_key" else b"v"),), **more)


def asked(*descriptors, domain=b"d"):
    return LimitRequest(domain, descriptors)


@pytest.mark.parametrize(
    "descriptors",
    [
        [descriptor("a")],
        [descriptor("a", hits=3)],
        [descriptor("a", hits=0)],
        [descriptor("b")],
        [descriptor("after")],
        [descriptor("a"), descriptor("b")],
        [descriptor("shadow"), descriptor("quota"), descriptor("free"), descriptor("none")],
        [descriptor("api_key")],
    ],
)
def test_a_plan_of_plain_costs_repeats(descriptors):
    """It is what the next request gets, with rules, keys, costs and flags."""
    made = planner()
    plan, again = made.plan(asked(*descriptors)), made.plan(asked(*descriptors))
    assert repeats(plan)
    assert plan == again


@pytest.mark.parametrize(
    "descriptors",
    [
        [descriptor("a", negative=True)],
        [descriptor("b", negative=True, hits=2)],
        [descriptor("a", override=Override(5, Unit.HOUR))],
        [descriptor("b", hits=0)],
        [descriptor("b", hits=3)],
        [descriptor("after", hits=3)],
        [descriptor("held")],
        [descriptor("a", lease=b"l")],
        [descriptor("valued")],
        [descriptor("a"), descriptor("held")],
        [descriptor("a"), descriptor("b", hits=0)],
    ],
)
def test_a_plan_that_depends_on_its_call_does_not_repeat(descriptors):
    """Holds, leases, questions, settlements and give-backs, and rules that are made for each request."""
    assert not repeats(planner().plan(asked(*descriptors)))


def test_a_plan_without_a_domain_does_not_repeat():
    """The edge counts each such request."""
    assert not repeats(planner().plan(asked(descriptor("a"), domain=b"other")))


def test_a_plan_ends_when_a_limit_has_a_switch():
    """What the hits of the next request mean is then for the switch to say."""
    made = planner()
    plan = made.plan(asked(descriptor("b")))
    assert repeats(plan)
    made.plan(asked(descriptor("b", hits=0)))  # another edge asks with 0
    assert not repeats(plan)


def test_a_plan_that_is_asked_again_decides_alike():
    """Each ask has costs and outcomes of its own, and is counted."""
    engine = Engine(MemoryStore(), Counters())
    engine.planner = planner()
    plan = engine.ask(asked(descriptor("a")), lambda request: request).plan
    results = []
    for number in range(7):
        ask = engine.ask_again(plan, 15, number)
        assert (ask.plan, ask.deadline, ask.tag) == (plan, 15, number)
        engine.decide((ask,), 1_000_000, lambda _, answer: results.append(answer.over), print)
        ask.costs[0] = 99
    assert results == [False] * 5 + [True] * 2
    tally = plan.charges[0].rule.tally
    assert (tally.total_hits, tally.over_limit) == (7, 2)
