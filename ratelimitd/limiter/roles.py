"""What the hits of a descriptor mean to a limit: the role of a charge, as its flags."""

from collections.abc import Sequence
from typing import Final

from ratelimitd.algorithms import BINDING, LOOK, POST_PAID, SETTLES
from ratelimitd.policy import Descriptor

from .rules import NodeRules, Rule
from .seam import Ask

SETTLEMENT: Final = LOOK
"""Flags of a settlement; of a release, if its cost is 0. Neither denies a request, so it is not binding."""


def flags_of(rule: Rule, descriptor: Descriptor) -> int:
    """Return the flags of a charge that this descriptor makes on the counter of a rule."""
    flags, switch = rule.flags, rule.switch
    if descriptor.lease is None:
        if switch is not None and switch.on:
            flags |= POST_PAID
        if flags < POST_PAID or not descriptor.hits:
            return flags
    return flags & ~BINDING | POST_PAID if descriptor.negative and descriptor.hits else SETTLEMENT


def has_roles(found: NodeRules, descriptor: Descriptor) -> bool:
    """Whether the flags of a charge may differ from those of its rule."""
    if descriptor.lease is not None:
        return True
    if not found.roles:
        return False
    if found.holds or found.switched:
        return True
    hits = descriptor.hits
    return hits is not None and (hits == 0 or found.after)


def asks(descriptor: Descriptor) -> bool:
    """Whether the descriptor asks with an explicit 0."""
    return descriptor.hits == 0 and descriptor.lease is None


def is_independent(ask: Ask, index: int) -> bool:
    """Whether a charge is made whatever becomes of the others: a settlement, or a give-back of a post-paid limit."""
    flags = ask.plan.charges[index].flags
    return flags >= SETTLES or (flags >= POST_PAID and ask.costs[index] < 0)


def in_order(ask: Ask, indices: Sequence[int]) -> Sequence[int]:
    """Return charges of an ask in the order in which they are made: give-backs first.

    One that is larger than what is used is cut at 0, and must not cut a charge beside it. Limits that decide as
    envoyproxy/ratelimit does keep the order of the request.
    """
    costs, charges = ask.costs, ask.plan.charges
    if not ask.plan.mixed or len(indices) < 2 or min(costs) >= 0:
        return indices
    first = [index for index in indices if costs[index] < 0 and not charges[index].rule.upstreams]
    return [*first, *[index for index in indices if index not in first]] if first else indices
