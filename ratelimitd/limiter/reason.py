"""Why a request was denied, failed, or passed without its counter.

A reason is derived from an ask and its answer when an edge needs it, so a decision itself costs nothing more. It names
the limit by its position in the policy and contains no value of a request.
"""

from enum import StrEnum
from typing import Final, Literal, NamedTuple

from ratelimitd.algorithms import NEVER, Decision, wait_for_never
from ratelimitd.policy import Limit, OnStoreFailure, rule_name

from .answer import Answer, DescriptorStatus
from .keys import is_overflow_key
from .modes import Modes
from .seam import Ask, Failure, FailureKind, Item, Outcome


class ReasonKind(StrEnum):
    """The kinds of reasons; logs, metrics and responses use these names."""

    OVER_LIMIT = "over_limit"
    QUOTA = "quota"
    OVERRIDE = "override"
    NEW_KEYS = "new_keys"
    STORE_FAILURE = "store_failure"
    NO_POLICY = "no_policy"
    INTERNAL_ERROR = "internal_error"


SENTENCES: Final = {
    ReasonKind.OVER_LIMIT: "over the limit {limit}",
    ReasonKind.QUOTA: "over every quota limit of the request; the longest wait is that of {limit}",
    ReasonKind.OVERRIDE: "over the limit that the request carries ({limit})",
    ReasonKind.NEW_KEYS: "over the counter that new keys of the limit {limit} share (NEW_KEYS_PER_SECOND)",
    ReasonKind.NO_POLICY: "no policy is loaded yet",
    ReasonKind.INTERNAL_ERROR: "an internal error prevented a decision; see the log",
}

AWAY: Final = {FailureKind.TIMEOUT, FailureKind.DISCONNECTED, FailureKind.OPEN}
"""Failures of a store that does not answer at all."""


Result = Literal["denied", "failed", "allowed"]
"""What happened to the request."""


class Reason(NamedTuple):
    """The reason of one answer.

    Attributes:
        limit: limit that decided, as ``limit_name``; "" if none was reached.
        failure: kind of the store's failure; None unless ``kind`` is STORE_FAILURE.
        policy: what decided after the failure: the limit's ``on_store_failure``.
        never: why the cost can never pass; "" if it can.
    """

    kind: ReasonKind
    limit: str = ""
    failure: FailureKind | None = None
    policy: OnStoreFailure | None = None
    result: Result = "denied"
    never: str = ""

    @property
    def sentence(self) -> str:
        """The reason in words."""
        if self.failure is None or self.policy is None:
            return SENTENCES[self.kind].format(limit=self.limit) + (f"; {self.never}" if self.never else "")
        state = "away" if self.failure in AWAY else "failed"
        policy = self.policy.name.lower()
        return f"store {state} ({self.failure}), {self.result} by on_store_failure: {policy} (limit {self.limit})"

    @property
    def fields(self) -> dict[str, str]:
        """The reason as names and values; a field without a value is absent."""
        found = {"reason": str(self.kind), "limit": self.limit}
        if self.failure is not None and self.policy is not None:
            found |= {"failure": str(self.failure), "on_store_failure": self.policy.name.lower()}
        return {name: value for name, value in found.items() if value}


NO_POLICY: Final = Reason(ReasonKind.NO_POLICY, result="failed")
INTERNAL_ERROR: Final = Reason(ReasonKind.INTERNAL_ERROR, result="failed")


def reason_of(ask: Ask, answer: Answer, modes: Modes) -> Reason | None:
    """Return why a request was denied (also if SHADOW_MODE let it pass), failed, or passed without a counter.

    Of several limits that deny it is the one with the longest wait; one that was counted precedes one whose counter
    was unavailable. None: every limit allowed the request, by its counter.
    """
    if answer.failure is not None:
        return _reason(ask, _first_failure(ask), OnStoreFailure.ERROR, "failed")
    if answer.over or answer.shadowed:
        return _reason(ask, _deciding(ask, modes), None, "denied", quota=modes.quota)
    if ask.failures:
        passed = next((index for index in ask.failures if not ask.plan.charges[index].limit.shadow_mode), None)
        return None if passed is None else _reason(ask, passed, None, "allowed")
    return None


