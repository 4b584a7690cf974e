"""The fallback proxy beside nginx, a Go gateway and others: throughput, CPU, and latencies by connection."""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.beside import ratios
from bench.load_http1 import SLOWEST, Requests, load
from bench.measure import digits, shown, spreads, thousands
from bench.peer_proxies import PeerProxy, go_gateway
from bench.proxies import BODY, KEY, OURS, Subject, in_memory, nginx, nginx_version, start
from bench.report import Report
from testkit.errors import MISSING, BenchError
from testkit.machine import Cores, busy_seconds, cores, rss_bytes, scheduled

CONNECTIONS: Final = (32, 128)
"""Connections with one request in flight on each: few, and so many that requests queue."""


PATH: Final = "/api/answer"

_HEAD: Final = (
    "GET {path} HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: application/json\r\n"
    f"X-API-Key: {KEY}\r\n{{more}}\r\n"
)

HEADS: Final[Mapping[str, str]] = {
    "same": _HEAD.format(path=PATH, more=""),
    "different": _HEAD.format(
        path=f"{PATH}/#########", more="Cookie: session=#########\r\nX-Request-Id: bench-#########\r\n"
    ),
}
"""Heads of the requests: the same again and again, or each with another path, cookie and id (see load_http1.c)."""

MOST_WAITING: Final = 0.05
"""Share of its time that a proxy may wait for its core; above it, latencies are those of other processes."""

COLUMNS: Final = (
    "proxy", "heads", "connections", "requests/s", "CPU µs", "p50 ms", "p99 ms", "worst p99 ms", "slow in 3", "waiting",
    "MB", "load's core",
)  # fmt: skip

RATIOS: Final = {"rate": "requests/s", "cpu": "CPU", "p99": "p99"}
"""The columns of ratios for each peer: titles by number."""


class Scale(NamedTuple):
    """How much to measure."""

    repeats: int = 3
    seconds: float = 5.0


QUICK: Final = Scale(repeats=1, seconds=2.0)


class Case(NamedTuple):
    """A load: which heads, and on how many connections."""

    heads: str
    connections: int


CASES: Final = tuple(Case(heads, connections) for heads in HEADS for connections in CONNECTIONS)

Rounds = Mapping[tuple[Case, str], Sequence[Mapping[str, float]]]
"""The measurements of each proxy under each load, in the order of the rounds."""


def measure(scale: Scale, others: Sequence[PeerProxy], command: str) -> Report:
    """Measure each configuration of ``ratelimitd proxy``, nginx and the others, with one upstream, alternately."""
    _check_tools()
    where = cores()
    found: dict[tuple[Case, str], list[Mapping[str, float]]] = {}
    built, notes = go_gateway(KEY)
    notes = [*notes]
    with ExitStack() as stack:
        subjects = start(stack, where, [*built, *others])
        for _ in range(scale.repeats):
            for case in CASES:
                for subject in subjects:
                    measured = once(subject, case, scale.seconds, where, notes)
                    found.setdefault((case, subject.name), []).append(measured)
    peers = [subject.name for subject in subjects if subject.name not in OURS]
    data = _data(found, peers, notes)
    columns = [*COLUMNS, *(f"{title} ÷ {peer}" for peer in peers for title in RATIOS.values())]
    title = f"A proxy on one core, in front of an upstream that answers with {BODY:,} bytes"
    rows = [row(each, peers) for each in data]
    return Report("proxy", title, columns, rows, [_about(where, scale), *notes], data, command)


def _about(where: Cores, scale: Scale) -> str:
    return (
        f"proxies on core {where.server}, the load and the upstream (nginx, a file) on core {where.load}, Redis on"
        f" core {where.redis}; {scale.repeats} rounds of {scale.seconds:g} s, median (least-most); "
        f"{nginx_version()}, one worker, keep-alive on both sides, no access log; ratelimitd: one API key with a "
        f"token bucket that is never empty; access logs are written to a file in memory ({in_memory()}); heads: "
        "the same in each request, or each with another path, cookie and X-Request-Id; CPU: of all threads, per "
        f"request; worst p99: of the connection with the highest; slow in {SLOWEST}: the part of the slowest "
        f"hundredth of all requests that {SLOWEST} connections had; waiting: the part of the time in which the "
        f"proxy waited for its core (at most {MOST_WAITING:.0%} is quoted); load's core: utilization; ÷: the "
        "median of the ratios of each round"
    )


