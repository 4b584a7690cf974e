"""The policy, read as the service reads it: errors with their lines, and what its limits do without Redis."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from ratelimitd.app.policies import default_algorithm
from ratelimitd.gateway import domain_of
from ratelimitd.policy import UNSALTED, OnStoreFailure, Policy, PolicyError, PolicyErrors
from ratelimitd.settings import Settings
from ratelimitd.sources import GatewayFile, Loaded, RuntimeFolder, load

from .finding import Finding, bad, ok, warn
from .target import POLICY, Case

SHOWN: Final = 20
"""Errors or warnings of one policy: a screenful."""


async def check(case: Case) -> AsyncIterator[Finding]:
    """Load the policy, and look at it."""
    source, settings = case.source, case.settings
    algorithm = default_algorithm(source, settings)
    try:
        loaded = await load(source, default_algorithm=algorithm, merge_domains=settings.merge_domain_config)
        if case.gateway is not None:
            domain_of(case.gateway, loaded.policy)
    except PolicyErrors as errors:
        for finding in refused(errors.errors, case):
            yield finding
        return
    summary = loaded.summary
    yield ok(POLICY, f"files: {loaded.files}, domains: {summary.domains}, limits: {summary.limits}")
    for finding in _warnings(loaded, settings):
        yield finding
    if settings.redis is not None:
        for finding in _without_redis(loaded.policy, settings):
            yield finding


def refused(errors: Sequence[PolicyError], case: Case) -> list[Finding]:
    """Return the first of these errors of a policy or gateway file."""
    found = [bad(POLICY, str(error), _mend(error, case)) for error in errors[:SHOWN]]
    if len(errors) > SHOWN:
        found.append(bad(POLICY, f"and {len(errors) - SHOWN} more", "`ratelimitd validate` lists them all"))
    return found


def _mend(error: PolicyError, case: Case) -> str:
    if error.line or Path(error.file).is_file():
        page = "docs/gateway.md" if isinstance(case.source, GatewayFile) else "docs/policies.md"
        return f"mend the file; {page} explains every key"
    if isinstance(case.source, RuntimeFolder):
        return "name the policy with --config PATH, as `serve` is told it, or set RUNTIME_ROOT"
    return "look at the path of --config, and whether this user may read it"


def _warnings(loaded: Loaded, settings: Settings) -> list[Finding]:
    found = [
        warn(POLICY, str(warning), "change what is named, or let it be if it is meant; docs/policies.md says more")
        for warning in loaded.warnings[:SHOWN]
    ]
    if len(loaded.warnings) > SHOWN:
        more = f"and {len(loaded.warnings) - SHOWN} more warnings"
        found.append(warn(POLICY, more, "`ratelimitd validate` lists them all"))
    if not settings.identity_secret and any(domain.identity for domain in loaded.policy.domains.values()):
        what, _, why = UNSALTED.partition(": ")
        reason, _, change = why.rpartition("; ")
        found.append(warn(POLICY, f"{what}: {reason}", change))
    return found


def _without_redis(policy: Policy, settings: Settings) -> list[Finding]:
    limits = [limit for node in policy.nodes for limit in node.limits if limit.rate is not None]
    counts = Counter(limit.on_store_failure for limit in limits)
    said = ", ".join(f"{counts[each]} {each.name.lower()}" for each in OnStoreFailure if counts[each])
    found = [ok(POLICY, f"while Redis is away (on_store_failure): {said}")] if said else []
    if counts[OnStoreFailure.LOCAL] and settings.replicas == 1:
        found.append(
            warn(
                POLICY,
                f"{counts[OnStoreFailure.LOCAL]} limits say on_store_failure: local, and REPLICAS is 1: "
                "while Redis is away, each instance grants the whole limit",
                "set REPLICAS to the most instances that will run; with one alone, all is well",
            )
        )
    return found
