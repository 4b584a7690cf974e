"""The admin API of a running service: who may come, and what the handlers look at."""

import time

from ratelimitd.admin import (
    Control,
    Guard,
    Route,
    Routes,
    Token,
    TokenError,
    TokenFile,
    guarded,
    key_page,
    policy_page,
    reset_page,
)
from ratelimitd.limiter import LimitRequest, OverLimitCache, Plan, Tallies
from ratelimitd.observe.logs import hide
from ratelimitd.rls import Bounds, read_json
from ratelimitd.settings import Settings

from .life import StartError
from .policies import InForce
from .service import Service


def admin_routes(service: Service) -> Routes:
    """Return the table of the admin API, nothing where no token is set; raises StartError when it is no token."""
    token = _token(service.settings)
    if token is None:
        return {}
    guard = Guard(token, lambda: time.monotonic_ns() // 1000, remote=service.settings.admin_remote)
    control = _control(service)
    in_force = {"GET": policy_page(lambda: _page(service.policies.in_force))}
    key = {"GET": key_page(control), "POST": key_page(control), "DELETE": reset_page(control)}
    return {
        "/admin/key": Route(guarded(guard, key), "the counters of a key; DELETE resets them"),
        "/admin/policy": Route(guarded(guard, in_force), "the active policy"),
    }


def _token(settings: Settings) -> Token | None:
    """Return what gives the token; logs show it nowhere."""
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


def _control(service: Service) -> Control:
    settings, parts, policies = service.settings, service.parts, service.policies
    bounds = Bounds(settings.max_descriptors, settings.max_entries)

    def plan(asked: LimitRequest) -> Plan | None:
        """Plan it with tallies of its own, so that no series is made for a key that was only looked at."""
        in_force = policies.policy
        return None if in_force is None else policies.planner(in_force, Tallies()).plan(asked)

    return Control(
        read=lambda body: read_json(body, bounds),
        plan=plan,
        store=parts.engine.store,
        where="memory" if parts.redis is None else "redis",
        cache=next((guard for guard in parts.engine.guards if isinstance(guard, OverLimitCache)), None),
        fallback=None if parts.redis is None else parts.memory,
        clock=lambda: time.time_ns() // 1000,
    )


def _page(in_force: InForce) -> dict[str, object]:
    page = in_force._asdict()
    age = time.monotonic() - page.pop("loaded")
    del page["needs_store"]
    return {**page, "age_seconds": round(age, 3)}
