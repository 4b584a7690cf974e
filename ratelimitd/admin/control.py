"""The admin API: what a key's counters hold, how to empty them, and which policy is in force.

It goes by the guards and straight to the store, so that looking charges nothing, counts nowhere and is denied by
no memory of this process.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

from ratelimitd.algorithms import SATURATED, SECOND, Decision, counter_key
from ratelimitd.descriptor_text import show
from ratelimitd.limiter import Ask, Charge, Failure, OverLimitCache, Plan, Store
from ratelimitd.limiter import LimitRequest as Asked
from ratelimitd.observe.logs import get_logger

from .http import Handler, Request, Response, as_json
from .key_query import Read, asked

log = get_logger(__name__)

BUDGET: Final = SECOND
"""µs a store may take here. A person waits, so a Redis that is merely slow should still be looked at."""

PEEK: Final = 0

EVERYTHING: Final = -SATURATED
"""Gives back all that any counter can hold. A request's cost could not: rejected hits count in a fixed window, so it
may hold more than one cost. A step takes it in exactly, in Lua too, since a sum with it stays within a double."""

ELSEWHERE: Final = (
    "other processes that use this Redis may keep a denial in local memory (LOCAL_CACHE_SIZE_IN_BYTES, "
    "on_store_failure: local) until it expires"
)


class Control(NamedTuple):
    """What the handlers need of a service.

    Attributes:
        read: see ``asked.Read``.
        plan: plans a request and counts nothing; None: no policy is loaded yet.
        store, where: where counters live, and its name.
        cache: what remembers denials in this process, if anything does.
        fallback: the counters of this process for while the store is away, if there are any.
        clock: wall-clock µs.
    """

    read: Read
    plan: Callable[[Asked], Plan | None]
    store: Store
    where: str
    cache: OverLimitCache | None
    fallback: Store | None
    clock: Callable[[], int]


Told = dict[str, Any]

Settled = Decision | Failure
"""An outcome once a store is done: it leaves none open."""


def key_page(control: Control) -> Handler:
    """Tell what each limit of a key holds, without charging it."""

    async def handler(request: Request) -> Response:
        plan = _planned(control, request)
        if isinstance(plan, Response):
            return plan
        now = control.clock()
        outcomes = await _settled(control.store, plan, PEEK, now)
        limits = [
            _named(charge, now) | _limit(charge) | _held(control, charge, cost, outcome, now)
            for charge, cost, outcome in zip(plan.charges, plan.costs, outcomes, strict=True)
        ]
        return _answer(control, plan, outcomes, limits)

    return handler


def reset_page(control: Control) -> Handler:
    """Empty each counter of a key: in the store, then in the memories of this process.

    In that order: a denial that was decided before the store was emptied may be learnt until then.
    """

    async def handler(request: Request) -> Response:
        plan = _planned(control, request)
        if isinstance(plan, Response):
            return plan
        now = control.clock()
        outcomes = await _settled(control.store, plan, EVERYTHING, now)
        if control.fallback is not None:
            await _settled(control.fallback, plan, EVERYTHING, now)
        if control.cache is not None:
            for charge in plan.charges:
                control.cache.forget(charge.key)
        limits = [
            _named(charge, now) | _emptied(outcome) for charge, outcome in zip(plan.charges, outcomes, strict=True)
        ]
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


def policy_page(in_force: Callable[[], Told]) -> Handler:
    """Tell the facts of the policy in force; its ETag (RFC 9110, 8.8.3) is of all of them but ``age_seconds``."""

    async def handler(request: Request) -> Response:
        told = in_force()
        lasting = json.dumps({**told, "age_seconds": None})
        etag = f'W/"{hashlib.sha256(lasting.encode()).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == etag:
            return Response(304, b"", headers={"ETag": etag, "Cache-Control": "no-store"})
        return as_json(200, told, {"ETag": etag})

    return handler


def _planned(control: Control, request: Request) -> Plan | Response:
    """Find the limits of the key that a request means, or what to answer instead."""
    try:
        plan = control.plan(asked(request, control.read))
    except ValueError as error:
        return as_json(400, {"error": _text(str(error).encode(errors="backslashreplace"))})
    if plan is None:
        return as_json(503, {"error": "no policy is loaded yet"})
    tried = {"domain": _text(plan.request.domain), "descriptors": _shown(plan)}
    if not plan.known_domain:
        return as_json(404, {"error": "the policy does not define this domain", "tried": tried})
    if not any(item.match for item in plan.items):
        return as_json(404, {"error": "no limit of the policy applies", "tried": tried})
    return plan


async def _settled(store: Store, plan: Plan, cost: int, now: int) -> list[Settled]:
    """Put one cost on every counter of a plan; a store never raises and always answers."""
    if not plan.charges:
        return []
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    ask = Ask(plan, [cost] * len(plan.charges), deadline=int(loop.time() * SECOND) + BUDGET)

    def completed(_: Sequence[Ask]) -> None:
        if not done.done():
            done.set_result(None)

    store.charge((ask,), now, completed)
    await done
    return cast("list[Settled]", ask.outcomes)


def _answer(
    control: Control, plan: Plan, outcomes: list[Settled], limits: list[Told], more: Told | None = None
) -> Response:
    """Tell it descriptor by descriptor: 200, or 503 when a counter could not be reached."""
    told: Told = {
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
        return as_json(200, told)
    return as_json(503, {"error": failure.message, "kind": str(failure.kind), **told})


def _failures(outcomes: list[Settled]) -> Iterator[Failure]:
    return (outcome for outcome in outcomes if isinstance(outcome, Failure))


def _named(charge: Charge, now: int) -> Told:
    limit, rate = charge.limit, charge.limit.rate
    counter = charge.key if rate is None else counter_key(charge.key, rate, now)
    return {"limit": limit.name or limit.item, "counter": _text(counter)}


def _limit(charge: Charge) -> Told:
    limit, rate = charge.limit, charge.limit.rate
    numbers: Told = {}
    if rate is not None:
        numbers = {
            "algorithm": rate.algorithm,
            "quota": rate.quota,
            "window_seconds": rate.window / SECOND,
            "burst": rate.burst,
        }
    return {
        **numbers,
        "shadow_mode": limit.shadow_mode,
        "quota_mode": limit.quota_mode,
        "enforced": charge.binding,
        "on_store_failure": limit.on_store_failure.name.lower(),
    }


def _held(control: Control, charge: Charge, cost: int, outcome: Settled, now: int) -> Told:
    """Tell what a counter holds, and what a request of this cost would be told by this limit at this moment."""
    denial = None if control.cache is None else control.cache.holds(charge, now)
    told: Told = {
        "cost": cost,
        "remembered_denial": denial and {"cost": denial.cost, "for_seconds": (denial.until - now) / SECOND},
    }
    if isinstance(outcome, Failure):
        return told | _failed(outcome)
    covered = denial is not None and cost >= denial.cost
    return told | {
        "allowed": cost <= outcome.remaining and not covered,
        "used": outcome.before,
        "remaining": outcome.remaining,
        "reset_after_seconds": outcome.reset_after / SECOND,
    }


def _emptied(outcome: Settled) -> Told:
    if isinstance(outcome, Failure):
        return {"reset": False, **_failed(outcome)}
    return {"reset": True, "used_before": outcome.before, "remaining": outcome.remaining}


def _failed(failure: Failure) -> Told:
    return {"failure": {"kind": str(failure.kind), "message": failure.message}}


def _shown(plan: Plan) -> list[str]:
    return [show(descriptor.entries) for descriptor in plan.request.descriptors]


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
