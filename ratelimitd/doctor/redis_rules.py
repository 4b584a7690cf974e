"""Rules of docs/operations.md for a Redis server, applied to its facts. No I/O."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from .finding import Finding, bad, ok, warn
from .redis_facts import Facts
from .redis_servers import change_for

CLOCKS_APART: Final = 1.0
"""Seconds of skew: with more, hosts and Redis disagree on the current one-second window."""

SHARE: Final = 3
"""A budget is this many times the p99 of an idle server, at least: calls wait for each other under load."""

FULL: Final = 0.8
"""Share of maxmemory above which to warn: the rest is the reserve for a peak."""

EXPIRY_SHARE: Final = 0.25
"""Longest time for which Redis removes expired keys without a pause, in 1/hz s, with ``active-expire-effort 1``."""

EXPIRES_SOON: Final = 14 * 86_400
"""Seconds: 90-day certificates are usually renewed with 30 days left, so with 14 the renewal has failed."""

DAY: Final = 86_400

Rule = Callable[[Facts], Iterator[Finding]]


def _identity(facts: Facts) -> Iterator[Finding]:
    """Report that it is usable: ``dial`` has checked version, role and permissions."""
    yield ok(
        facts.server.subject,
        f"version {facts.version or 'unknown'}, a master; the script is loaded and the user may run each command of it",
    )
    if facts.info is None:
        yield ok(
            facts.server.subject, "INFO is not permitted to this user: memory, replicas and forks were not checked"
        )
    if not facts.config:
        yield ok(
            facts.server.subject, "CONFIG GET is not permitted: the parameters that only it returns were not checked"
        )


def _latency(facts: Facts) -> Iterator[Finding]:
    """Compare the script's round-trip times with STORE_BUDGET."""
    subject, probes, budget = facts.server.subject, facts.probes, facts.server.redis.budget
    if probes.unanswered:
        yield bad(
            subject, probes.unanswered, "check for long scripts and KEYS (SLOWLOG GET), swapping and network problems"
        )
    if probes.failure:
        yield bad(subject, f"the script fails: {probes.failure}", change_for(probes.failure, SCRIPT_CHANGES))
    if not probes.times:
        return
    half, most = probes.quantile(0.5), probes.quantile(0.99)
    found = (
        f"the script takes {half * 1000:.2f} ms (p99 {most * 1000:.2f} ms, {len(probes.times)} calls) "
        f"of STORE_BUDGET's {budget * 1000:g} ms"
    )
    change = "give Redis a core of its own, see SLOWLOG GET, or raise STORE_BUDGET and Envoy's timeout"
    if half > budget / SHARE:
        enough = math.ceil(round(SHARE * most * 1000, 6))
        change = (
            f"move Redis closer, or set STORE_BUDGET={enough}ms, {SHARE} times its p99, "
            "and the timeout of Envoy's rate limit filter above that"
        )
    if half > budget:
        yield bad(subject, f"{found}: it is always slower than the budget, so every call fails", change)
    elif most > budget:
        yield bad(subject, f"{found}: calls fail", change)
    elif most > budget / SHARE:
        yield warn(subject, f"{found}: little is left for load peaks", change)
    else:
        yield ok(subject, found)


SCRIPT_CHANGES: Final = (
    ("NOPERM", "grant the user all keys of CACHE_KEY_PREFIX, and behind a proxy +eval; see docs/operations.md, Redis"),
    ("NOREPLICAS", "bring its replicas back, or lower min-replicas-to-write"),
    ("OOM", "raise maxmemory; docs/operations.md has the size of counters"),
    ("MISCONF", 'its snapshots fail, so it rejects writes: free disk space, or turn snapshots off (`save ""`)'),
    ("CLUSTERDOWN", "the cluster is down: assign every slot to a master (`redis-cli --cluster check <a node>`)"),
    ("READONLY", "it has become a replica: set the address of the master"),
    ("BUSY", "a long script is running: find it (SLOWLOG GET); SCRIPT KILL stops it"),
)
"""Remedy by a substring of the script's error."""


def _sharding(facts: Facts) -> Iterator[Finding]:
    """Report several servers behind one address: limits hold, at a price."""
    subject, found = facts.server.subject, facts.sharding
    if found is None or (found.sharded is None and facts.probes.failure):
        return
    if found.sharded is None:
        text = f"whether several servers share the keys of this address is unknown: {found.why}"
        yield warn(subject, text, change_for(found.why, SCRIPT_CHANGES))
    elif found.sharded:
        text = (
            f"several servers share the keys of this address ({found.why}): limits hold, each script call has one key, "
            "and all_or_nothing over several limits takes two steps"
        )
        variable = facts.server.redis.variable
        change = (
            f"for fewer calls, set {variable}URL to one server, or to the nodes of a cluster ({variable}TYPE=cluster)"
        )
        yield warn(subject, text, change)
    else:
        yield ok(subject, "one server has every key of this address")


def _clock(facts: Facts) -> Iterator[Finding]:
    """Check the clock: fixed windows start by the hosts' clocks, and their keys expire by that of Redis."""
    if not facts.probes.times:
        return
    subject, skew = facts.server.subject, facts.probes.skew
    sure = abs(skew) - min(facts.probes.times) / 2
    if sure > CLOCKS_APART:
        side = "ahead of" if skew > 0 else "behind"
        found = (
            f"its clock is {abs(skew):.1f} s {side} this host's: fixed windows, which follow the hosts' clocks, shift"
        )
        yield warn(
            subject, found, "synchronize the clocks of this host and of Redis with NTP (`timedatectl`, `chronyc`)"
        )
    else:
        yield ok(subject, f"its clock and this host's are {abs(skew) * 1000:.1f} ms apart")


