"""The admin API of a running service: its authorization, and the parts that its handlers use."""

import time
from itertools import islice

from ratelimitd.admin import (
    Control,
    DecisionSwitch,
    Page,
    PageTable,
    Switched,
    Token,
    TokenError,
    TokenFile,
    TokenGuard,
    contents_page,
    decisions_page,
    explain_page,
    guarded,
    key_page,
    policy_page,
    reset_page,
)
from ratelimitd.descriptor_text import show
from ratelimitd.limiter import LimitRequest, OverLimitCache, Plan, PostPaid, Tallies
from ratelimitd.observe.logs import hide
from ratelimitd.rls import Bounds, DecisionLog, Logged, read_json
from ratelimitd.settings import Settings

from .life import StartError
from .policies import ADMIN_SHOWN as SHOWN
from .service import RunningService


def admin_guard(settings: Settings, *, remote: bool = False) -> TokenGuard | None:
    """Return what checks the admin token; None: there is none. Raises StartError for an invalid token.

    ``remote``: accept callers on other hosts, whatever ADMIN_REMOTE says.
    """
    token = admin_token(settings)
    if token is None:
        return None
    return TokenGuard(token, lambda: time.monotonic_ns() // 1000, remote=remote or settings.admin_remote)


def admin_pages(service: RunningService, guard: TokenGuard | None) -> PageTable:
    """Return the table of the admin API, empty without a token."""
    if guard is None:
        return {}
    control = _control(service)
    active = {"GET": policy_page(lambda: _page(service))}
    key = {"GET": key_page(control), "POST": key_page(control), "DELETE": reset_page(control)}
    explain = explain_page(control.read, lambda: service.policies.policy)
    log = decisions_page(_switch(service.parts.decisions))
    table = {
        "/admin/decisions": Page(guarded(guard, {"GET": log, "POST": log, "DELETE": log}), "the decision log"),
        "/admin/explain": Page(guarded(guard, {"GET": explain, "POST": explain}), "how a request is matched"),
        "/admin/key": Page(guarded(guard, key), "the counters of a key; DELETE resets them"),
        "/admin/policy": Page(guarded(guard, active), "the active policy"),
    }
    return {**table, "/admin/": Page(guarded(guard, {"GET": contents_page(table)}), "the pages of the admin API")}


def admin_token(settings: Settings) -> Token | None:
    """Return a function that returns the token, and mask the token in logs."""
    if settings.admin_token_file:
        file = TokenFile(settings.admin_token_file, hide)
        try:
            file()
        except TokenError as error:
            raise StartError(f"ADMIN_TOKEN_FILE: {error}") from None
        return file
    if not settings.admin_token:
        return None
    hide(settings.admin_token)
    token = settings.admin_token.encode()
    return lambda: token


def _control(service: RunningService) -> Control:
    settings, parts, policies = service.settings, service.parts, service.policies
    bounds = Bounds(settings.max_descriptors, settings.max_entries)

    def plan(asked: LimitRequest) -> Plan | None:
        """Plan with separate tallies, so that a look-up creates no metric series."""
        active = policies.policy
        if active is None:
            return None
        asked.ours = True
        planned = policies.planner(active, Tallies()).plan(asked)
        if settings.enable_negative_hits:
            return planned
        return planned._replace(costs=tuple(max(0, cost) for cost in planned.costs))

    return Control(
        read=lambda body: read_json(body, bounds),
        plan=plan,
        policy=lambda: policies.policy,
        store=parts.engine.store,
        where="memory" if parts.redis is None else "redis",
        cache=next((guard for guard in parts.engine.guards if isinstance(guard, OverLimitCache)), None),
        fallback=None if parts.redis is None else parts.memory,
        clock=lambda: time.time_ns() // 1000,
        replicas=settings.replicas,
    )


def _switch(decisions: DecisionLog) -> DecisionSwitch:
    def begin(switched: Switched) -> None:
        decisions.begin(Logged(switched.selection, switched.sample, switched.lines), switched.seconds)

    return DecisionSwitch(begin, decisions.end, lambda: _decisions(decisions))


def _decisions(decisions: DecisionLog) -> dict[str, object]:
    """Return the state of the decision log; ``always``: by the settings."""
    sampler = decisions.temporary
    if sampler is None:
        return {"always": decisions.always, "on": False}
    selection, sample, lines = sampler.logged
    entry = "" if not selection.key else _text(selection.key)
    if selection.value is not None:
        entry = show(((selection.key, selection.value),))
    return {
        "always": decisions.always,
        "on": True,
        "domain": _text(selection.domain),
        "limit": selection.limit,
        "entry": entry,
        "sample": sample,
        "lines": lines,
        "ends_in_seconds": round(decisions.left(), 3),
        "logged": sampler.written,
        "skipped": sampler.skipped,
    }


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


def _page(service: RunningService) -> dict[str, object]:
    active = service.policies.active
    page = active._asdict()
    age = time.monotonic() - page.pop("loaded")
    del page["needs_store"]
    post_paid = _switched(service.parts.post_paid, time.time_ns() // 1000)
    reserve = dict(islice(service.parts.post_paid.amounts(), SHOWN))
    return {
        **page,
        "changed": active.changed._asdict(),
        "age_seconds": round(age, 3),
        "post_paid": post_paid,
        "reserve": reserve,
        **({} if service.policies.overlay is None else {"overlay": service.policies.overlay.as_json()}),
        **({} if service.plane is None else {"control_plane": service.plane.as_json()}),
    }


def _switched(post_paid: PostPaid, now: int) -> dict[str, object]:
    """Return how many limits have switched, since they are asked with 0, and the first of them."""
    post_paid.fade(now)
    on = post_paid.switched_on()
    return {"limits": len(on), "first": [switch.name for switch in on[:SHOWN]]}
