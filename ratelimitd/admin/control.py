"""The admin API: read and reset the counters of a key, and show the active policy.

It bypasses the guards and calls the store directly, so that a look-up charges nothing, appears in no metric and is not
denied by a cache of this process.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, cast

from ratelimitd.algorithms import SATURATED, SECOND, Decision, HoldDecision, counter_key
from ratelimitd.descriptor_text import show
from ratelimitd.limiter import (
    Charge,
    Failure,
    LimitRequest,
    OverLimitCache,
    Plan,
    Store,
    release_all,
    shared,
    wanted,
)
from ratelimitd.observe.logs import get_logger
from ratelimitd.policy import OnStoreFailure, Policy, node_at, where_fields, where_of

from .direct import PEEK, ask_store
from .http import PageHandler, PageRequest, PageResponse, PageTable, as_json
from .key_query import Read, key_request
from .rlconfig import EXTENSIONS

log = get_logger(__name__)

EVERYTHING: Final = -SATURATED
"""A cost that gives back everything a counter can contain. The largest cost of a request would not suffice: a fixed
window also counts rejected hits, so it may exceed one cost. The sum with it is exact, in Lua too (a double)."""

ELSEWHERE: Final = (
    "other processes that use this Redis may keep a denial in local memory (LOCAL_CACHE_SIZE_IN_BYTES, "
    "on_store_failure: local) until it expires"
)


SAID: Final = ("charge", "reserve", "ttl", "queue")
"""Keys of a limit that say when its costs come and what waits for it, shown where the policy has them."""


class Control(NamedTuple):
    """Parts of a service that the handlers use.

    Attributes:
        read: see ``key_query.Read``.
        plan: plans a request without counting it; returns None if no policy is loaded yet.
        policy: returns the policy by which that was planned.
        store, where: the store of the counters, and its name.
        cache: the over-limit cache of this process, if enabled.
        fallback, replicas: the local counters used while the store is unavailable, if any, and among how many processes
            they share a limit.
        clock: returns the wall-clock time, µs.
    """

    read: Read
    plan: Callable[[LimitRequest], Plan | None]
    policy: Callable[[], Policy | None]
    store: Store
    where: str
    cache: OverLimitCache | None
    fallback: Store | None
    clock: Callable[[], int]
    replicas: int = 1


Fields = dict[str, Any]

Settled = Decision | Failure
"""An outcome after the store has completed the ask; none is open then."""


def key_page(control: Control) -> PageHandler:
    """Make a handler that shows the counters of a key without charging them."""

    async def handler(request: PageRequest) -> PageResponse:
        plan = _planned(control, request)
        if isinstance(plan, PageResponse):
            return plan
        now = control.clock()
        wheres = _wheres(control.policy(), plan)  # a reload takes the policy apart, at any await
        outcomes = await _settled(control.store, plan, PEEK, now)
        limits = [
            _names(charge, now) | {"where": where} | _limit(charge) | _state(control, charge, cost, outcome, now)
            for charge, where, cost, outcome in zip(plan.charges, wheres, plan.costs, outcomes, strict=True)
        ]
        await _add_local(control, plan, outcomes, limits, now)
        return _answer(control, plan, outcomes, limits)

    return handler


def reset_page(control: Control) -> PageHandler:
    """Make a handler that resets each counter of a key: in the store, then in the local memory of this process.

    The order matters: until the store is reset, the cache may still learn a denial decided before.
    """

    async def handler(request: PageRequest) -> PageResponse:
        plan = _planned(control, request)
        if isinstance(plan, PageResponse):
            return plan
        now = control.clock()
        release_all(plan)
        outcomes = await _settled(control.store, plan, EVERYTHING, now)
        if control.fallback is not None:
            await _settled(control.fallback, Plan(shared(plan, control.replicas)), EVERYTHING, now)
        if control.cache is not None:
            for charge in plan.charges:
                control.cache.forget(charge.key)
        limits = [_names(charge, now) | _reset(outcome) for charge, outcome in zip(plan.charges, outcomes, strict=True)]
        log.warning(
            "counters reset",
            peer=request.peer,
            domain=plan.request.domain,
            descriptors=_shown(plan),
            counters=[limit["counter"] for limit in limits],
            failed=[str(outcome.kind) for outcome in outcomes if isinstance(outcome, Failure)],
        )
        note = {} if control.fallback is None else {"note": ELSEWHERE}
        return _answer(control, plan, outcomes, limits, note)

    return handler


def contents_page(table: PageTable) -> PageHandler:
    """Make a handler that lists a table: the help of each path."""

    async def handler(_: PageRequest) -> PageResponse:
        return as_json(200, {path: page.help for path, page in table.items()})

    return handler


def policy_page(active: Callable[[], Fields]) -> PageHandler:
    """Make a handler that shows the active policy; its ETag (RFC 9110, 8.8.3) covers all fields but ``age_seconds``."""

    async def handler(request: PageRequest) -> PageResponse:
        fields = active()
        lasting = json.dumps({**fields, "age_seconds": None})
        etag = f'W/"{hashlib.sha256(lasting.encode()).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return PageResponse(304, b"", headers={"ETag": etag, "Cache-Control": "no-store"})
        return as_json(200, fields, {"ETag": etag})

    return handler


def _planned(control: Control, request: PageRequest) -> Plan | PageResponse:
    """Return the plan for the key that the request names, or the error response."""
    try:
        asked = key_request(request, control.read)
        asked.ours = asked.looks = True
        plan = control.plan(asked)
    except ValueError as error:
        return as_json(400, {"error": _text(str(error).encode(errors="backslashreplace"))})
    if plan is None:
        return as_json(503, {"error": "no policy is loaded yet"})
    tried = {"domain": _text(plan.request.domain), "descriptors": _shown(plan)}
    if not plan.known_domain:
        return as_json(404, {"error": "the policy does not define this domain", "tried": tried})
    if not any(item.found for item in plan.items):
        return as_json(404, {"error": "no limit of the policy applies", "tried": tried})
    return plan


async def _settled(store: Store, plan: Plan, cost: int, now: int) -> list[Settled]:
    """Charge one cost to every counter of a plan; return the outcomes."""
    if not plan.charges:
        return []
    (ask,) = await ask_store(store, (plan,), cost, now)
    return cast("list[Settled]", ask.outcomes)


async def _add_local(control: Control, plan: Plan, outcomes: list[Settled], limits: list[Fields], now: int) -> None:
    """Add the local counter by which this process decides in place of a counter that cannot be reached."""
    decides = [
        isinstance(outcome, Failure) and charge.limit.on_store_failure is OnStoreFailure.LOCAL
        for charge, outcome in zip(plan.charges, outcomes, strict=True)
    ]
    if control.fallback is None or not any(decides):
        return
    local = await _settled(control.fallback, Plan(shared(plan, control.replicas)), PEEK, now)
    for limit, charge, decision, decided in zip(limits, plan.charges, local, decides, strict=True):
        need = wanted(charge, limit["cost"])
        if decided and isinstance(decision, Decision):
            limit["local"] = {"allowed": need <= decision.remaining and _has_room(decision), **_counted(decision)}


def _answer(
    control: Control, plan: Plan, outcomes: list[Settled], limits: list[Fields], more: Fields | None = None
) -> PageResponse:
    """Respond with the limits of each descriptor: 200, or 503 if a counter could not be reached."""
    fields: Fields = {
        "domain": _text(plan.request.domain),
        "store": control.where,
        "descriptors": [
            {"descriptor": shown, "unlimited": item.unlimited, "limits": limits[item.first : item.last]}
            for shown, item in zip(_shown(plan), plan.items, strict=True)
        ],
        **(more or {}),
    }
    failure = next(_failures(outcomes), None)
    if failure is None:
        return as_json(200, fields)
    return as_json(503, {"error": failure.message, "kind": str(failure.kind), **fields})


def _failures(outcomes: list[Settled]) -> Iterator[Failure]:
    return (outcome for outcome in outcomes if isinstance(outcome, Failure))


def _names(charge: Charge, now: int) -> Fields:
    limit, rate = charge.limit, charge.limit.rate
    counter = charge.key if rate is None else counter_key(charge.key, rate, now)
    return {"limit": limit.name or limit.item, "counter": _text(counter)}


def _wheres(policy: Policy | None, plan: Plan) -> list[Fields | None]:
    """Return where the limit of each charge is written; None for one that the request carries."""
    wheres: list[Fields | None] = [None] * len(plan.charges)
    domain = None if policy is None else policy.domains.get(plan.request.domain)
    for item in plan.items:
        found = item.found
        if policy is None or domain is None or found is None or found.overridden:
            continue
        node = node_at(domain, found.path)
        if node is None:
            continue
        for index in range(item.first, item.last):
            wheres[index] = where_fields(where_of(policy, node, found.rules.index(plan.charges[index].rule)))
    return wheres


def _limit(charge: Charge) -> Fields:
    limit, rate = charge.limit, charge.limit.rate
    numbers: Fields = {}
    if rate is not None:
        numbers = {
            "algorithm": rate.algorithm,
            "quota": rate.quota,
            "window_seconds": rate.window / SECOND,
            "burst": rate.burst,
        }
    said = {key: value for key in SAID if (value := EXTENSIONS[key](limit))}
    return {
        **numbers,
        **said,
        "shadow_mode": limit.shadow_mode,
        "quota_mode": limit.quota_mode,
        "enforced": charge.binding,
        "on_store_failure": limit.on_store_failure.name.lower(),
    }


def _state(control: Control, charge: Charge, cost: int, outcome: Settled, now: int) -> Fields:
    """Return the state of a counter, and how this limit would decide a request of this cost now."""
    denial = None if control.cache is None else control.cache.holds(charge, now)
    fields: Fields = {
        "cost": cost,
        "remembered_denial": denial and {"cost": denial.cost, "for_seconds": (denial.until - now) / SECOND},
    }
    if isinstance(outcome, Failure):
        return fields | _failed(outcome)
    need = wanted(charge, cost)
    covered = denial is not None and need >= denial.cost
    return fields | {
        "allowed": need <= outcome.remaining and not covered and _has_room(outcome),
        **_counted(outcome),
    }


def _has_room(decision: Decision) -> bool:
    """Whether holds leave room for one more."""
    return decision.allowed or not isinstance(decision, HoldDecision)


def _counted(decision: Decision) -> Fields:
    held: Fields = {"held": decision.held} if isinstance(decision, HoldDecision) else {}
    return {
        "used": decision.before,
        **held,
        "remaining": decision.remaining,
        "reset_after_seconds": decision.reset_after / SECOND,
    }


def _reset(outcome: Settled) -> Fields:
    if isinstance(outcome, Failure):
        return {"reset": False, **_failed(outcome)}
    held: Fields = {"held_before": outcome.moved} if isinstance(outcome, HoldDecision) else {}
    return {"reset": True, "used_before": outcome.before, **held, "remaining": outcome.remaining}


def _failed(failure: Failure) -> Fields:
    return {"failure": {"kind": str(failure.kind), "message": failure.message}}


def _shown(plan: Plan) -> list[str]:
    return [show(descriptor.entries) for descriptor in plan.request.descriptors]


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
