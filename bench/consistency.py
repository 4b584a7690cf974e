"""Calls admitted by four services that share one counter, compared with the limit's bound under every fault."""

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from bench.bounds import WINDOWED, Admitted, Allowance, Failover, Local, bound, over_admission, used
from bench.fleet import SIZE
from bench.injections import SCENARIOS, Injected, Pace, Scenario, Stage, quiet, service_killed, stage
from bench.laws import LAWS, SHARE
from bench.measure import digits
from bench.report import Report
from bench.spending import CALLERS, COST, Account, Spending, account
from bench.trace import Call, lag, percentile
from testkit.machine import Cores, busy, cores

RATE: Final = 1_000.0
"""Calls per second in total: more than ten times the bound, including a burst for each failover."""

LEAST: Final = 0.9
"""Minimum part of what the limit sustains that must be admitted, before and after the fault."""

TIMES: Final = 10
"""Minimum ratio of offered calls to the bound."""

COLUMNS: Final = (
    "scenario", "limit", "calls", "errors", "p99 ms", "offered", "faults", "failovers", "admitted", "bound",
    "over-admission", "before", "after", "budget", "settled", "over-run",
)  # fmt: skip


class Scale(NamedTuple):
    """How much to measure."""

    pace: Pace = Pace()


QUICK: Final = Scale(Pace(before=2.0, fault=1.5, settle=1.5, after=2.0))


class Watch(NamedTuple):
    """Wall-clock times in seconds: the load from ``began`` to ``ended``, the fault from ``fault`` to ``over``."""

    began: float
    fault: float
    over: float
    ended: float


class Verdict(NamedTuple):
    """Result of a scenario.

    Attributes:
        offered: calls divided by the bound.
        before, after: admitted calls relative to what the limit sustains, before the fault and after the recovery.
        lag: largest lateness of the load itself, in seconds.
        misses: the requirements that were not met.
        spent: the budget, and what was spent of it.
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
    spent: Account = Account(0.0, 0, 0, ())


def measure(scale: Scale, command: str) -> Report:
    """Run every scenario, one topology after the other."""
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
        [
            *_notes(scale.pace),
            f"other work on the machine: {began} before, {busy()} after",
            *(missed or ["every row meets the bounds"]),
        ],
        [{**each._asdict(), "spent": each.spent._asdict()} for each in found],
        command,
        page="reliability.md",
    )


def _of(topology: str, scale: Scale, where: Cores) -> list[Verdict]:
    with stage(topology, where, scale.pace) as ready:
        return [play(ready, each) for each in SCENARIOS if each.topology == topology]


def play(ready: Stage, scenario: Scenario) -> Verdict:
    """Run one scenario, and compare its calls and answers with their bounds."""
    pace, value = ready.pace, f"{scenario.name}, {scenario.law}"
    ready.services.load(scenario.law, value, RATE)
    spending = Spending(ready.services.addresses, value, ready.services.metrics, ready.load_core)
    began = time.time()
    time.sleep(pace.before)
    fault = time.time()
    injected = scenario.fault(ready, value)
    over = time.time()
    time.sleep(pace.settle + pace.after)
    watch = Watch(began, fault, over, time.time())
    verdict = evaluate(scenario, injected, watch, pace, ready.services.calls())
    failovers = [Failover(watch.fault, watch.over + pace.settle)] * injected.failovers
    spent = account(spending.end(killed=scenario.fault is service_killed), failovers)
    return verdict._replace(spent=spent, misses=verdict.misses + spent.misses)


def evaluate(scenario: Scenario, injected: Injected, watch: Watch, pace: Pace, calls: Sequence[Call]) -> Verdict:
    """Compare calls with the bound; pure."""
    law = LAWS[scenario.law]
    allowed = [Admitted(call.sent, call.done) for call in calls if call.admitted]
    over = watch.over + pace.settle
    extra: list[Allowance] = [Failover(watch.fault, over)] * injected.failovers
    if scenario.law == "local":
        # Not only during the fault: on a busy machine any reply can miss its budget, the first one too.
        extra.append(Local(calls[0].sent, watch.ended, SIZE, SHARE))
    first = 2 * law.at_once / RATE  # until the first burst is spent
    most = bound(law, extra, calls[0].sent, max(call.done for call in allowed))
    verdict = Verdict(
        scenario.name,
        f"{law.algorithm}, {law.quota} {'per second' if law.window == 1.0 else 'per minute'}"
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
    return [
        (
            f"each row: {pace.before:g} s before the fault, {pace.fault:g} s (or as long as it takes) of it, "
            f"{pace.settle:g} s to settle, {pace.after:g} s after that"
        ),
        "errors: calls that failed because of on_store_failure: error; p99: of the calls that did not fail",
        f"offered: calls divided by the bound, over the whole run; at least {TIMES}x is required",
        (
            "over-admission: calls over the bound in the worst of all windows; the bound includes one burst for each "
            "failover in the window"
        ),
        f"before, after: admitted calls relative to what the limit sustains; at least {LEAST * 100:g} % is required",
        (
            f"budget, settled, over-run: hits of answers that are paid for afterwards, {COST} each: what the budget "
            "admits, what was recorded, and what the worst of all windows had over it; at most the answers in flight, "
            f"{SIZE * CALLERS}, and those whose reports met no store"
        ),
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
        f"{each.spent.budget:,.0f}",
        f"{each.spent.settled:,}",
        f"{each.spent.over_run:,}",
    ]
