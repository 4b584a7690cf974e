"""Check of the settings: errors and warnings of ``serve``, and values with unexpected effects."""

from collections.abc import AsyncIterator
from typing import Final

from ratelimitd.settings import XDS, SettingsError

from .finding import Finding, bad, ok, warn
from .target import SETTINGS, CheckTarget

ENVOY_WAITS: Final = 0.020
"""Seconds: the default ``timeout`` of Envoy's rate limit filter."""


def refused(error: SettingsError) -> list[Finding]:
    """Return findings for the errors that prevent the start; no other check is possible then."""
    return [
        bad(SETTINGS, f'{problem.name}="{problem.value}" cannot be used', problem.message) for problem in error.problems
    ]


async def check(target: CheckTarget) -> AsyncIterator[Finding]:
    """Check settings that could be loaded."""
    settings = target.settings
    if settings.over_xds and target.config:
        yield bad(SETTINGS, f"CONFIG_TYPE={XDS}, and a path is given too", "unset CONFIG_TYPE, or leave out the path")
    where = "memory" if settings.redis is None else f"Redis at {settings.redis}"
    also = f", those of limits per second in {settings.per_second}" if settings.per_second is not None else ""
    yield ok(SETTINGS, f"counters are kept in {where}{also}")
    for warning in settings.warnings:
        yield warn(SETTINGS, warning, "unset or correct these variables")
    if settings.redis is None and settings.replicas > 1:
        yield warn(
            SETTINGS,
            f"REPLICAS is {settings.replicas}, but each instance counts in its own memory: "
            f"together they grant {settings.replicas} times each limit",
            "set REDIS_URL, or run one instance",
        )
    if settings.redis is not None and settings.store_budget > ENVOY_WAITS:
        yield warn(
            SETTINGS,
            f"STORE_BUDGET is {settings.store_budget * 1000:g} ms, and Envoy's default timeout is 20 ms",
            "set STORE_BUDGET below the timeout of Envoy's rate limit filter",
        )
    if settings.shadow_mode:
        yield warn(SETTINGS, "SHADOW_MODE is on: no request is denied", "unset it to enforce the limits")
