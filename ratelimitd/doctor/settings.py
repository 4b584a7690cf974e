"""The settings: what ``serve`` would refuse or warn of, and what works otherwise than it looks."""

from collections.abc import AsyncIterator
from typing import Final

from ratelimitd.settings import SettingsError

from .finding import Finding, bad, ok, warn
from .target import SETTINGS, Case

ENVOY_WAITS: Final = 0.020
"""Seconds: the default ``timeout`` of Envoy's rate limit filter."""


def refused(error: SettingsError) -> list[Finding]:
    """Return what keeps the service from being started; then there is nothing else to look at."""
    return [
        bad(SETTINGS, f'{problem.name}="{problem.value}" cannot be used', problem.message) for problem in error.problems
    ]


async def check(case: Case) -> AsyncIterator[Finding]:
    """Look at the settings, which can be used."""
    settings = case.settings
    where = "memory" if settings.redis is None else f"Redis at {settings.redis}"
    also = f", those of limits a second in {settings.per_second}" if settings.per_second is not None else ""
    yield ok(SETTINGS, f"counters live in {where}{also}")
    for warning in settings.warnings:
        yield warn(SETTINGS, warning, "unset what is named")
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
            f"STORE_BUDGET is {settings.store_budget * 1000:g} ms, and Envoy gives up after 20 ms by default",
            "set STORE_BUDGET below the timeout of Envoy's rate limit filter",
        )
    if settings.shadow_mode:
        yield warn(SETTINGS, "SHADOW_MODE is on: no request is denied", "unset it once the limits are to be enforced")
