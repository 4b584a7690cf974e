"""From outcomes to an answer: a status per descriptor, and whether the request is over limit."""

from collections.abc import Mapping, Sequence
from typing import Final

from ratelimitd.algorithms import BINDING, NEVER, POST_PAID, SETTLES, Decision, is_by_holds, wait_for_never
from ratelimitd.config.values import UINT32_MAX
from ratelimitd.policy import Charging, Limit
from ratelimitd.value import Value

from .modes import Modes
from .rules import Rule
from .seam import Ask, Charge, Failure, Item, Outcome, Plan, Remembered, Watcher
from .stats import count


class DescriptorStatus(Value):
    """Status of one descriptor.

    Attributes:
        over: whether the status is OVER_LIMIT.
        rule: rule of the limit that binds; None if no limit applies or its counter was unavailable.
        remaining: requests left, 0 when over limit.
        reset: whole seconds until the same cost could pass (when over limit), or until the counter is at rest. For a
            cost that can never pass, the rest of a fixed window, or the window of any other limit.
    """

    __match_args__ = ("over", "rule", "remaining", "reset")
    __slots__ = __match_args__

    def __init__(self, over: bool, rule: Rule | None, remaining: int, reset: int) -> None:
        self.over = over
        self.rule = rule
        self.remaining = remaining
        self.reset = reset

    @property
    def limit(self) -> Limit | None:
        """Limit that binds."""
        return None if self.rule is None else self.rule.limit


class Answer(Value):
    """Decision about a whole request.

    Attributes:
        over: whether the overall code is OVER_LIMIT.
        failure: set if the request must fail instead: no denial is known, and a counter was unavailable whose limit
            has ``on_store_failure: error``.
        statuses: one per descriptor, in order.
        shadowed: whether SHADOW_MODE turned OVER_LIMIT to OK.
        lease: the lease of the holds that the request took; empty if it took none.
    """

    __match_args__ = ("over", "failure", "statuses", "shadowed", "lease")
    __slots__ = __match_args__

    def __init__(
        self,
        over: bool,
        failure: Failure | None,
        statuses: tuple[DescriptorStatus, ...],
        shadowed: bool,
        lease: bytes = b"",
    ) -> None:
        self.over = over
        self.failure = failure
        self.statuses = statuses
        self.shadowed = shadowed
        self.lease = lease


NO_LIMIT: Final = DescriptorStatus(over=False, rule=None, remaining=0, reset=0)
UNLIMITED: Final = DescriptorStatus(over=False, rule=None, remaining=UINT32_MAX, reset=0)


def answer(plan: Plan, outcomes: Sequence[Outcome], modes: Modes) -> Answer:
    """Apply the rules of shadow and quota limits to the outcomes (as envoyproxy/ratelimit's service does).

    The request is over limit if a limit that is neither shadow nor quota denied it, or if every descriptor with a
    quota limit is over limit. A shadow limit has no effect. A known denial overrides a failure.
    """
    charges = plan.charges
    statuses: list[DescriptorStatus] = []
    failure: Failure | None = None
    over = False
    quotas = quotas_over = 0
    for item in plan.items:
        first, last = item.first, item.last
        if first == last:
            statuses.append(UNLIMITED if item.unlimited else NO_LIMIT)
            quotas += modes.quota and not item.unlimited
            continue
        outcome, rule = outcomes[first], charges[first].rule
        if first + 1 == last and rule.flags & BINDING != 0 and isinstance(outcome, Decision):
            # Most descriptors have one limit that is always enforced, which needs no comparison.
            denied = not outcome.allowed
            over = over or denied
            statuses.append(_status(rule, outcome, denied))
            continue
        verdict = _verdict(plan, item, outcomes, modes)
        statuses.append(verdict.status)
        failure = failure or verdict.failure
        over = over or verdict.over
        quotas += verdict.quota
        quotas_over += verdict.quota_over
    over = over or (quotas > 0 and quotas == quotas_over)
    shadowed = over and modes.shadow
    return Answer(over and not shadowed, None if over else failure, tuple(statuses), shadowed)


