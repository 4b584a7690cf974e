"""The event loop: its longest hold, and the latency of calls, during scrapes, reloads and a saturated service."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Final, NamedTuple

from bench.builds import GRPCIO, STORE_BUDGET, Build, builds
from bench.load import Load, Result, run
from bench.measure import shown, spread, spreads, thousands
from bench.policy import policy, requests
from bench.report import Report
from bench.rls import CONNECTIONS, STREAMS
from testkit import server
from testkit.errors import BenchError
from testkit.machine import Cores, cores, pinned
from testkit.server import Subject

RATE: Final = 1_000
"""Calls per second, evenly spaced: a fraction of the capacity of either transport, so that only stalls show."""

CHUNK: Final = 1 << 20
LOADED: Final = "policy loaded"
LONGEST: Final = "ratelimitd_loop_lag_longest_seconds"
IDLER: Final = """
import asyncio, sys
from ratelimitd.observe.loop import LoopLag
async def idle(lag):
    asyncio.get_running_loop().call_later(float(sys.argv[1]), asyncio.current_task().cancel)
    await lag.run()
lag = LoopLag()
try:
    asyncio.run(idle(lag))
except asyncio.CancelledError:
    print(lag.longest)
"""
"""A process whose timers only the machine can delay, measured as the service measures its own."""

COLUMNS: Final = ("activity", "served by", "longest hold ms", "calls", "p50 ms", "p99 ms", "worst ms", "duration s")


class Scale(NamedTuple):
    """How much to measure; ``many`` is the number of limits to scrape, of rules to load, and of keys."""

    repeats: int = 3
    seconds: float = 10.0
    many: int = 100_000


QUICK: Final = Scale(repeats=1, seconds=2.0, many=10_000)

EVEN: Final = Load(4, 16, server.START_SECONDS, rate=RATE)
FULL: Final = Load(CONNECTIONS, STREAMS, server.START_SECONDS)


class Activity(NamedTuple):
    """What goes on beside the calls.

    Attributes:
        do: is repeated during the measurement.
        load: the calls: evenly spaced, with very many rules, or at the maximum rate, with very many keys.
        redis: whether counters are in Redis.
    """

    name: str
    do: Callable[[Subject, Scale], object]
    load: Load = EVEN
    redis: bool = False


def measure(scale: Scale, command: str) -> Report:
    """Measure each build in each activity, in a process of its own, so that a hold is of one activity."""
    where = cores()
    chosen, notes = builds()
    before = unrest(where.server, 3 * scale.seconds)
    data = [
        {"meanwhile": activity.name, "by": build.name} | _numbers(build, activity, scale, where)
        for activity in ACTIVITIES
        for build in chosen
        if activity.load == EVEN or build.name != GRPCIO
    ]
    many = f"{scale.many:,}"
    return Report(
        "loop",
        f"The event loop: {RATE:,} calls/s while {many} limits are scraped or {many} rules are loaded; and full load",
        COLUMNS,
        [_row(each) for each in data],
        [*_notes(scale, where), _about_unrest(before, unrest(where.server, 3 * scale.seconds), where), *notes],
        data,
        command,
    )


def unrest(core: int, seconds: float) -> float:
    """Return the largest delay, seconds, of the timers of a process that does nothing else on a core."""
    command = pinned(core, [sys.executable, "-c", IDLER, str(seconds)])
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _about_unrest(before: float, after: float, where: Cores) -> str:
    return (
        f"the machine alone: the same timers in a process that does nothing else on core {where.server} were late by "
        f"up to {before * 1e3:.1f} ms before these runs, and {after * 1e3:.1f} ms after them"
    )


def _numbers(build: Build, activity: Activity, scale: Scale, where: Cores) -> dict[str, Any]:
    """Return the spreads of all repeats, and the longest hold of any of them."""
    full = activity.load == FULL
    with ExitStack() as stack:
        env = dict(build.env)
        if activity.redis:
            env["REDIS_URL"] = stack.enter_context(server.redis(where))[0]
        if full:
            env["STORE_BUDGET"] = STORE_BUDGET
        text = policy(1 if full else scale.many)
        subject = stack.enter_context(server.service(build.transport, text, where.server, env))
        if not full:
            _meet_every_limit(subject, scale, where)
        repeats = [_once(subject, activity, scale, where) for _ in range(scale.repeats)]
        hold = server.metrics(subject)[LONGEST]
    found = {key: value._asdict() for key, value in spreads(repeats).items()}
    return {**found, "hold": spread([hold])._asdict()}


def _notes(scale: Scale, where: Cores) -> list[str]:
    return [
        f"each activity is repeated for {scale.seconds:g} s; {scale.repeats} repeats, median (least-most)",
        (
            f"longest hold: {LONGEST} after the last repeat, the largest delay of a timer in the last 30 to 60 s: what "
            "the loop did, and what other processes took of its core"
        ),
        "the latency of a call starts when it was due, so that a stall counts for every call that falls into it",
        (
            f"the service, and its child process that parses the policy, on core {where.server}; load and scraper on "
            f"core {where.load}, Redis on core {where.redis}; duration: of one scrape or reload; full load: "
            f"{CONNECTIONS} connections with {STREAMS} concurrent calls each, {scale.many:,} keys; it waits "
            "1 s for Redis"
        ),
    ]


def _meet_every_limit(subject: Subject, scale: Scale, where: Cores) -> None:
    """Send a call for each rule, since a limit has metrics only after its first call, and check that they exist."""
    run(subject.address, requests(keys=scale.many), Load(4, 16, 0.1, warm_calls=scale.many), where.load)
    lines = _scrape(subject, scale)
    if lines < scale.many:
        raise BenchError(f"/metrics has only {lines} lines for {scale.many} limits")


def _once(subject: Subject, activity: Activity, scale: Scale, where: Cores) -> dict[str, float]:
    """Measure calls while an activity is repeated, at least once."""
    took: list[float] = []

    def during() -> None:
        until = time.monotonic() + scale.seconds
        while not took or time.monotonic() < until:
            start = time.monotonic()
            activity.do(subject, scale)
            took.append(time.monotonic() - start)

    frames = requests(keys=scale.many) if activity.load == FULL else requests()
    result: Result = run(subject.address, frames, activity.load, where.load, during=during)
    return {
        "calls": float(result.calls), "p50": result.p50, "p99": result.p99, "worst": result.worst, "took": fmean(took)
    }  # fmt: skip


def _wait(_subject: Subject, scale: Scale) -> None:
    """Let the calls go on by themselves."""
    time.sleep(scale.seconds)


def _scrape(subject: Subject, _scale: Scale) -> int:
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


ACTIVITIES: Final = (
    Activity("nothing", _wait),
    Activity("a scrape", _scrape),
    Activity("a reload", _reload),
    Activity("full load, memory", _wait, FULL),
    Activity("full load, Redis", _wait, FULL, redis=True),
)


def _row(each: dict[str, Any]) -> list[str]:
    cell = partial(shown, each)
    return [
        each["meanwhile"],
        each["by"],
        cell("hold", 1e3),
        cell("calls", 1, thousands),
        *(cell(name, 1e3) for name in ("p50", "p99", "worst")),
        cell("took", 1),
    ]
