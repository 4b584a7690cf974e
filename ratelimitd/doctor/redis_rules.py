"""What docs/operations.md asks of a Redis server, held against what one tells. No I/O."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from .finding import Finding, bad, ok, warn
from .redis_facts import Facts
from .redis_servers import change_for

CLOCKS_APART: Final = 1.0
"""Seconds: more, and hosts and Redis disagree which window of a second it is."""

FULL: Final = 0.8
"""Of maxmemory: what is left then is for a bad day."""

EXPIRES_SOON: Final = 14 * 86_400
"""Seconds: certificates of 90 days are mostly renewed with 30 left, so twice that went wrong."""

DAY: Final = 86_400

Rule = Callable[[Facts], Iterator[Finding]]


def _identity(facts: Facts) -> Iterator[Finding]:
    """It is usable at all: ``dial`` has seen version, role and rights."""
    yield ok(
        facts.server.subject,
        f"version {facts.version or 'unknown'}, a master; the script is loaded and its user may run each command of it",
    )
    if facts.info is None:
        yield ok(
            facts.server.subject, "INFO is not permitted to this user: memory, replicas and forks were not looked at"
        )
    if not facts.config:
        yield ok(facts.server.subject, "CONFIG GET is not permitted: what only it tells was not looked at")


def _latency(facts: Facts) -> Iterator[Finding]:
    """The script's round trips against STORE_BUDGET."""
    subject, probes, budget = facts.server.subject, facts.probes, facts.server.redis.budget
    if probes.unanswered:
        yield bad(subject, probes.unanswered, "look for long scripts and KEYS (SLOWLOG GET), swapping and the network")
    if probes.failure:
        yield bad(subject, f"the script fails: {probes.failure}", change_for(probes.failure, SCRIPT_CHANGES))
    if not probes.times:
        return
    half, most = probes.quantile(0.5), probes.quantile(0.99)
    found = (
        f"the script takes {half * 1000:.2f} ms (p99 {most * 1000:.2f} ms, {len(probes.times)} calls) "
        f"of STORE_BUDGET's {budget * 1000:g}"
    )
    change = "put Redis nearer, give it a core of its own, or raise STORE_BUDGET and Envoy's timeout"
    if most > budget:
        yield bad(subject, f"{found}: calls fail", change)
    elif most > budget / 3:
        yield warn(subject, f"{found}: little is left for a busy moment", change)
    else:
        yield ok(subject, found)


SCRIPT_CHANGES: Final = (
    ("NOREPLICAS", "bring its replicas back, or lower min-replicas-to-write"),
    ("OOM", "raise maxmemory; what counters take is in docs/operations.md"),
    ("MISCONF", 'its snapshots fail, so it refuses writes: make room on its disk, or turn them off (`save ""`)'),
    ("CLUSTERDOWN", "the cluster is down: give every slot a master (`redis-cli --cluster check <a node>`)"),
    ("READONLY", "it became a replica: name the master"),
    ("BUSY", "another script runs for long: find it (SLOWLOG GET), SCRIPT KILL ends it"),
)
"""What to change, by words in what the script failed with."""


def _clock(facts: Facts) -> Iterator[Finding]:
    """Fixed windows are named by the hosts' clocks, and counted away by Redis'."""
    if not facts.probes.times:
        return
    subject, skew = facts.server.subject, facts.probes.skew
    sure = abs(skew) - min(facts.probes.times) / 2
    if sure > CLOCKS_APART:
        side = "ahead of" if skew > 0 else "behind"
        found = f"its clock is {abs(skew):.1f} s {side} this host's: fixed windows, which go by hosts' clocks, shift"
        yield warn(subject, found, "have NTP set the clocks of this host and of Redis (`timedatectl`, `chronyc`)")
    else:
        yield ok(subject, f"its clock and this host's are {abs(skew) * 1000:.1f} ms apart")


