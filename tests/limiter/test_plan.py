import tracemalloc

import pytest

from ratelimitd.limiter import LimitRequest, Modes, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.limiter.plan import PLANS_BYTES, cost_of
from ratelimitd.limiter.seam import COST_MAX
from ratelimitd.policy import Descriptor, Unit
from ratelimitd.policy_file import parse

POLICY = b"""
domain: d
descriptors:
  - {key: a, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: quota, quota_mode: true, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: named, rate_limit: {name: base, unit: second, requests_per_unit: 5}}
  - {key: better, rate_limit: {name: top, unit: second, requests_per_unit: 9, replaces: [{name: base}]}}
  - {key: free-better, rate_limit: {unlimited: true, replaces: [{name: base}]}}
  - key: several
    rate_limits:
      - {unit: second, requests_per_unit: 5, algorithm: token_bucket}
      - {name: hourly, unit: hour, requests_per_unit: 100}
  - key: detailed
    detailed_metric: true
    rate_limit: {unit: second, requests_per_unit: 5}
"""


def planner(options=PlanOptions(), policy=POLICY):
    return Planner(parse([("p.yaml", policy)]), key_maker(b"", safe=False), Tallies(), options)


def request(*keys, domain=b"d", hits=0):
    return LimitRequest(domain, tuple(Descriptor(((key, b"v"),)) for key in keys), hits)


def charged(plan):
    """The keys of the charges of each descriptor."""
    return [[plan.charges[n].limit.requests_per_unit for n in range(i.first, i.last)] for i in plan.items]


def test_each_descriptor_gets_its_own_charges():
    """Descriptors keep their order and number, those without a limit too; several limits make several charges."""
    plan = planner().plan(request(b"a", b"none", b"several", b"a"))
    assert charged(plan) == [[5], [], [5, 100], [5]]
    assert plan.costs == (1, 1, 1, 1)


def test_an_unknown_domain_is_planned_as_no_limit():
    """A domain no policy has limits nothing, and the plan says so."""
    plan = planner().plan(request(b"a", b"b", domain=b"other"))
    assert charged(plan) == [[], []]
    assert not plan.known_domain


@pytest.mark.scenario("costs and limits that are zero, too large, or the largest a number can hold")
def test_an_unlimited_limit_makes_no_charge():
    """unlimited reaches no store, and its item says so."""
    plan = planner().plan(request(b"free", b"a"))
    assert charged(plan) == [[], [5]]
    assert [item.unlimited for item in plan.items] == [True, False]


