import pytest

from ratelimitd.limiter import LimitRequest, Modes, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.limiter.plan import cost_of
from ratelimitd.limiter.seam import COST_MAX
from ratelimitd.policy import Descriptor, Override, Unit
from ratelimitd.policy_file import parse

POLICY = b"""
domain: d
descriptors:
  - {key: a, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: quota, quota_mode: true, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: free-named, rate_limit: {unlimited: true, name: base}}
  - {key: named, rate_limit: {name: base, unit: second, requests_per_unit: 5}}
  - {key: better, rate_limit: {name: top, unit: second, requests_per_unit: 9, replaces: [{name: base}]}}
  - {key: free-better, rate_limit: {unlimited: true, replaces: [{name: base}]}}
  - key: several
    rate_limits:
      - {unit: second, requests_per_unit: 5, algorithm: token_bucket}
      - {name: hourly, unit: hour, requests_per_unit: 100}
  - {key: valued, value_to_metric: true, rate_limit: {unit: second, requests_per_unit: 5}}
  - key: detailed
    detailed_metric: true
    rate_limit: {unit: second, requests_per_unit: 5}
"""


def planner(options=PlanOptions(), policy=POLICY):
    return Planner(parse([("p.yaml", policy)]), key_maker(b"", safe=False), Tallies(), options)


def request(*keys, domain=b"d", hits=0):
    return LimitRequest(domain, tuple(Descriptor(((key, b"v"),)) for key in keys), hits)


def rules(plan):
    return [charge.rule for charge in plan.charges]


def charged(plan):
    """The keys of the charges of each descriptor."""
    return [[plan.charges[n].limit.requests_per_unit for n in range(i.first, i.last)] for i in plan.items]


def test_each_descriptor_gets_its_own_charges():
    """Descriptors keep their order and number, those without a limit too; several limits make several charges."""
    plan = planner().plan(request(b"a", b"none", b"several", b"a"))
    assert charged(plan) == [[5], [], [5, 100], [5]]
    assert plan.costs == [1, 1, 1, 1]


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


def test_a_replaced_unlimited_limit_stays_unlimited():
    """Upstream reports it so, whether it is replaced or not; a replaced limit with a counter is reported as none."""
    plan = planner().plan(request(b"free-named", b"named", b"better"))
    assert charged(plan) == [[], [], [9]]
    assert [item.unlimited for item in plan.items] == [True, False, False]


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
    descriptor = Descriptor(((b"whatever", b"x"),), override=Override(42, Unit.MINUTE))
    plan = planner().plan(LimitRequest(b"d", (descriptor,)))
    assert plan.charges[0].limit.rate[1:3] + plan.charges[0].limit.rate[:1] == (42, 60_000_000, "fixed_window")


@pytest.mark.scenario("a caller that invents metric series")
def test_values_of_requests_reach_metrics_only_where_asked():
    """A detailed metric is named by the request's value, any other limit by the policy's path."""
    plan = planner().plan(request(b"detailed", b"a", b"several"))
    tallies = [rule.tally for rule in rules(plan)]
    assert [t.stat_key for t in tallies] == [("d", "detailed_v"), ("d", "a"), ("d", "several"), ("d", "several")]
    assert [t.item for t in tallies] == ["", "", "0", "hourly"]


def test_the_rules_of_a_node_are_made_once():
    """Requests that end at one node share its rules, whatever their values, costs and other descriptors."""
    made = planner()
    first, second = made.plan(request(b"several")), made.plan(request(b"a", b"several", hits=3))
    assert all(one is other for one, other in zip(rules(first), rules(second)[1:], strict=True))


@pytest.mark.parametrize(
    "descriptor",
    [
        Descriptor(((b"a", b"v"),), override=Override(42, Unit.MINUTE)),
        Descriptor(((b"detailed", b"v"),)),
        Descriptor(((b"valued", b"v"),)),
        Descriptor(((b"none", b"v"),)),
    ],
)
def test_what_a_request_brings_is_not_kept(descriptor):
    """No rules are kept of a limit, or of a name in metrics, that is the request's, nor where there is no limit."""
    made = planner()
    made.plan(LimitRequest(b"d", (descriptor,)))
    assert not made.forget(0)
    made.plan(request(b"a"))
    assert made.forget(0)


def test_rules_are_freed_in_slices():
    """The rules of a replaced policy can be freed a few nodes at a time, to the last one."""
    made = planner()
    made.plan(request(b"a", b"shadow", b"quota", b"named", b"several"))
    assert [made.forget(2) for _ in range(3)] == [True, True, False]


def test_levels_that_share_a_threshold_share_a_counter():
    """At such a level the pattern identifies the counter, at others the value of the request."""
    made = planner(
        policy=b"""
domain: d
descriptors:
  - key: route
    value: "api*"
    share_threshold: true
    descriptors:
      - {key: user, rate_limit: {unit: second, requests_per_unit: 5}}
"""
    )

    def key(route, user):
        plan = made.plan(LimitRequest(b"d", (Descriptor(((b"route", route), (b"user", user))),)))
        return plan.charges[0].key

    assert key(b"api1", b"u") == key(b"api2", b"u") == b"d_route_api*_user_u_"
    assert key(b"api1", b"v") == b"d_route_api*_user_v_"