def _memory(facts: Facts) -> Iterator[Finding]:
    """A bound, what happens at it, and how near it is."""
    info, subject = facts.info, facts.server.subject
    if info is None or "maxmemory" not in info:
        return
    most, used, policy = _number(info, "maxmemory"), _number(info, "used_memory"), info.get("maxmemory_policy", "")
    if not most:
        change = "CONFIG SET maxmemory to twice what its counters take (docs/operations.md, Sizing)"
        yield warn(subject, "maxmemory is 0: without a bound Redis grows until the host ends it", change)
    if policy.startswith("allkeys"):
        found = f"maxmemory-policy {policy}: a full Redis may forget any counter, those of busy limits too"
        yield warn(subject, found, "CONFIG SET maxmemory-policy noeviction, or volatile-ttl")
    elif most:
        then = "refuses new counters, which on_store_failure answers" if policy == "noeviction" else "forgets counters"
        yield ok(subject, f"maxmemory {most / 2**20:.0f} MiB, {policy}: a full Redis {then}")
    if most and used > FULL * most:
        change = "raise maxmemory, or find what fills it: INFO keyspace, `redis-cli --bigkeys`"
        yield warn(subject, f"its memory is full to {100 * used / most:.0f} %", change)


def _replicas(facts: Facts) -> Iterator[Finding]:
    """Enough of them, and a master that is cut off from all stops granting."""
    info, subject = facts.info, facts.server.subject
    if info is None or "connected_slaves" not in info:
        return
    replicas, least = _number(info, "connected_slaves"), _number(facts.config, "min-replicas-to-write")
    well = _number(info, "min_slaves_good_slaves") if "min_slaves_good_slaves" in info else replicas
    if least > well:
        found = f"min-replicas-to-write is {least}, and {well} replicas are in sync: it refuses every write"
        yield bad(subject, found, "bring the replicas back, or lower min-replicas-to-write")
    elif replicas and "min-replicas-to-write" in facts.config and not least:
        found = "it has replicas and min-replicas-to-write 0: cut off from them, it would go on granting"
        yield warn(subject, found, "CONFIG SET min-replicas-to-write 1, and min-replicas-max-lag 10")
    elif replicas:
        yield ok(subject, f"{well} of {replicas} replicas are in sync")
    if facts.server.redis.connect.deployment.kind == "sentinel" and not replicas:
        found = "it has no replica: Sentinels have nobody to promote when it is away"
        yield warn(subject, found, "start a replica of it (REPLICAOF)")


def _disk(facts: Facts) -> Iterator[Finding]:
    """What is written to disk holds calls up."""
    info, subject, budget = facts.info or {}, facts.server.subject, facts.server.redis.budget
    if info.get("aof_enabled") == "1" and facts.config.get("appendfsync") == "always":
        found = "appendfsync is always: each call waits for the disk"
        yield warn(subject, found, "CONFIG SET appendonly no, or appendfsync everysec")
    fork = _number(info, "latest_fork_usec") / 1e6
    if fork > budget:
        found = f"its last fork held it for {fork * 1000:.0f} ms, STORE_BUDGET is {budget * 1000:g} ms"
        yield warn(subject, found, 'CONFIG SET save "" and appendonly no, or have them on a replica')


def _idle(facts: Facts) -> Iterator[Finding]:
    """Our connections are few and stay."""
    seconds = _number(facts.config, "timeout")
    if seconds:
        found = f"timeout is {seconds}: connections that rest so many seconds are closed, and opened again by a call"
        yield warn(facts.server.subject, found, "CONFIG SET timeout 0")


def _certificate(facts: Facts) -> Iterator[Finding]:
    """The certificate that it shows ends one day."""
    if facts.expires is None:
        return
    left = facts.expires - time.time()
    found = f"its certificate is good for {left / DAY:.0f} more days"
    if left < EXPIRES_SOON:
        yield warn(facts.server.subject, found, "renew it; find out why nobody did")
    else:
        yield ok(facts.server.subject, found)


def _number(facts: Mapping[str, str], name: str) -> int:
    value = facts.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else 0


RULES: Final[tuple[Rule, ...]] = (
    _identity,
    _latency,
    _clock,
    _memory,
    _replicas,
    _disk,
    _idle,
    _certificate,
)
"""What is looked at in each server."""