class _Verdict(Value):
    __match_args__ = ("status", "over", "quota", "quota_over", "failure")
    __slots__ = __match_args__

    def __init__(
        self, status: DescriptorStatus, over: bool, quota: bool, quota_over: bool, failure: Failure | None
    ) -> None:
        self.status = status
        self.over = over
        self.quota = quota
        self.quota_over = quota_over
        self.failure = failure


def _verdict(plan: Plan, item: Item, outcomes: Sequence[Outcome], modes: Modes) -> _Verdict:
    """Combine the limits of one descriptor; the status shows the one that binds."""
    over = quota = quota_over = False
    failure: Failure | None = None
    shown: DescriptorStatus | None = None
    weight: tuple[bool, bool, int] = (True, True, 0)
    for index in range(item.first, item.last):
        charge, outcome = plan.charges[index], outcomes[index]
        rule, limit = charge.rule, charge.rule.limit
        if isinstance(outcome, Decision):
            denied = not outcome.allowed and not limit.shadow_mode
            if not (modes.quota or limit.quota_mode):
                over = over or denied
            elif charge.flags < SETTLES:  # a settlement asks for no quota
                quota = quota or not limit.shadow_mode
                quota_over = quota_over or denied
            status = _status(rule, outcome, denied)
            heaviness = (not denied, limit.shadow_mode, -status.reset if denied else status.remaining)
            if shown is None or heaviness < weight:
                shown, weight = status, heaviness
        elif isinstance(outcome, Failure) and not limit.shadow_mode:
            failure = failure or outcome
    return _Verdict(shown or NO_LIMIT, over, quota, quota_over, failure)


