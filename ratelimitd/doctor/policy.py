"""Check of the policy, read as the service reads it: errors with their lines, and the behavior without Redis."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from ratelimitd.app.policies import default_algorithm, fixed_window_keys, unsalted
from ratelimitd.gateway import domain_of
from ratelimitd.policy import UNSALTED, OnStoreFailure, Policy, PolicyError, PolicyErrors
from ratelimitd.settings import Settings
from ratelimitd.sources import GatewayFile, Loaded, OverlayFile, Pushed, RuntimeFolder, Source, load

from .finding import Finding, bad, ok, warn
from .target import POLICY, CheckTarget

SHOWN: Final = 20
"""Errors or warnings shown of one policy: a screenful."""


async def check(target: CheckTarget) -> AsyncIterator[Finding]:
    """Load and check the policy; that of a control plane is checked when it has sent it."""
    if not isinstance(target.source, Pushed):
        async for finding in examined(target.source, target):
            yield finding


async def examined(source: Source | Pushed, target: CheckTarget) -> AsyncIterator[Finding]:
    """Load and check the policy of this source."""
    settings = target.settings
    algorithm = default_algorithm(source, settings)
    try:
        loaded = await load(
            source,
            default_algorithm=algorithm,
            merge_domains=settings.merge_domain_config,
            fixed_window_keys=fixed_window_keys(settings),
            most=settings.policy_max_bytes,
            overlay=OverlayFile(settings.policy_overlay) if settings.policy_overlay else None,
        )
        if target.gateway is not None:
            domain_of(target.gateway, loaded.policy)
    except PolicyErrors as errors:
        for finding in refused(errors.errors, target):
            yield finding
        return
    summary = loaded.summary
    of = f"version: '{loaded.version}'" if isinstance(source, Pushed) else f"files: {loaded.files}"
    yield ok(POLICY, f"{of}, domains: {summary.domains}, limits: {summary.limits}")
    for finding in _warnings(loaded, settings):
        yield finding
    if settings.redis is not None:
        for finding in _without_redis(loaded.policy, settings):
            yield finding


def refused(errors: Sequence[PolicyError], target: CheckTarget) -> list[Finding]:
    """Return findings for the first errors of a policy or gateway file."""
    found = [bad(POLICY, str(error), _remedy(error, target)) for error in errors[:SHOWN]]
    if len(errors) > SHOWN:
        found.append(bad(POLICY, f"and {len(errors) - SHOWN} more", "`ratelimitd validate` lists all of them"))
    return found


def _remedy(error: PolicyError, target: CheckTarget) -> str:
    if isinstance(target.source, Pushed):
        return "correct what the control plane sends; docs/xds.md says what it may"
    if error.line or Path(error.file).is_file():
        page = "docs/gateway.md" if isinstance(target.source, GatewayFile) else "docs/policies.md"
        return f"correct the file; {page} describes every key"
    if isinstance(target.source, RuntimeFolder):
        return "pass the policy with --config PATH, as to `serve`, or set RUNTIME_ROOT"
    return "check the path of --config and whether this user may read it"


def _warnings(loaded: Loaded, settings: Settings) -> list[Finding]:
    found = [
        warn(POLICY, str(warning._replace(remedy="")), warning.remedy or "see docs/policies.md")
        for warning in loaded.warnings[:SHOWN]
    ]
    if len(loaded.warnings) > SHOWN:
        found.append(warn(POLICY, "there are more warnings", "`ratelimitd validate` lists all of them"))
    if unsalted(loaded.policy, settings):
        what, _, why = UNSALTED.partition(": ")
        reason, _, change = why.rpartition("; ")
        found.append(warn(POLICY, f"{what}: {reason}", change))
    return found


def _without_redis(policy: Policy, settings: Settings) -> list[Finding]:
    limits = [limit for node in policy.nodes for limit in node.limits if limit.rate is not None]
    counts = Counter(limit.on_store_failure for limit in limits)
    counted = ", ".join(f"{counts[each]} {each.name.lower()}" for each in OnStoreFailure if counts[each])
    found = [ok(POLICY, f"while Redis is unavailable (on_store_failure): {counted}")] if counted else []
    if counts[OnStoreFailure.LOCAL] and settings.replicas == 1:
        found.append(
            warn(
                POLICY,
                f"{counts[OnStoreFailure.LOCAL]} limits set on_store_failure: local, and REPLICAS is 1: "
                "while Redis is unavailable, each instance grants the whole limit",
                "set REPLICAS to the maximum number of instances; ignore this if there is only one",
            )
        )
    return found