def _data(found: Rounds, peers: Sequence[str], notes: list[str]) -> list[dict[str, Any]]:
    """Return the measurements that may be quoted: those without a failed request, on a core that was the proxy's."""
    quoted = {key: rounds for key, rounds in found.items() if _quotable(*key, rounds, notes)}
    data = []
    for (case, name), rounds in quoted.items():
        beside = {peer: quoted[case, peer] for peer in peers if name in OURS and (case, peer) in quoted}
        compared = {f"{number}/{peer}": ratios(rounds, of, number) for peer, of in beside.items() for number in RATIOS}
        numbers = {key: value._asdict() for key, value in (spreads(rounds) | compared).items() if value is not None}
        about = {"connections": str(case.connections), "heads": case.heads}
        data.append({**about, "case": f"{case.heads} heads, {case.connections} connections", "by": name, **numbers})
    return data


def _quotable(case: Case, name: str, rounds: Sequence[Mapping[str, float]], notes: list[str]) -> bool:
    failed, waited = sum(each["failed"] for each in rounds), max(each["waited"] for each in rounds)
    about = f"{case.heads} heads, {case.connections} connections, {name}: not quoted"
    if failed:
        notes.append(f"{about}, {failed:,.0f} requests failed")
    elif waited > MOST_WAITING:
        cpu = spreads(rounds)["cpu"].show(lambda seconds: digits(seconds * 1e6))
        notes.append(f"{about}, the proxy waited for its core {waited:.0%} of the time; CPU µs: {cpu}")
    return not failed and waited <= MOST_WAITING


def _check_tools() -> None:
    if shutil.which("redis-server") is None:
        raise BenchError(MISSING.format("redis-server"))
    nginx()


def once(subject: Subject, case: Case, seconds: float, where: Cores, notes: list[str]) -> dict[str, float]:
    """Measure once, after a warm-up; add a note with the reasons that our access log gives for failed requests."""
    with load(subject.address, HEADS[case.heads].encode(), BODY, case.connections, seconds, where.load) as running:
        before, busy, at = scheduled(subject.pid), busy_seconds(where.server), time.monotonic()
        found = running.result()
        took, after, busy = time.monotonic() - at, scheduled(subject.pid), busy_seconds(where.server) - busy
    ran, waited = after.ran - before.ran, after.waited - before.waited
    if subject.log is not None:
        if subject.name in OURS:
            _check_log(subject.log, found.requests)
            _note_failures(subject, found, notes)
        os.truncate(subject.log, 0)
    return {
        "rate": found.rate,
        "cpu": ran / found.requests,
        "p50": found.p50,
        "p99": found.p99,
        "worst_p99": found.worst_p99,
        "slow_share": found.slow_share,
        # Threads of one process wait for each other too: only what other processes used of the core counts.
        "waited": max(0.0, min(waited, busy - ran)) / took,
        "rss": float(rss_bytes(subject.pid)),
        "busy": found.busy,
        "failed": float(found.failed),
    }


def _note_failures(subject: Subject, found: Requests, notes: list[str]) -> None:
    if found.failed and subject.log is not None:
        notes.append(f"{subject.name}: failures in the access log: {failures(subject.log)}")


def _check_log(log: Path, requests: int) -> None:
    """Check that the log was written: a run without it would look faster than it is."""
    size = log.stat().st_size
    if size < requests * len(PATH):
        raise BenchError(f"the access log has {size} bytes after {requests} requests")


def failures(log: Path) -> dict[str, int]:
    """Count the failed requests of an access log, by status and error."""
    with log.open() as lines:
        records = [json.loads(line) for line in lines if '"status":200' not in line]
    return dict(Counter(f"{record['status']} {record['error'] or record['limit']}".strip() for record in records))


def row(each: Mapping[str, Any], peers: Sequence[str]) -> list[str]:
    """Return a row of the table, with the ratios to each peer; a cell is empty where there is none."""
    cell = partial(shown, each)

    def percent(value: float) -> str:
        return f"{value:.0f}%"

    return [
        each["by"],
        each["heads"],
        each["connections"],
        cell("rate", 1, thousands),
        cell("cpu", 1e6),
        cell("p50", 1e3),
        cell("p99", 1e3),
        cell("worst_p99", 1e3),
        cell("slow_share", 100, percent),
        cell("waited", 100, percent),
        cell("rss", 1 / (1 << 20)),
        cell("busy", 100, percent),
        *(
            cell(f"{number}/{peer}", 1, "{:.2f}".format) if f"{number}/{peer}" in each else ""
            for peer in peers
            for number in RATIOS
        ),
    ]