def _memory(facts: Facts) -> Iterator[Finding]:
    """Check maxmemory, the eviction policy, and the memory in use."""
    info, subject = facts.info, facts.server.subject
    if info is None or "maxmemory" not in info:
        return
    most, used, policy = _number(info, "maxmemory"), _number(info, "used_memory"), info.get("maxmemory_policy", "")
    if not most:
        change = "CONFIG SET maxmemory to twice the size of the counters (docs/operations.md, Sizing)"
        yield warn(subject, "maxmemory is 0: without a limit Redis grows until the host kills it", change)
    if policy.startswith("allkeys"):
        found = f"maxmemory-policy {policy}: a full Redis may evict any counter, including those of busy limits"
        yield warn(subject, found, "CONFIG SET maxmemory-policy noeviction, or volatile-ttl")
    elif most:
        then = "rejects new counters, so on_store_failure applies" if policy == "noeviction" else "evicts counters"
        yield ok(subject, f"maxmemory {most / 2**20:.0f} MiB, {policy}: a full Redis {then}")
    if most and used > FULL * most:
        change = "raise maxmemory, or find what uses it: INFO keyspace, `redis-cli --bigkeys`"
        yield warn(subject, f"memory is {100 * used / most:.0f} % full", change)


def _replicas(facts: Facts) -> Iterator[Finding]:
    """Check that enough replicas are in sync, and that a master isolated from all of them rejects writes."""
    info, subject = facts.info, facts.server.subject
    if info is None or "connected_slaves" not in info:
        return
    replicas, least = _number(info, "connected_slaves"), _number(facts.config, "min-replicas-to-write")
    well = _number(info, "min_slaves_good_slaves") if "min_slaves_good_slaves" in info else replicas
    if least > well:
        found = f"min-replicas-to-write is {least}, and {well} replicas are in sync: it rejects every write"
        yield bad(subject, found, "bring the replicas back, or lower min-replicas-to-write")
    elif replicas and "min-replicas-to-write" in facts.config and not least:
        found = "it has replicas, and min-replicas-to-write 0: isolated from them, it would continue to grant requests"
        yield warn(subject, found, "CONFIG SET min-replicas-to-write 1, and min-replicas-max-lag 10")
    elif replicas:
        yield ok(subject, f"{well} of {replicas} replicas are in sync")
    if facts.server.redis.connect.deployment.kind == "sentinel" and not replicas:
        found = "it has no replica: Sentinels have none to promote if it fails"
        yield warn(subject, found, "add a replica (REPLICAOF)")


def _expiry(facts: Facts) -> Iterator[Finding]:
    """Check how long Redis may remove expired keys without a pause: it answers no call meanwhile."""
    budget, hz = facts.server.redis.budget, _number(facts.info or {}, "configured_hz")
    if hz and EXPIRY_SHARE / hz > budget:
        found = (
            f"hz is {hz}: while many keys expire, it removes them for {EXPIRY_SHARE / hz * 1000:.0f} ms at a time; "
            f"STORE_BUDGET is {budget * 1000:g} ms"
        )
        yield warn(facts.server.subject, found, "CONFIG SET hz 100")


def _disk(facts: Facts) -> Iterator[Finding]:
    """Check for disk writes and forks that delay calls."""
    info, subject, budget = facts.info or {}, facts.server.subject, facts.server.redis.budget
    if info.get("aof_enabled") == "1" and facts.config.get("appendfsync") == "always":
        found = "appendfsync is always: each call waits for the disk"
        yield warn(subject, found, "CONFIG SET appendonly no, or appendfsync everysec")
    fork = _number(info, "latest_fork_usec") / 1e6
    if fork > budget:
        found = f"its last fork blocked it for {fork * 1000:.0f} ms; STORE_BUDGET is {budget * 1000:g} ms"
        yield warn(subject, found, 'CONFIG SET save "" and appendonly no, or enable them only on a replica')


def _idle(facts: Facts) -> Iterator[Finding]:
    """Check the idle timeout: the connections are few and permanent."""
    seconds = _number(facts.config, "timeout")
    if seconds:
        found = (
            f"timeout is {seconds}: connections idle for that many seconds are closed, and reopened by the next call"
        )
        yield warn(facts.server.subject, found, "CONFIG SET timeout 0")


def _certificate(facts: Facts) -> Iterator[Finding]:
    """Check the expiry of its certificate."""
    if facts.expires is None:
        return
    left = facts.expires - time.time()
    found = f"its certificate expires in {left / DAY:.0f} days"
    if left < EXPIRES_SOON:
        yield warn(facts.server.subject, found, "renew it, and find out why automatic renewal failed")
    else:
        yield ok(facts.server.subject, found)


def _number(values: Mapping[str, str], name: str) -> int:
    value = values.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else 0


RULES: Final[tuple[Rule, ...]] = (
    _identity,
    _latency,
    _sharding,
    _clock,
    _memory,
    _replicas,
    _expiry,
    _disk,
    _idle,
    _certificate,
)
"""Rules applied to each server."""
