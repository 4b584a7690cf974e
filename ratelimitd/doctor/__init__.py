"""``ratelimitd doctor``: looks at all that a service would use, as it would use it, and says what to change.

Nothing is changed but the probes' keys in Redis, which every instance writes. Each check has a bound on its time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, NamedTuple

import uvloop

from ratelimitd.app.gateway_files import read
from ratelimitd.policy import PolicyErrors
from ratelimitd.settings import SettingsError, load
from ratelimitd.sources import GatewayFile

from . import policy, ports, process, redis, settings
from .finding import Finding, Level, bad, count
from .target import POLICY, PORTS, PROCESS, SETTINGS, Case

__all__ = ["Finding", "Level", "count", "examine"]


class Check(NamedTuple):
    """What is looked at, and for how long at most.

    Attributes:
        seconds: far more than it takes where all is well; Redis' own bounds are for each server.
    """

    subject: str
    findings: Callable[[Case], AsyncIterator[Finding]]
    seconds: float


CHECKS: Final = (
    Check(SETTINGS, settings.check, 5.0),
    Check(POLICY, policy.check, 60.0),
    Check("redis", redis.check, 30.0),
    Check(PORTS, ports.check, 10.0),
    Check(PROCESS, process.check, 10.0),
)


def examine(
    environ: Mapping[str, str], flags: Mapping[str, str], config: tuple[str, ...], *, with_service: bool
) -> list[Finding]:
    """Look at all that ``serve`` or ``proxy`` would use with these variables, flags and paths."""
    try:
        known = load(environ, flags)
    except SettingsError as error:
        return settings.refused(error)
    return uvloop.run(_examine(Case(known, config, None, with_service)))


async def _examine(case: Case) -> list[Finding]:
    found: list[Finding] = []
    if isinstance(case.source, GatewayFile):
        try:
            case = case._replace(gateway=await read(case.source.path))
        except PolicyErrors as errors:
            found += policy.refused(errors.errors, case)
    for check in CHECKS:
        try:
            async with asyncio.timeout(check.seconds):
                async for finding in check.findings(case):
                    found.append(finding)
        except TimeoutError:
            change = "look at this machine's load, and run it again"
            found.append(bad(check.subject, f"not all looked at within {check.seconds:g} s", change))
    return found
