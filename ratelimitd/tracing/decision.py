"""The attributes of a decision: they name limits by their position in the policy, and have no value of a request."""

from operator import itemgetter
from typing import Final

from ratelimitd.limiter import Answer, Ask, Modes, limit_name, reason_of, shown_charge

from .span import Attributes

DOMAIN_MOST: Final = 256
"""Characters of a domain that a span shows; names in metrics have as many."""


def decision(ask: Ask, answer: Answer, modes: Modes) -> Attributes:
    """Return domain, result, the limit that decided, and why it did not let the request pass by its counter."""
    domain = ask.plan.request.domain.decode(errors="replace")[:DOMAIN_MOST]
    result = "failed" if answer.failure is not None else "over_limit" if answer.over else "ok"
    found: dict[str, str | int | bool] = {"ratelimitd.domain": domain, "ratelimitd.decision": result}
    reason = reason_of(ask, answer, modes)
    if reason is not None:
        found |= {f"ratelimitd.{name}": value for name, value in reason.fields.items()}
    elif limit := _nearest(ask, answer):
        found["ratelimitd.limit"] = limit
    return found | ({"ratelimitd.shadow_mode": True} if answer.shadowed else {})


def _nearest(ask: Ask, answer: Answer) -> str:
    """Return the name of the limit with the fewest requests left; empty if no limit applies."""
    shown = [
        (status.remaining, shown_charge(ask, item, status))
        for item, status in zip(ask.plan.items, answer.statuses, strict=True)
    ]
    charges = [(remaining, index) for remaining, index in shown if index is not None]
    return limit_name(ask, min(charges, key=itemgetter(0))[1]) if charges else ""
