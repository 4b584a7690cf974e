"""What the charges of a call do with holds: under which names they take them, and which ones they release."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ratelimitd.algorithms import (
    ALL,
    AMOUNTS_MOST,
    MIXED,
    NO_LEASE,
    OWN,
    RENEW,
    SETTLES,
    SHARED,
    UNKNOWN,
    Hold,
    HoldDecision,
    is_by_holds,
    lease_of,
    name_of,
    names_of,
    where_held,
)
from ratelimitd.policy import is_concurrent

from .keys import is_overflow_key
from .roles import SETTLEMENT
from .seam import NO_FAILURES, TOGETHER_MAX, Ask, Charge, Failure, Item, LimitRequest, Plan

PLACE: Final = 1
"""Cost of a request on a limit on requests in progress, whatever it is elsewhere. Its settlement costs nothing."""


def set_holds(plan: Plan, call: bytes) -> None:
    """Set the hold of each charge whose limit has holds, in the order of the plan.

    A counter is held once by a call, by the name, and released once, however many of its descriptors charge it. Their
    holds have as many amounts as a lease has room for; a request past that is decided alike, and holds nothing.
    """
    plan.call = call
    released: set[bytes] = set()
    held: set[bytes] = set()
    amounts: set[int] = set()
    for position, item in enumerate(plan.items):
        descriptor = plan.request.descriptors[position]
        for index in range(item.first, item.last):
            charge = plan.charges[index]
            reserve = charge.rule.limit.reserve
            if reserve is None:
                continue
            settles, cost = charge.flags >= SETTLES, plan.costs[index]
            if cost > 0 and is_concurrent(charge.limit):
                plan.costs[index] = 0 if settles else PLACE
            if settles:
                charge.hold = _released(reserve.ttl, descriptor.lease, plan.request, again=charge.key in released)
                released.add(charge.key)
            elif cost < 0:
                charge.hold = Hold(reserve.ttl)
            else:
                amount = charge.rule.amount
                # Two script calls would take one name twice.
                again = charge.key in held and len(plan.charges) > TOGETHER_MAX
                holds = not (again or plan.request.looks) and (amount in amounts or len(amounts) < AMOUNTS_MOST)
                held.add(charge.key)
                if holds:
                    amounts.add(amount)
                charge.hold = Hold(reserve.ttl, amount, (name_of(call, amount),) if holds else ())


def _released(ttl: int, lease: bytes | None, request: LimitRequest, *, again: bool) -> Hold:
    """Return what a settlement releases. One of a tool, without a lease, belongs to no request in progress."""
    if again or (lease is None and request.looks):
        return Hold(ttl)
    if lease is None:
        return Hold(ttl, newest=True)
    return Hold(ttl) if lease in NO_LEASE else Hold(ttl, 0, names_of(lease))


def release_all(plan: Plan) -> None:
    """Have the charges of a plan release all holds of their counters."""
    for charge in plan.charges:
        if charge.hold is not None:
            charge.hold = Hold(charge.hold.ttl, ALL)


def without(hold: Hold) -> Hold:
    """Return a hold that releases nothing, for a settlement whose hold something else has released."""
    return Hold(hold.ttl, hold.amount)


def resized(hold: Hold, call: bytes, most: int) -> Hold:
    """Return the hold of a charge on a smaller limit, where a request holds at most this much."""
    if hold.amount <= most:
        return hold
    return Hold(hold.ttl, most, (name_of(call, most),) if hold.names else ())


def taken(ask: Ask) -> Iterator[tuple[int, int]]:
    """Yield the index of each charge that took a hold, and its amount."""
    for index, outcome in enumerate(ask.outcomes):
        if isinstance(outcome, HoldDecision) and outcome.moved and ask.plan.charges[index].flags < SETTLES:
            yield index, outcome.moved


def lease(ask: Ask) -> bytes:
    """Return the lease of the holds that an ask took; empty if it took none."""
    amounts: list[int] = []
    shared = 0
    for index, amount in taken(ask):
        amounts.append(amount)
        shared += is_overflow_key(ask.plan.charges[index].key)
    if not amounts:
        return b""
    where = MIXED if shared else OWN
    return lease_of(ask.plan.call, amounts, SHARED if shared == len(amounts) else where)


def origin(plan: Plan, position: int, charge: Charge) -> bytes:
    """Return where the hold is that a settlement or release names, see ``where_held``; empty if it names none.

    One that the engine makes for the holds of an ask is charged where that ask was.
    """
    hold = charge.hold
    if hold is None or charge.flags < SETTLES or not hold.names or hold.names == UNKNOWN:
        return b""
    descriptors = plan.request.descriptors
    lease = descriptors[position].lease if descriptors else None
    return OWN if lease is None else where_held(lease)


def release(ask: Ask) -> Ask | None:
    """Return an ask that releases the holds that another one took; None if it took none."""
    return _again(ask, 0)


def renewal(ask: Ask, tag: Any = None) -> Ask | None:
    """Return an ask, with this tag, that has the holds that another one took expire later; None if it took none."""
    renewed = _again(ask, RENEW)
    if renewed is not None:
        renewed.tag = tag
    return renewed


def ttl_of(ask: Ask) -> int:
    """Return the µs after which the first hold that an ask took expires; 0 if it took none."""
    shortest = 0
    for index, _ in taken(ask):
        hold = ask.plan.charges[index].hold
        if hold is not None and (not shortest or hold.ttl < shortest):
            shortest = hold.ttl
    return shortest


def _again(ask: Ask, amount_of_hold: int) -> Ask | None:
    """Return an ask of the holds that another one took, by their names, with the failures of those charges."""
    failures: dict[int, Failure] = {}
    charges: list[Charge] = []
    items: list[Item] = []
    for index, amount in taken(ask):
        made = ask.plan.charges[index]
        ttl = made.hold.ttl if made.hold is not None else 0
        hold = Hold(ttl, amount_of_hold, (name_of(ask.plan.call, amount),))
        if index in ask.failures:
            failures[len(charges)] = ask.failures[index]
        charges.append(Charge(made.rule, made.key, SETTLEMENT, hold))
        items.append(_item_of(ask.plan.items, index, len(items)))
    if not charges:
        return None
    request = LimitRequest(ask.plan.request.domain, ())
    again = Ask(Plan(tuple(charges), request=request, items=tuple(items)), [0] * len(charges))
    again.failures = failures or NO_FAILURES
    return again


def _item_of(items: Sequence[Item], index: int, at: int) -> Item:
    """Return the item of a charge, as one of this charge alone."""
    for item in items:
        if item.first <= index < item.last:
            return Item(at, at + 1, unlimited=False, found=item.found, entries=item.entries)
    raise ValueError(f"no descriptor makes charge {index}")


def count_holds(ask: Ask) -> None:
    """Count what an ask did with holds in the tallies of its limits."""
    for index, outcome in enumerate(ask.outcomes):
        if not isinstance(outcome, HoldDecision):
            continue
        charge = ask.plan.charges[index]
        rate, hold, later = charge.rule.rate, charge.hold, charge.rule.tally.later()
        later.holds_expired += outcome.expired
        if rate is None or hold is None:
            continue
        if charge.flags >= SETTLES:
            later.leases_unknown += len(hold.names) > 0 and not outcome.moved
        else:
            later.holds += outcome.moved > 0
            later.refused_by_holds += is_by_holds(rate, outcome, max(1, ask.costs[index]))