def descriptor_reason(ask: Ask, item: Item, status: DescriptorStatus, modes: Modes) -> Reason | None:
    """Return why a descriptor is over its limit, or passed without a counter; None for any other status."""
    index = shown_charge(ask, item, status)
    if index is None or not (status.over or index in ask.failures):
        return None
    return _reason(ask, index, None, "denied" if status.over else "allowed", quota=modes.quota)


def shown_charge(ask: Ask, item: Item, status: DescriptorStatus) -> int | None:
    """Return the index of the charge whose limit a status shows; None if it shows none."""
    if status.limit is None:
        return None
    return next(index for index in range(item.first, item.last) if ask.plan.charges[index].limit is status.limit)


def _first_failure(ask: Ask) -> int:
    charged = zip(ask.plan.charges, ask.outcomes, strict=True)
    return next(
        index
        for index, (charge, outcome) in enumerate(charged)
        if isinstance(outcome, Failure) and not charge.limit.shadow_mode
    )


def _deciding(ask: Ask, modes: Modes) -> int:
    """Return the index of the charge that decided a denial."""
    charges = ask.plan.charges
    waits = {
        index: _wait(charges[index].limit, outcome)
        for index, outcome in enumerate(ask.outcomes)
        if isinstance(outcome, Decision) and not outcome.allowed and not charges[index].limit.shadow_mode
    }
    enforced = [index for index in waits if not (modes.quota or charges[index].limit.quota_mode)]
    return max(enforced or waits, key=lambda index: (index not in ask.failures, waits[index]))


def _reason(ask: Ask, index: int, policy: OnStoreFailure | None, result: Result, *, quota: bool = False) -> Reason:
    charge = ask.plan.charges[index]
    limit = limit_name(ask, index)
    failed = ask.failures.get(index) or ask.outcomes[index]
    if isinstance(failed, Failure):
        decided = charge.limit.on_store_failure if policy is None else policy
        return Reason(ReasonKind.STORE_FAILURE, limit, failed.kind, decided, result)
    return Reason(denied_by(ask, index, quota=quota), limit, result=result, never=_never(charge.limit, failed))


def denied_by(ask: Ask, index: int, *, quota: bool = False) -> ReasonKind:
    """Return what denied a charge; ``quota``: QUOTA_MODE."""
    charge, found = ask.plan.charges[index], _item(ask, index).found
    if index in ask.failures:
        return ReasonKind.STORE_FAILURE
    if is_overflow_key(charge.key):
        return ReasonKind.NEW_KEYS
    if found is not None and found.overridden:
        return ReasonKind.OVERRIDE
    return ReasonKind.QUOTA if quota or charge.limit.quota_mode else ReasonKind.OVER_LIMIT


def _wait(limit: Limit, decision: Decision) -> int:
    if decision.retry_after == NEVER and limit.rate is not None:
        return wait_for_never(limit.rate, decision.reset_after)
    return decision.retry_after


def _never(limit: Limit, outcome: Outcome) -> str:
    """Return why a denied cost can never pass."""
    if not isinstance(outcome, Decision) or outcome.retry_after != NEVER or limit.rate is None:
        return ""
    if limit.rate.quota == 0:
        return "a limit of 0 lets nothing pass"
    what = "burst" if limit.rate.burst != limit.rate.quota else "limit"
    return f"this cost can never pass: it exceeds the {what} of {limit.rate.burst}"


def _item(ask: Ask, index: int) -> Item:
    return next(item for item in ask.plan.items if item.first <= index < item.last)


def limit_name(ask: Ask, index: int) -> str:
    """Return the name of the limit of a charge: its position in the policy, and which one of several it is.

    It is the limit's name in metrics, but with the rule's own values in place of those of the request.
    """
    found, limit = _item(ask, index).found, ask.plan.charges[index].limit
    if found is None:
        return ""
    item = f".limit_{limit.item}" if limit.item else ""
    return rule_name(ask.plan.request.domain, found.path) + item