@pytest.mark.parametrize("better", [b"better", b"free-better"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_replaced_limit_steps_aside(better, order):
    """A limit that another one of the request replaces is dropped, whatever the order, also by an unlimited one."""
    plan = planner().plan(request(*(b"named", better)[::order]))
    assert 5 not in [limit for charges in charged(plan) for limit in charges]
    assert charged(planner().plan(request(b"named"))) == [[5]]


def test_only_enforced_limits_veto():
    """Shadow and quota limits never veto others, nor does any limit under SHADOW_MODE or QUOTA_MODE."""
    asked = request(b"a", b"shadow", b"quota")
    assert [charge.binding for charge in planner().plan(asked).charges] == [True, False, False]
    for options in (PlanOptions(modes=Modes(shadow=True)), PlanOptions(modes=Modes(quota=True))):
        assert [charge.binding for charge in planner(options).plan(asked).charges] == [False] * 3


def test_all_or_nothing_is_the_domains_or_everyones():
    """A request is atomic when its domain says so, or when STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT does."""
    assert not planner().plan(request(b"a")).atomic
    assert planner(PlanOptions(all_or_nothing=True)).plan(request(b"a")).atomic
    assert planner(policy=POLICY + b"all_or_nothing: true\n").plan(request(b"a")).atomic


def test_too_many_charges_are_not_taken_together():
    """A request with more charges than one script call takes is charged limit by limit, never refused."""
    made = planner(PlanOptions(all_or_nothing=True))
    assert made.plan(request(*[b"several"] * 64)).atomic
    assert not made.plan(request(*[b"several"] * 65)).atomic


@pytest.mark.scenario("costs and limits that are zero, too large, or the largest a number can hold")
@pytest.mark.parametrize(
    ("hits", "request_hits", "negative", "cost"),
    [
        (None, 0, False, 1),
        (None, 7, False, 7),
        (0, 7, False, 0),
        (3, 7, False, 3),
        (3, 0, True, -3),
        (None, 0, True, -1),
        ((1 << 64) - 1, 0, False, COST_MAX),
        ((1 << 64) - 1, 0, True, -COST_MAX),
    ],
)
def test_the_cost_of_a_descriptor(hits, request_hits, negative, cost):
    """Its own hits, 0 included, else the request's, else 1; negative hits give back; huge values saturate."""
    assert cost == cost_of(Descriptor(((b"a", b"b"),), hits=hits, negative=negative), request_hits)


def test_an_override_limits_with_its_own_numbers():
    """An override is charged as it says, under the domain's default algorithm."""
    descriptor = Descriptor(((b"whatever", b"x"),), override=(42, Unit.MINUTE))
    plan = planner().plan(LimitRequest(b"d", (descriptor,)))
    assert plan.charges[0].limit.rate[1:3] + plan.charges[0].limit.rate[:1] == (42, 60_000_000, "fixed_window")


@pytest.mark.scenario("a caller that invents metric series")
def test_values_of_requests_reach_metrics_only_where_asked():
    """A detailed metric is named by the request's value, any other limit by the policy's path."""
    plan = planner().plan(request(b"detailed", b"a", b"several"))
    assert [t.stat_key for t in plan.tallies] == [("d", "detailed_v"), ("d", "a"), ("d", "several"), ("d", "several")]
    assert [t.item for t in plan.tallies] == ["", "", "0", "hourly"]


def test_plans_are_forgotten_in_portions():
    """The plans of a replaced policy can be freed in slices, to the last one."""
    made = planner()
    plan = made.plan(request(b"a"))
    for n in range(5):
        made.remember(b"%d" % n, plan)
    assert [made.forget(2) for _ in range(3)] == [True, True, False]
    assert [made.recall(b"%d" % n) for n in range(5)] == [None] * 5


@pytest.mark.alone
@pytest.mark.parametrize(("keys", "entries"), [([b"a"], 1), ([b"a"] * 3, 1), ([b"several"], 1), ([b"none"] * 8, 16)])
def test_the_room_of_a_plan_is_what_it_takes(keys, entries):
    """The bytes a remembered plan is counted as are within a third of those it takes, whatever the request."""
    made = planner()

    def decoded(n):
        def entry(key, m):
            return bytes(bytearray(key)) if m == 0 else b"more%d" % m, b"value %d %d" % (m, n)

        return LimitRequest(b"d", tuple(Descriptor(tuple(entry(key, m) for m in range(entries))) for key in keys))

    made.remember(b"", made.plan(decoded(0)))
    before_counted = made._bytes
    tracemalloc.start()
    for n in range(500):
        made.remember(b"%d" % n, made.plan(decoded(n)))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.67 < (made._bytes - before_counted) / taken < 1.5


LONG = 4_000

TEXTS = {
    "a value": lambda n: Descriptor(((b"a", (b"%d" % n).ljust(LONG, b"x")),)),
    "an unknown key": lambda n: Descriptor((((b"%d" % n).ljust(LONG, b"x"), b"y"),)),
    "a detailed metric": lambda n: Descriptor(((b"detailed", (b"%d" % n).ljust(LONG, b"x")),)),
    "a wide metric": lambda n: Descriptor(((b"detailed", f"\U0001f600{n}".ljust(LONG, "x").encode()),)),
    "an override": lambda n: Descriptor((((b"%d" % n).ljust(LONG, b"x"), b"y" * LONG),), (5, Unit.HOUR)),
}
"""Descriptors with a long text of the request, each by a number."""


@pytest.mark.alone
@pytest.mark.scenario("a caller that invents keys")
@pytest.mark.parametrize("make", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("edge", ["gRPC", "proxy"])
def test_plans_of_long_texts_take_no_more_than_they_are_counted_as(make, edge):
    """However often a plan holds a text of the request, in entries, keys, metrics or paths, each time is counted."""
    made = planner()
    tracemalloc.start()
    try:
        for n in range(300):
            asked = LimitRequest(b"d", (make(n),))
            body = b"%d" % n + bytes(2 * LONG) if edge == "gRPC" else b""
            made.remember(body or asked.descriptors, made.plan(asked), len(body))
            del asked, body
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= 1.1 * made._bytes


@pytest.mark.scenario("a caller that invents keys")
def test_remembered_plans_are_bounded_in_bytes():
    """Plans are recalled by the request's bytes until newer ones take the room; the room is bounded."""
    made = planner()
    plan = made.plan(request(b"a"))
    size = PLANS_BYTES // 50
    for n in range(100):
        made.remember(n, plan, size)
    assert made.recall(99) is plan
    assert made.recall(0) is None
    assert 40 < sum(made.recall(n) is plan for n in range(100)) < 51
