"""Redis faults under load: latency and answers of calls, and time to recover."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from bench.fleet import SIZE, TRANSPORT, ready, request
from bench.measure import digits
from bench.policy import DOMAIN, PLENTY, user
from bench.report import Report
from bench.rigs import FAULTS, KEY, USERS, Fault, Rig
from bench.trace import Call, Tracer, between, lag, longest, percentile
from testkit import server
from testkit.machine import Cores, busy, cores, on_core, rss_bytes
from testkit.server import Subject

RATE: Final = 2_000.0
"""Calls per second, evenly spaced: 2 % of the service's capacity, so that no call waits for another."""

MOST: Final = 0.02
"""Envoy's default timeout in seconds: no call may take longer."""

OPEN: Final = 0.001
"""Maximum p99 in seconds while the circuit breaker is open."""

BACK: Final = 1.0
"""Maximum seconds from Redis' recovery to the first correct decision."""

POLICIES: Final = ("error", "local")
FAILURES: Final = "ratelimitd_store_failures_total"
SETTLE: Final = 0.5
"""Seconds for connections, caches and the CPU frequency to settle."""

AWAY: Final = "redis is unavailable"

COLUMNS: Final = (
    "fault", "on_store_failure", "calls", "failed", "failed charges", "longest ms", "over 20 ms (certain)",
    "load late ms", "p99 ms: before", "onset", "open", "after", "other nodes", "recovery ms", "log lines", "exceptions",
    "MB",
)  # fmt: skip


class Scale(NamedTuple):
    """Seconds before, during and after the fault."""

    before: float = 3.0
    fault: float = 4.0
    after: float = 4.0


QUICK: Final = Scale(before=1.5, fault=2.0, after=2.5)


class Watch(NamedTuple):
    """Wall-clock times in seconds.

    Attributes:
        began: start of the load.
        fault: start of the fault.
        opened: the service reported that Redis is unavailable.
        back: end of the fault.
        ended: end of the load.
    """

    began: float
    fault: float
    opened: float
    back: float
    ended: float


class Log(NamedTuple):
    """Summary of the service's log.

    Attributes:
        lines: number of lines.
        exceptions: number of lines that report an error.
        edges: when Redis was reported unavailable; wall-clock seconds.
    """

    lines: int
    exceptions: int
    edges: tuple[float, ...] = ()

    def away(self, since: float, until: float) -> float:
        """Return when the service first reported in this time that Redis is unavailable; ``until`` if it did not."""
        return next((edge for edge in self.edges if since <= edge < until), until)


class Found(NamedTuple):
    """Result of one fault; times in seconds, nan if there was no call.

    Attributes:
        failures: failed charges by kind.
        before, onset, open, after: p99 of the calls that the fault affects, by phase.
        spared: p99 of the other calls during the fault.
        over: calls that took longer than ``MOST``.
        surely: calls that took longer than ``MOST`` even after subtracting the lateness of the load itself.
        right: from the end of the fault until the first decision from the counter in Redis.
        late: largest lateness of the load itself.
        misses: the guarantees that were not met.
    """

    fault: str
    policy: str
    calls: int
    failed: int
    failures: dict[str, int]
    longest: float
    over: int
    surely: int
    late: float
    before: float
    onset: float
    open: float
    after: float
    spared: float
    right: float
    log: Log
    megabytes: float
    misses: tuple[str, ...]


def policy(on_store_failure: str) -> str:
    """Return a policy with one limit that is never reached."""
    rate = f"{{unit: hour, requests_per_unit: {PLENTY}, algorithm: token_bucket}}"
    rule = f"  - {{key: {KEY}, on_store_failure: {on_store_failure}, rate_limit: {rate}}}"
    return f"domain: {DOMAIN}\ndescriptors:\n{rule}\n"


def measure(scale: Scale, command: str) -> Report:
    """Measure each fault with each policy."""
    where = cores()
    began = busy()
    with on_core(where.redis):  # the service has its core to itself
        found = [once(fault, each, scale, where) for fault in FAULTS for each in POLICIES]
    missed = [f"**{each.fault}, {each.policy}: {miss}**" for each in found for miss in each.misses]
    return Report(
        "faults",
        f"Redis fails under {RATE:,.0f} calls per second",
        COLUMNS,
        [_row(each) for each in found],
        [
            *_notes(scale, where),
            f"other work on the machine: {began} before, {busy()} after",
            *(missed or ["every row meets the guarantees"]),
        ],
        [_data(each) for each in found],
        command,
        page="reliability.md",
    )


def once(fault: Fault, on_store_failure: str, scale: Scale, where: Cores) -> Found:
    """Measure one fault: start the load, start the fault, end it, and wait for recovery."""
    text = policy(on_store_failure)
    with fault.rig(where, text) as rig:
        env = {"REPLICAS": str(SIZE), **rig.env}
        with server.service(TRANSPORT, text, where.server, env) as subject:
            ready(subject)
            start = len(subject.log.read_text())
            watch, calls = _play(subject, rig, scale, scale.fault * fault.lasts, where)
            log = _read(subject.log.read_text()[start:])
            watch = watch._replace(opened=log.away(watch.fault, watch.back))
            kinds, size = _kinds(server.metrics(subject)), rss_bytes(subject.pid) / 1e6
    return evaluate(fault.name, on_store_failure, watch, calls, log, kinds, size, rig.spared)


