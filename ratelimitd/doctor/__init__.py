"""``ratelimitd doctor``: checks everything that a service would use, in the same way, and reports what to change.

In Redis it writes what every instance writes: the probe keys, and the keys of a trial, which expire within seconds.
Each check has a timeout.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, NamedTuple

import uvloop

from ratelimitd.app.beside import beside_proxy
from ratelimitd.app.gateway_files import read
from ratelimitd.policy import PolicyErrors
from ratelimitd.settings import SettingsError, load
from ratelimitd.sources import GatewayFile

from . import control_plane, forgotten, overlay, policy, ports, process, redis, replicas, settings
from .finding import Finding, Level, bad, count
from .target import POLICY, PORTS, PROCESS, SETTINGS, CheckTarget

__all__ = ["Finding", "Level", "count", "examine"]


class Check(NamedTuple):
    """One check and its timeout.

    Attributes:
        seconds: far more than the check takes on a healthy system; each Redis server has timeouts of its own.
    """

    subject: str
    findings: Callable[[CheckTarget], AsyncIterator[Finding]]
    seconds: float


CHECKS: Final = (
    Check(SETTINGS, settings.check, 5.0),
    Check(overlay.OVERLAY, overlay.check, 5.0),
    Check(POLICY, policy.check, 60.0),
    Check(control_plane.CONTROL_PLANE, control_plane.check, 120.0),
    Check(POLICY, forgotten.check, 10.0),
    Check("redis", redis.check, 30.0),
    Check(PORTS, ports.check, 10.0),
    Check(PORTS, replicas.check, 10.0),
    Check(PROCESS, process.check, 10.0),
)


def examine(
    environ: Mapping[str, str], flags: Mapping[str, str], config: tuple[str, ...], *, with_service: bool
) -> list[Finding]:
    """Check everything that ``serve`` or ``proxy`` would use with these variables, flags and paths."""
    try:
        known = load(environ, flags)
    except SettingsError as error:
        return settings.refused(error)
    return uvloop.run(_examine(CheckTarget(known, config, None, with_service)))


async def _examine(target: CheckTarget) -> list[Finding]:
    found: list[Finding] = []
    if isinstance(target.source, GatewayFile):
        try:
            gateway = await read(target.source.path)
            settled = beside_proxy(target.settings, gateway) if target.with_service else target.settings
            target = target._replace(gateway=gateway, settings=settled)
        except PolicyErrors as errors:
            found += policy.refused(errors.errors, target)
    for check in CHECKS:
        try:
            async with asyncio.timeout(check.seconds):
                async for finding in check.findings(target):
                    found.append(finding)
        except TimeoutError:
            change = "check the load of this machine, and run doctor again"
            found.append(bad(check.subject, f"the check did not complete within {check.seconds:g} s", change))
    return found