def _status(rule: Rule, decision: Decision, denied: bool) -> DescriptorStatus:
    """Make a status. Seconds are rounded up: Envoy truncates fractions, and a retry that is too early is denied."""
    if decision.allowed:
        return DescriptorStatus(False, rule, decision.remaining, -(-decision.reset_after // 1_000_000))  # noqa: FBT003
    wait, rate = decision.retry_after, rule.rate
    if wait == NEVER and rate is not None:
        wait = wait_for_never(rate, decision.reset_after)
    return DescriptorStatus(denied, rule, 0, max(1, -(-wait // 1_000_000)))


AFTER_ERROR: Final = 1 << 20
"""Hits of a limit after an error of the watcher until it sees one again: as many as a sample may stand for."""


def tally(ask: Ask, watcher: Watcher | None = None, now: int = 0) -> list[int] | None:
    """Count the outcome of each charge in the tally of its limit, and show it to a watcher that is due.

    A charge that an atomic ask did not apply, because another limit vetoed it, adds to ``total_hits`` only. Settlements
    are counted as such when their store has recorded them; others wait or are lost, whatever another store decided.
    Return the charges that cost nothing, since they were refused, of limits without ``charge``; None if there are none.
    """
    charges, costs = ask.plan.charges, ask.costs
    vetoed = is_vetoed(ask)
    if len(ask.failures) > 0:
        _failed(ask)
    refused: list[int] | None = None
    for index, outcome in enumerate(ask.outcomes):
        cost, charge = costs[index], charges[index]
        rule = charge.rule
        if cost <= 0:
            if charge.flags == QUESTION and cost == 0:
                _asked(ask, index, vetoed, watcher, now)
            continue
        rule.tally.total_hits += cost
        if isinstance(outcome, Decision) and _counted(ask, index, outcome, vetoed):
            refused = [index] if refused is None else [*refused, index]
        if watcher is not None:
            _watched(ask, index, watcher, now)
    return refused


def _counted(ask: Ask, index: int, outcome: Decision, vetoed: bool) -> bool:
    """Count a decision about a cost; return whether it may have been spent, and was refused."""
    charge, cost = ask.plan.charges[index], ask.costs[index]
    rule = charge.rule
    settles = charge.flags >= SETTLES
    if settles or not (vetoed and outcome.allowed):
        before = outcome.before if charge.hold is None else _before(charge, outcome, cost)
        count(rule.tally, rule.capacity, rule.near, before, cost, shadow=rule.limit.shadow_mode)
    if settles:
        if index not in ask.failures:
            rule.settled(outcome.before, cost, ask.plan.request.ours)
        return False
    return (vetoed or (rule.auto and not outcome.allowed)) and _may_be_spent(rule, cost, outcome)


def _watched(ask: Ask, index: int, watcher: Watcher, now: int) -> None:
    """Show a charge to a watcher that is due. An error of it costs no call: its next look at the limit is far away."""
    counted = ask.plan.charges[index].rule.tally
    try:
        if counted.total_hits >= counted.hits_due:
            watcher.hits(ask, index, now)
        if counted.over_limit >= counted.denied_due:
            watcher.denied(ask, index, now)
    except Exception as error:  # noqa: BLE001 -- the watcher tells its edge
        counted.hits_due = counted.total_hits + AFTER_ERROR
        counted.denied_due = counted.over_limit + AFTER_ERROR
        watcher.failed(error)


def _failed(ask: Ask) -> None:
    """Count hits whose store failed."""
    for index in ask.failures:
        ask.plan.charges[index].rule.tally.failed += max(0, ask.costs[index])


def _asked(ask: Ask, index: int, vetoed: bool, watcher: Watcher | None, now: int) -> None:
    """Count a question that passed; one that did not is no hit, so it has no threshold."""
    outcome = ask.outcomes[index]
    if not isinstance(outcome, Decision):
        return
    if not outcome.allowed:
        if watcher is not None:
            try:
                watcher.denied(ask, index, now)
            except Exception as error:  # noqa: BLE001 -- as in _watched
                watcher.failed(error)
    elif not vetoed:
        ask.plan.charges[index].rule.tally.later().questions += 1


def is_vetoed(ask: Ask) -> bool:
    """Whether a denial of a binding charge kept the others of an atomic ask from being applied."""
    return ask.atomic and any(
        charge.binding and isinstance(outcome, Decision) and not outcome.allowed
        for charge, outcome in zip(ask.plan.charges, ask.outcomes, strict=True)
    )


def over_of(charge: Charge, decision: Decision, cost: int) -> int:
    """Return the hits of a charge that are past the limit, as ``count`` adds them to ``over_limit``."""
    before = decision.before if charge.hold is None else _before(charge, decision, cost)
    return max(0, min(cost, before + cost - charge.rule.capacity))


def _before(charge: Charge, decision: Decision, cost: int) -> int:
    """Return the count before a charge of a limit with holds; the whole limit if those of others refuse it."""
    rate = charge.rule.rate
    if rate is None or charge.flags >= SETTLES or not is_by_holds(rate, decision, cost):
        return decision.before
    return rate.burst


QUESTION: Final = POST_PAID | BINDING
"""Flags of a question of a limit that is enforced; one of a shadow limit is not counted."""


def _may_be_spent(rule: Rule, cost: int, denial: Decision) -> bool:
    """Whether a cost that was refused may be a report: more than that of one request, or of a limit asked with 0.

    The guard that remembers a denial reports itself what a limit would have counted that decides as upstream's.
    """
    if rule.limit.charge is not Charging.UNSAID or (rule.upstreams and isinstance(denial, Remembered)):
        return False
    return cost > 1 or rule.switch is not None


def metadata_of(plan: Plan, statuses: Sequence[DescriptorStatus]) -> Mapping[str, object] | None:
    """Merge the policy's ``metadata`` of the descriptors that passed a limit; the first value of a key wins.

    The result shares no object that a later request could change.
    """
    merged: dict[str, object] = {}
    for item, status in zip(plan.items, statuses, strict=True):
        metadata = None if item.found is None else item.found.metadata
        if metadata and not item.unlimited and not status.over:
            _merge(merged, metadata)
    return merged or None


def _merge(into: dict[str, object], source: Mapping[str, object]) -> None:
    for key, value in source.items():
        if isinstance(value, Mapping):
            held = into.setdefault(key, {})
            if isinstance(held, dict):
                _merge(held, value)
        else:
            into.setdefault(key, value)
