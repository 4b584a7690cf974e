"""Does a limit hold? Four services, one counter, every fault: what was admitted, held against the bound."""

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from bench.bounds import WINDOWED, Admitted, Allowance, Failover, Local, bound, over_admission, used
from bench.fleet import SIZE
from bench.injections import SCENARIOS, Injected, Pace, Scenario, Stage, quiet, stage
from bench.laws import LAWS, SHARE
from bench.measure import digits
from bench.report import Report
from bench.trace import Call, lag, percentile
from testkit.machine import Cores, busy, cores

RATE: Final = 1_000.0
"""Calls a second over all: over ten times what may be admitted, with a burst for each failover."""

LEAST: Final = 0.9
"""Of what the limit sustains, before the fault and after it."""

TIMES: Final = 10
"""As many calls as may be admitted, at least, must be offered."""

COLUMNS: Final = (
    "scenario", "limit", "calls", "errors", "p99 ms", "offered", "faults", "failovers", "admitted", "bound",
    "over-admission", "before", "after",
)  # fmt: skip


class Scale(NamedTuple):
    """How much to measure."""

    pace: Pace = Pace()


QUICK: Final = Scale(Pace(before=2.0, fault=1.5, settle=1.5, after=2.0))


class Watch(NamedTuple):
    """When what happened, in wall-clock seconds: the load, and the fault in it."""

    began: float
    fault: float
    over: float
    ended: float


class Verdict(NamedTuple):
    """What a scenario came to.

    Attributes:
        offered: calls for each one that may be admitted.
        before, after: part of what the limit sustains that was admitted before the fault and after the recovery.
        lag: seconds by which the load itself was late.
        misses: what does not hold.
    """

    scenario: str
    limit: str
    calls: int
    errors: int
    p99: float
    offered: float
    faults: int
    failovers: int
    admitted: int
    bound: float
    over_admission: int
    before: float
    after: float
    lag: float
    misses: tuple[str, ...]


def measure(scale: Scale, command: str) -> Report:
    """Play every scenario, one topology after the other."""
    where = cores()
    began = busy()
    found = [
        verdict
        for topology in dict.fromkeys(each.topology for each in SCENARIOS)
        for verdict in _of(topology, scale, where)
    ]
    missed = [f"**{each.scenario}, {each.limit}: {miss}**" for each in found for miss in each.misses]
    return Report(
        "consistency",
        f"One limit, {SIZE} services, {RATE:,.0f} calls/s: what was admitted and what may be",
        COLUMNS,
        [_row(each) for each in found],
        [*_notes(scale.pace), f"other work: {began} before, {busy()} after", *(missed or ["every row holds"])],
        [each._asdict() for each in found],
        command,
        page="reliability.md",
    )


def _of(topology: str, scale: Scale, where: Cores) -> list[Verdict]:
    with stage(topology, where, scale.pace) as ready:
        return [play(ready, each) for each in SCENARIOS if each.topology == topology]


def play(ready: Stage, scenario: Scenario) -> Verdict:
    """Play one scenario and hold its calls against the bound."""
    pace, value = ready.pace, f"{scenario.name}, {scenario.law}"
    ready.services.load(scenario.law, value, RATE)
    began = time.time()
    time.sleep(pace.before)
    fault = time.time()
    injected = scenario.fault(ready, value)
    over = time.time()
    time.sleep(pace.settle + pace.after)
    watch = Watch(began, fault, over, time.time())
    return judge(scenario, injected, watch, pace, ready.services.calls())


def judge(scenario: Scenario, injected: Injected, watch: Watch, pace: Pace, calls: Sequence[Call]) -> Verdict:
    """Hold calls against the bound; pure."""
    law = LAWS[scenario.law]
    allowed = [Admitted(call.sent, call.done) for call in calls if call.admitted]
    over = watch.over + pace.settle
    extra: list[Allowance] = [Failover(watch.fault, over)] * injected.failovers
    if scenario.law == "local":
        # Not only during the fault: on a busy machine a budget ends before an answer comes at other times too.
        extra.append(Local(watch.began, watch.ended, SIZE, SHARE))
    first = 2 * law.at_once / RATE  # until the first burst is spent
    most = bound(law, extra, calls[0].sent, max(call.done for call in allowed))
    verdict = Verdict(
        scenario.name,
        f"{law.algorithm}, {law.quota} {'a second' if law.window == 1.0 else 'a minute'}"
        + (", local" if scenario.law == "local" else ""),
        len(calls),
        sum(call.failed for call in calls),
        percentile([call for call in calls if not call.failed]),
        len(calls) / most,
        injected.faults,
        injected.failovers,
        len(allowed),
        most,
        over_admission(law, allowed, extra),
        used(law, allowed, watch.began + (0 if law.algorithm in WINDOWED else first), watch.fault),
        used(law, allowed, over, watch.ended),
        lag(calls),
        (),
    )
    return verdict._replace(misses=tuple(_misses(scenario, verdict)))


def _misses(scenario: Scenario, verdict: Verdict) -> list[str]:
    said = {
        f"{verdict.over_admission} admitted over the bound": verdict.over_admission > 0,
        f"{verdict.before:.0%} admitted before the fault": verdict.before < LEAST,
        f"{verdict.after:.0%} admitted after the recovery": verdict.after < LEAST,
        f"{verdict.offered:.1f} times the bound offered": verdict.offered < TIMES,
        "no fault": verdict.faults == 0 and scenario.fault is not quiet,
    }
    return [miss for miss, true in said.items() if true]


def _notes(pace: Pace) -> list[str]:
    times = (
        f"each: {pace.before:g} s, the fault for {pace.fault:g} s or as long as it takes, {pace.settle:g} s to settle, "
        f"{pace.after:g} s"
    )
    over = (
        "over-admission: of all windows, by how many calls the worst is above its bound, which has one burst more for "
        "each failover in it"
    )
    return [
        times,
        "errors: calls that were failed, as on_store_failure: error has it; p99: of those that were answered",
        "offered: calls for each one that may be admitted, over the whole time; at least ten are asked for",
        over,
        "before, after: what was admitted of what the limit sustains; at least 90 % are asked for",
    ]


def _row(each: Verdict) -> list[str]:
    return [
        each.scenario,
        each.limit,
        f"{each.calls:,}",
        f"{each.errors:,}",
        digits(each.p99 * 1e3),
        f"{each.offered:.1f}x",
        f"{each.faults:,}",
        str(each.failovers),
        f"{each.admitted:,}",
        f"{each.bound:,.0f}",
        str(each.over_admission),
        f"{each.before:.0%}",
        f"{each.after:.0%}",
    ]
