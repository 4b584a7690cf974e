"""The line of one decision: its code, and its fields."""

from collections.abc import Iterator

from ratelimitd.limiter import (
    Answer,
    Ask,
    DescriptorStatus,
    Item,
    Modes,
    descriptor_reason,
    limit_name,
    reason_of,
    shown_charge,
)
from ratelimitd.policy import Descriptor, Ended, Policy, amount_in_words, explain, rule_name


def decision_line(ask: Ask, answer: Answer, modes: Modes, policy: Policy | None) -> tuple[str, dict[str, object]]:
    """Return the code and the fields of a decision; ``policy`` tells why a descriptor has no limit."""
    reason = reason_of(ask, answer, modes)
    code = "failed" if answer.failure else "OVER_LIMIT" if answer.over else "OK"
    fields: dict[str, object] = {
        "domain": _text(ask.plan.request.domain),
        "descriptors": "; ".join(_lines(ask, answer, modes, policy)),
        **({} if reason is None else reason.fields),
    }
    return code, fields | ({"shadow_mode": True} if answer.shadowed else {})


def _lines(ask: Ask, answer: Answer, modes: Modes, policy: Policy | None) -> Iterator[str]:
    plan = ask.plan
    for descriptor, item, status in zip(plan.request.descriptors, plan.items, answer.statuses, strict=True):
        entries = ",".join(f"{_text(key)}={_text(value)}" for key, value in descriptor.entries) or "(no entries)"
        limited = item.unlimited or item.first < item.last
        state = _state(ask, item, status, modes) if limited else _no_limit(policy, plan.request.domain, descriptor)
        yield f"{entries}: {state}"


def _no_limit(policy: Policy | None, domain: bytes, descriptor: Descriptor) -> str:
    """Return where the search for a limit ended."""
    found = None if policy is None else policy.domains.get(domain)
    if found is None:
        return "no limit, the policy does not define the domain"
    explanation = explain(found, descriptor, 0)
    rule = rule_name(domain, explanation.path)
    if explanation.ended is Ended.NO_BRANCH:
        key, value = explanation.rest[0]
        return f"no limit, {_text(key)}={_text(value)} matches nothing below {rule}"
    return f"{rule}: replaced by a limit of this request" if explanation.limits else f"no limit at {rule}"


def _state(ask: Ask, item: Item, status: DescriptorStatus, modes: Modes) -> str:
    """Return the state of a descriptor, with the limit that binds, by its path through the tree."""
    if item.unlimited:
        return "unlimited"
    index = shown_charge(ask, item, status)
    if index is None or status.limit is None:
        return f"{limit_name(ask, item.first)}: undecided"
    reason = descriptor_reason(ask, item, status, modes)
    if reason is not None and reason.failure is not None:
        return f"{limit_name(ask, index)}: {reason.result} without its counter"
    amount = amount_in_words(status.limit, "/")
    left = f"{status.remaining} of {amount} left, reset {status.reset} s"
    return f"{limit_name(ask, index)}: {left}"


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
