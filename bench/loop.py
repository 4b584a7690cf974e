"""The event loop: latency of calls during a scrape of very many limits, and during a reload of very many rules."""

import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Final, NamedTuple

from bench.load import Load, Result, run
from bench.measure import shown, spreads, thousands
from bench.policy import policy, requests
from bench.report import Report
from testkit import server
from testkit.errors import BenchError
from testkit.machine import Cores, cores
from testkit.server import Subject

RATE: Final = 1_000
"""Calls per second, evenly spaced: a fraction of the capacity of either transport, so that only stalls show."""

CHUNK: Final = 1 << 20
LOADED: Final = "policy loaded"
COLUMNS: Final = ("served by", "activity", "calls", "p50 ms", "p99 ms", "worst ms", "duration s")


class Scale(NamedTuple):
    """How much to measure; ``many`` is the number of limits to scrape and of rules to load."""

    repeats: int = 3
    seconds: float = 10.0
    many: int = 100_000


QUICK: Final = Scale(repeats=1, seconds=2.0, many=10_000)


def measure(scale: Scale, command: str) -> Report:
    """Measure each transport while idle, during scrapes, and during reloads of its policy."""
    where = cores()
    transports, notes = server.transports()
    data: list[dict[str, Any]] = []
    for name in transports:
        with server.service(name, policy(scale.many), where.server) as subject:
            _meet_every_limit(subject, scale, where)
            data += [
                {"by": name, "meanwhile": doing, **{key: value._asdict() for key, value in spreads(repeats).items()}}
                for doing, repeats in _repeat(subject, scale, where)
            ]
    many = f"{scale.many:,}"
    return Report(
        "loop",
        f"The event loop: {RATE:,} calls/s while {many} limits are scraped or {many} rules are loaded",
        COLUMNS,
        [_row(each) for each in data],
        [*_notes(scale, where), *notes],
        data,
        command,
    )


def _notes(scale: Scale, where: Cores) -> list[str]:
    return [
        f"each activity is repeated for {scale.seconds:g} s; {scale.repeats} repeats, median (least-most)",
        "the latency of a call starts when it was due, so that a stall counts for every call that falls into it",
        (
            f"the service, and its child process that parses the policy, on core {where.server}; load and scraper on "
            f"core {where.load}; duration: of one scrape or reload"
        ),
    ]


def _meet_every_limit(subject: Subject, scale: Scale, where: Cores) -> None:
    """Send a call for each rule, since a limit has metrics only after its first call, and check that they exist."""
    run(subject.address, requests(keys=scale.many), Load(4, 16, 0.1, warm_calls=scale.many), where.load)
    lines = _scrape(subject)
    if lines < scale.many:
        raise BenchError(f"/metrics has only {lines} lines for {scale.many} limits")


def _repeat(subject: Subject, scale: Scale, where: Cores) -> Iterator[tuple[str, list[dict[str, float]]]]:
    doings: list[tuple[str, Callable[[], object]]] = [
        ("nothing", lambda: time.sleep(scale.seconds)),
        ("a scrape", lambda: _scrape(subject)),
        ("a reload", lambda: _reload(subject, scale)),
    ]
    found: dict[str, list[dict[str, float]]] = {name: [] for name, _ in doings}
    for _ in range(scale.repeats):
        for name, do in doings:
            found[name].append(_once(subject, scale, where, do))
    yield from found.items()


def _once(subject: Subject, scale: Scale, where: Cores, do: Callable[[], object]) -> dict[str, float]:
    """Measure calls while an activity is repeated, at least once."""
    took: list[float] = []

    def during() -> None:
        until = time.monotonic() + scale.seconds
        while not took or time.monotonic() < until:
            start = time.monotonic()
            do()
            took.append(time.monotonic() - start)

    result: Result = run(
        subject.address,
        requests(),
        Load(4, 16, server.START_SECONDS, rate=RATE),
        where.load,
        during=during,
    )
    return {
        "calls": float(result.calls), "p50": result.p50, "p99": result.p99, "worst": result.worst, "took": fmean(took)
    }  # fmt: skip


def _scrape(subject: Subject) -> int:
    """Read /metrics; return its number of lines."""
    lines = 0
    with urllib.request.urlopen(f"http://{subject.http}/metrics", timeout=server.START_SECONDS) as answer:
        while chunk := answer.read(CHUNK):
            lines += chunk.count(b"\n")
    return lines


def _reload(subject: Subject, scale: Scale) -> None:
    """Write the policy again, trigger a reload, and return when the log reports that it is loaded."""
    file = subject.log.with_name("policy.yaml")
    loads = subject.log.read_text().count(f'"{LOADED}"')
    fresh = Path(f"{file}.new")
    fresh.write_text(policy(scale.many))
    fresh.replace(file)
    os.kill(subject.pid, signal.SIGHUP)
    if server.waited(subject.log, LOADED, after=loads) is None:
        raise BenchError(f"the policy was not reloaded:\n{subject.log.read_text()}")


def _row(each: dict[str, Any]) -> list[str]:
    cell = partial(shown, each)
    return [
        each["by"],
        each["meanwhile"],
        cell("calls", 1, thousands),
        *(cell(name, 1e3) for name in ("p50", "p99", "worst")),
        cell("took", 1),
    ]
