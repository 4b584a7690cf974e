import pytest

from ratelimitd.algorithms import ALGORITHMS, NEVER, Decision, make_rate
from ratelimitd.limiter import (
    ENFORCED,
    Answer,
    Ask,
    Charge,
    Failure,
    FailureKind,
    Item,
    Modes,
    NodeRules,
    Plan,
    Rule,
    metadata_of,
)
from ratelimitd.limiter.answer import answer, tally
from ratelimitd.policy import Limit, Unit

SECOND = 1_000_000
PLAIN = Limit(make_rate("fixed_window", 10, SECOND), 10, Unit.SECOND)
SHADOW = PLAIN._replace(shadow_mode=True)
QUOTA = PLAIN._replace(quota_mode=True)
PASSED = Decision(True, 4, 300_000, 0, 5)
DENIED = Decision(False, 0, 300_000, 300_000, 10)
BROKEN = Failure(FailureKind.TIMEOUT, "no answer in time")
FOUND = NodeRules((), frozenset(), (), None, b"")


def plan_of(*descriptors):
    """A plan with these limits for each descriptor; None is a descriptor without a limit."""
    charges, items = [], []
    for limits in descriptors:
        first = len(charges)
        rules = [Rule(limit, not (limit.shadow_mode or limit.quota_mode), near=8) for limit in limits or ()]
        charges.extend(Charge(rule, b"k") for rule in rules)
        items.append(Item(first, len(charges), unlimited=False, found=FOUND if limits else None))
    return Plan(tuple(charges), items=tuple(items))


def tallies(plan):
    return [charge.rule.tally for charge in plan.charges]


def unbound(plan):
    """The plan as SHADOW_MODE and QUOTA_MODE make it: no limit vetoes another."""
    return plan._replace(
        charges=tuple(Charge(Rule(charge.limit, binding=False), charge.key) for charge in plan.charges)
    )


@pytest.mark.parametrize(
    ("descriptors", "outcomes", "over"),
    [
        ([[PLAIN]], [PASSED], False),
        ([[PLAIN]], [DENIED], True),
        ([[PLAIN], [PLAIN]], [PASSED, DENIED], True),
        ([[SHADOW]], [DENIED], False),
        ([[SHADOW], [PLAIN]], [DENIED, DENIED], True),
        ([[QUOTA]], [DENIED], True),
        ([[QUOTA], [QUOTA]], [DENIED, PASSED], False),
        ([[QUOTA], [QUOTA]], [DENIED, DENIED], True),
        ([[QUOTA], [PLAIN]], [DENIED, PASSED], True),
        ([[QUOTA], [PLAIN]], [PASSED, DENIED], True),
        ([[QUOTA, QUOTA], [QUOTA]], [DENIED, PASSED, PASSED], False),
        ([[QUOTA], [SHADOW._replace(quota_mode=True)]], [DENIED, PASSED], True),
        ([None], [], False),
    ],
)
def test_a_request_is_over_by_its_enforced_limits(descriptors, outcomes, over):
    """One denied limit is enough, unless it is a shadow; quota limits deny only all together."""
    assert over is answer(plan_of(*descriptors), outcomes, ENFORCED).over


def test_global_quota_mode_counts_what_no_limit_matched():
    """With QUOTA_MODE an unmatched descriptor is a quota that passes, as upstream has it."""
    modes = Modes(quota=True)
    assert answer(unbound(plan_of([PLAIN])), [DENIED], modes).over
    assert not answer(unbound(plan_of([PLAIN], None)), [DENIED], modes).over


def test_global_shadow_mode_forces_the_overall_code_alone():
    """With SHADOW_MODE the request passes, its statuses still say OVER_LIMIT, and ``shadowed`` is set."""
    told = answer(unbound(plan_of([PLAIN])), [DENIED], Modes(shadow=True))
    assert (told.over, told.shadowed, told.statuses[0].over) == (False, True, True)


def test_a_shadow_limit_over_is_shown_as_ok_with_nothing_left():
    """The status of a shadow limit that is over is OK, remaining 0."""
    told = answer(plan_of([SHADOW]), [DENIED], ENFORCED)
    shown = told.statuses[0]
    assert (shown.over, shown.limit, shown.remaining, shown.reset) == (False, SHADOW, 0, 1)


@pytest.mark.scenario("only some limits of a request can be decided")
def test_a_known_denial_beats_a_failure():
    """OVER_LIMIT stands even when another counter could not be reached; without it the failure is the answer."""
    plan = plan_of([PLAIN], [PLAIN])
    assert Answer(True, None, answer(plan, [DENIED, BROKEN], ENFORCED).statuses, False) == answer(
        plan, [DENIED, BROKEN], ENFORCED
    )
    assert answer(plan, [PASSED, BROKEN], ENFORCED).failure == BROKEN


@pytest.mark.scenario("only some limits of a request can be decided")
def test_a_shadow_limits_failure_fails_nobody():
    """A shadow limit has no effect, so its counter may be unavailable."""
    assert answer(plan_of([SHADOW]), [BROKEN], ENFORCED).failure is None


