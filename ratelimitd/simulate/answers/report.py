"""Runs of designs as a table and as JSON: what was used of each limit, and how far it was exceeded."""

import json
from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from ratelimitd.policy import Limit, window_in_words
from ratelimitd.simulate.report import WIDE

from .load import Facts, Load, facts
from .run import AnswersRun, Spent


def mean_over_run(spent: Spent) -> float:
    """Return the mean over-run of all windows, as a part of the limit."""
    return sum(spent.over_runs) / len(spent.over_runs)


def worded(limit: Limit) -> str:
    """Return amount and window of a limit: ``20,000 per 10 minutes``."""
    return f"{limit.requests_per_unit:,} per {window_in_words(limit)}"


def percent(part: float) -> str:
    """Format a part: with one digit after the point below 10 %."""
    return f"{part:.1%}" if part < 0.1 else f"{part:.0%}"


def table(runs: Sequence[AnswersRun]) -> Table:
    """Return a table with a row for each design and limit."""
    made = Table(box=SIMPLE)
    made.add_column("design", no_wrap=True)
    several = len({worded(spent.limit) for run in runs for spent in run.spent}) > 1
    if several:
        made.add_column("limit")
    expired = any(run.expired for run in runs)
    questions = ("passed", "denied", "holds\nexpired") if expired else ("passed", "denied")
    for heading in (*questions, "used", "over-run\nmean", "worst\nwindow"):
        made.add_column(heading, justify="right", vertical="bottom")
    for run in runs:
        for number, spent in enumerate(run.spent):
            name, *counts = _counts(run, expired=expired) if number == 0 else [""] * (4 if expired else 3)
            limit = [worded(spent.limit)] if several else []
            over = percent(mean_over_run(spent)), percent(max(spent.over_runs))
            made.add_row(name, *limit, *counts, percent(spent.used), *over)
    return made


def _counts(run: AnswersRun, *, expired: bool) -> list[str]:
    """Return the cells of a design that are the same for each limit."""
    counts = (run.passed, run.denied, run.expired) if expired else (run.passed, run.denied)
    return [run.name, *(f"{count:,}" for count in counts)]


def about(load: Load, known: Facts) -> str:
    """Describe a load in a sentence or two."""
    return (
        f"{load.callers} callers; answers of {known.median:,} tokens (median; mean {known.mean:,}, 90 % below "
        f"{known.p90:,}), streams of {known.lasts:g} s (median; 99 % below {known.lasts_p99:g} s). "
        f"On average an answer in flight costs {known.in_flight:,}."
    )


def show(runs: Sequence[AnswersRun], load: Load) -> None:
    """Print the table, ``WIDE`` columns wide if the output is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(about(load, facts(load)), highlight=False)
    console.print(table(runs))


def as_json(runs: Sequence[AnswersRun], load: Load) -> str:
    """Return load and results as JSON; over-runs are parts of the limit."""
    value = {
        "load": facts(load)._asdict(),
        "runs": [
            {
                "design": run.name,
                "passed": run.passed,
                "denied": run.denied,
                "expired_holds": run.expired,
                "limits": [
                    {
                        "limit": spent.limit.requests_per_unit,
                        "window_seconds": spent.limit.rate.window / 1e6 if spent.limit.rate else 0,
                        "used": round(spent.used, 4),
                        "over_run": {"mean": round(mean_over_run(spent), 4), "worst": round(max(spent.over_runs), 4)},
                        "windows": [window._asdict() for window in spent.windows],
                    }
                    for spent in run.spent
                ],
            }
            for run in runs
        ],
    }
    return json.dumps(value, indent=2)