def _play(subject: Subject, rig: Rig, scale: Scale, seconds: float, where: Cores) -> tuple[Watch, list[Call]]:
    load = Tracer(subject.address, [request(KEY, user(n)) for n in range(USERS)], where.load, rate=RATE)
    began = time.time()
    time.sleep(scale.before)
    fault = time.time()
    rig.inject()
    time.sleep(seconds)
    rig.repair()
    back = time.time()
    time.sleep(scale.after)
    ended = time.time()
    return Watch(began, fault, back, back, ended), load.end()


def _read(text: str) -> Log:
    """Read a log of JSON lines; any other line, such as a traceback, counts as an error."""
    records = []
    for line in text.splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            records.append({"level": "error"})
    edges = [
        datetime.fromisoformat(record["@timestamp"]).timestamp() for record in records if record.get("@message") == AWAY
    ]
    wrong = sum(record.get("level") in ("error", "critical") or "exception" in record for record in records)
    return Log(len(records), wrong, tuple(edges))


def _kinds(counted: Mapping[str, float]) -> dict[str, int]:
    """Return the number of failed charges by kind."""
    named = {name.partition('"')[2].rstrip('"}'): value for name, value in counted.items() if name.startswith(FAILURES)}
    return {kind: int(value) for kind, value in named.items() if value}


def evaluate(
    fault: str,
    on_store_failure: str,
    watch: Watch,
    calls: Sequence[Call],
    log: Log,
    kinds: dict[str, int],
    megabytes: float,
    spared: frozenset[int] = frozenset(),
) -> Found:
    """Compute the numbers of a row and the guarantees that were not met; pure."""
    struck = [call for call in calls if call.frame not in spared]
    right = _right(struck, watch.back)
    found = Found(
        fault,
        on_store_failure,
        len(calls),
        sum(call.failed for call in calls),
        kinds,
        longest(calls),
        sum(call.took > MOST for call in calls),
        _surely(calls),
        lag(calls),
        _p99(between(struck, watch.began + SETTLE, watch.fault)),
        percentile(between(struck, watch.fault, watch.opened)),
        _p99(between(struck, watch.opened, watch.back)),
        _p99(between(struck, watch.back + min(right, BACK), watch.ended)),
        _p99([call for call in between(calls, watch.fault, watch.back) if call.frame in spared]),
        right,
        log,
        megabytes,
        (),
    )
    lost = sum(call.failed for call in between(calls, watch.back + BACK, watch.ended))
    beside = sum(call.failed for call in calls if call.frame in spared)
    said = {
        f"{found.surely} calls over 20 ms, the longest {found.longest * 1e3:.0f} ms": found.surely > 0,
        f"p99 {found.open * 1e3:.1f} ms while the breaker is open": found.open > OPEN,
        f"no correct decision until {right * 1e3:.0f} ms after the recovery": right > BACK,
        f"{lost} calls failed more than 1 s after the recovery": lost > 0,
        f"{beside} calls of other nodes failed": beside > 0,
        f"{found.failed} calls failed": on_store_failure == "local" and found.failed > 0,
        f"{log.exceptions} exceptions in the log": log.exceptions > 0,
    }
    return found._replace(misses=tuple(miss for miss, true in said.items() if true))


def _surely(calls: Sequence[Call]) -> int:
    """Count the calls that took too long even if the load read their answers as late as it sent other calls."""
    long = [call for call in calls if call.took > MOST]
    return sum(call.took - lag(between(calls, call.due, call.done)) > MOST for call in long)


def _p99(calls: Sequence[Call]) -> float:
    """Return the 99th percentile; nan for fewer than 100 calls."""
    return percentile(calls) if len(calls) >= 100 else math.nan


def _right(calls: Sequence[Call], back: float) -> float:
    """Return the seconds from ``back`` to the first answer whose remaining hits exceed any process's local share."""
    answered = sorted((call for call in calls if call.done >= back), key=lambda call: call.done)
    return next((call.done - back for call in answered if call.remaining > PLENTY // SIZE), math.inf)


def _notes(scale: Scale, where: Cores) -> list[str]:
    redis = "its own core" if where.redis != where.load else "the load's core"
    return [
        (
            f"each row: {scale.before:g} s before the fault, {scale.fault:g} s of it, {scale.after:g} s after it; "
            f"one service on core {where.server}, load on core {where.load}, Redis on {redis}"
        ),
        f"the time of a call starts when it was due, even if the load sent it later; {USERS} counters",
        (
            "over 20 ms: all calls, and in parentheses those that are over it even after subtracting the lateness of "
            "the load itself"
        ),
        (
            "onset: from the fault until the log reports that Redis is unavailable; open: from then until the fault "
            "ends; p99 is omitted for fewer than 100 calls"
        ),
        (
            "recovery: from the end of the fault (SIGCONT, the restarted server listens, the proxy forwards again, or "
            "the replica is the master) until the first decision from the counter in Redis"
        ),
        "other nodes: during the fault, calls whose counters are on the two unaffected nodes",
    ]


def _data(each: Found) -> dict[str, Any]:
    """Return a row for JSON, with null for nan and infinity."""
    fields = {**each._asdict(), "log": each.log._asdict()}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in fields.items()
    }


def _row(each: Found) -> list[str]:
    def ms(seconds: float) -> str:
        return "" if math.isnan(seconds) else digits(seconds * 1e3)

    return [
        each.fault,
        each.policy,
        f"{each.calls:,}",
        f"{each.failed:,}",
        ", ".join(f"{kind} {count:,}" for kind, count in each.failures.items()),
        ms(each.longest),
        f"{each.over:,} ({each.surely:,})",
        *map(ms, (each.late, each.before, each.onset, each.open, each.after, each.spared, each.right)),
        str(each.log.lines),
        str(each.log.exceptions),
        digits(each.megabytes),
    ]