@pytest.mark.parametrize(
    ("outcomes", "shown"),
    [
        ([PASSED, PASSED._replace(remaining=2)], (1, 2)),
        ([PASSED, DENIED], (1, 0)),
        ([DENIED, DENIED._replace(retry_after=9 * SECOND)], (1, 0)),
        ([DENIED._replace(retry_after=9 * SECOND), DENIED], (0, 0)),
    ],
)
def test_the_binding_limit_of_a_descriptor_is_shown(outcomes, shown):
    """Of several limits: one that is over, of those the longest wait; else the one with the least left."""
    limits = [PLAIN._replace(name=str(n)) for n in range(len(outcomes))]
    status = answer(plan_of(limits), outcomes, ENFORCED).statuses[0]
    assert shown == (int(status.limit.name), status.remaining)


@pytest.mark.parametrize(
    ("decision", "reset"),
    [
        (PASSED._replace(reset_after=1), 1),
        (PASSED._replace(reset_after=58 * SECOND), 58),
        (PASSED._replace(reset_after=0), 0),
        (DENIED._replace(retry_after=1_000_001), 2),
        (DENIED._replace(retry_after=1), 1),
        (DENIED._replace(retry_after=NEVER, reset_after=7 * SECOND), 7),
    ],
)
def test_waits_are_whole_seconds_rounded_up(decision, reset):
    """Envoy cuts fractions off, so they are rounded up here; a denial waits at least a second."""
    assert reset == answer(plan_of([PLAIN]), [decision], ENFORCED).statuses[0].reset


@pytest.mark.parametrize("quota", [0, 60])
@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_cost_that_can_never_pass_is_told_to_wait_for_a_window(algorithm, quota):
    """Whatever the state of its counter: a fixed window says its rest; any other says its window, never one second."""
    now, day = 100_000 * SECOND, 86_400 * SECOND
    rate = make_rate(algorithm, quota, day)
    _, decision = ALGORITHMS[algorithm].step(None, rate, quota + 1, now, 1)
    limit = Limit(rate, quota, Unit.DAY)
    rest = 86_400 - 100_000 % 86_400
    assert answer(plan_of([limit]), [decision], ENFORCED).statuses[0].reset == (
        rest if algorithm == "fixed_window" else 86_400
    )


def test_a_vetoed_charge_counts_as_asked_for_and_nothing_else():
    """What an atomic ask left out is in total_hits, but neither within nor near the limit."""
    plan = plan_of([PLAIN], [PLAIN])
    ask = Ask(plan, [2, 2], atomic=True)
    ask.outcomes = [PASSED._replace(before=9), DENIED]
    tally(ask)
    left_out, denied = tallies(plan)
    assert (left_out.total_hits, left_out.within_limit, left_out.near_limit) == (2, 0, 0)
    assert (denied.total_hits, denied.over_limit) == (2, 2)


@pytest.mark.parametrize("cost", [0, -5])
@pytest.mark.parametrize("limits", [[PLAIN], [PLAIN, SHADOW]])
def test_peeks_and_give_backs_are_not_counted(cost, limits):
    """A cost of 0 or below leaves every counter as it was."""
    plan = plan_of(limits)
    ask = Ask(plan, [cost] * len(limits))
    ask.outcomes = [DENIED] * len(limits)
    tally(ask)
    assert {(each.total_hits, each.over_limit, each.within_limit) for each in tallies(plan)} == {(0, 0, 0)}


def test_hits_are_counted_even_when_the_store_failed():
    """total_hits counts what was asked for, as upstream does, whatever came of it."""
    plan = plan_of([PLAIN])
    ask = Ask(plan, [3])
    ask.outcomes = [BROKEN]
    tally(ask)
    assert (tallies(plan)[0].total_hits, tallies(plan)[0].within_limit) == (3, 0)


def test_metadata_of_passed_descriptors_is_merged_without_touching_the_policy():
    """The first value of a key wins, nested maps are merged, a denied descriptor gives none, the policy stays."""
    first = {"a": 1, "nested": {"x": 1}}
    second = {"a": 2, "nested": {"y": 2}, "b": 3}
    plan = plan_of([PLAIN], [PLAIN], [PLAIN])
    items = [
        item._replace(found=NodeRules((), frozenset(), (), metadata, b""))
        for item, metadata in zip(plan.items, (first, second, {"denied": 1}), strict=True)
    ]
    plan = plan._replace(items=tuple(items))
    told = answer(plan, [PASSED, PASSED, DENIED], ENFORCED)
    assert metadata_of(plan, told.statuses) == {"a": 1, "nested": {"x": 1, "y": 2}, "b": 3}
    assert first["nested"] == {"x": 1}


def test_metadata_that_is_a_value_in_one_descriptor_and_a_map_in_the_next_is_the_first():
    """A map does not replace a value that a descriptor before gave for the same key."""
    plan = plan_of([PLAIN], [PLAIN])
    items = [
        item._replace(found=NodeRules((), frozenset(), (), metadata, b""))
        for item, metadata in zip(plan.items, ({"a": 1}, {"a": {"x": 2}, "b": 3}), strict=True)
    ]
    plan = plan._replace(items=tuple(items))
    assert metadata_of(plan, answer(plan, [PASSED, PASSED], ENFORCED).statuses) == {"a": 1, "b": 3}
