"""Runs as a table and as JSON: allowed and limited requests per time interval."""

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ratelimitd.algorithms import SECOND
from ratelimitd.simulate.run import Run

ROWS: Final = 24
"""Maximum rows of a table: it fits a terminal of 24 lines, the usual size, or slightly more."""

BAR: Final = 40
"""Columns of the longest bar: with the numbers it fits a terminal of 80 columns."""

WIDE: Final = 200
"""Columns of output to a file or pipe: six algorithms fit without wrapping."""

_STEPS: Final = (
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    *(seconds * SECOND for seconds in (
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 604_800,
    )),
)  # fmt: skip


class Bucket(NamedTuple):
    """Counts of one time interval. ``start`` is in µs after the first request."""

    start: int
    allowed: int
    limited: int


def step_of(runs: Sequence[Run]) -> int:
    """Return the interval length in µs: the shortest round length that gives at most ``ROWS`` intervals."""
    span = max((run.times[-1] - run.times[0] for run in runs if run.times), default=0)
    for step in _STEPS:
        if span // step < ROWS:
            return step
    return -(-(span + 1) // ROWS)


def buckets(run: Run, step: int) -> list[Bucket]:
    """Count a run in intervals of ``step`` µs from its first request, including empty intervals."""
    if not run.times:
        return []
    first = run.times[0]
    allowed = [0] * ((run.times[-1] - first) // step + 1)
    limited = allowed[:]
    for time, over in zip(run.times, run.limited, strict=True):
        (limited if over else allowed)[(time - first) // step] += 1
    return [Bucket(index * step, *counts) for index, counts in enumerate(zip(allowed, limited, strict=True))]


def table(runs: Sequence[Run], *, bars: bool = False) -> Table:
    """Return a table with one row per interval, two columns per run, and the totals in the last row.

    ``bars`` adds a bar of allowed and limited requests to each row of a single run.
    """
    step = step_of(runs)
    made = Table(title=f"requests per {_length(step)}", show_footer=True, box=SIMPLE)
    made.add_column("from", justify="right", vertical="bottom", footer="total")
    for run in runs:
        name, over = run.name.replace("_", "\n"), run.over
        allowed = f"{name}\nallowed"
        limited = "\n" * allowed.count("\n") + "limited"
        made.add_column(allowed, justify="right", style="green", footer=str(run.total - over))
        made.add_column(limited, justify="right", style="red", footer=str(over))
    counted = [buckets(run, step) for run in runs]
    drawn = _bars(counted[0]) if bars and len(runs) == 1 else None
    if drawn:
        made.add_column("")
    for number, row in enumerate(zip(*counted, strict=True)):
        cells = (str(count) if count else "·" for bucket in row for count in (bucket.allowed, bucket.limited))
        made.add_row(_clock(row[0].start, step), *cells, *(drawn[number : number + 1] if drawn else ()))
    return made


def _bars(counted: Sequence[Bucket]) -> list[Text]:
    """Draw each interval, the fullest ``BAR`` characters wide."""
    most = max((bucket.allowed + bucket.limited for bucket in counted), default=0) or 1
    made = []
    for bucket in counted:
        whole = round((bucket.allowed + bucket.limited) * BAR / most)
        allowed = round(bucket.allowed * BAR / most)
        made.append(Text.assemble(("█" * allowed, "green"), ("█" * (whole - allowed), "red")))
    return made


def show(runs: Sequence[Run]) -> None:
    """Print the table, ``WIDE`` columns wide if the output is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    console.print(table(runs, bars=console.is_terminal))
    for run in runs:
        if run.unmatched:
            console.print(f"{run.name}: no limit applied to {run.unmatched} of {run.total} requests")


def as_json(runs: Sequence[Run]) -> str:
    """Return the counts as JSON. Times are in seconds after the first request."""
    step = step_of(runs)
    value = {
        "bucket_seconds": step / SECOND,
        "runs": [
            {
                "algorithm": run.name,
                "allowed": run.total - run.over,
                "limited": run.over,
                "without_limit": run.unmatched,
                "buckets": [
                    {"from": bucket.start / SECOND, "allowed": bucket.allowed, "limited": bucket.limited}
                    for bucket in buckets(run, step)
                ],
            }
            for run in runs
        ],
    }
    return json.dumps(value, indent=2)


def _length(time: int) -> str:
    """Format µs as 0.05 s, 15 s, 2 min, 1 h."""
    for unit, name in ((3600 * SECOND, "h"), (60 * SECOND, "min")):
        if time % unit == 0 and time:
            return f"{time // unit} {name}"
    return f"{time / SECOND:g} s"


def _clock(time: int, step: int) -> str:
    """Format µs as 1:05, 1:05:00 or, if the step is below a second, 1:05.250."""
    seconds, rest = divmod(time, SECOND)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{rest // 1000:03}" if step < SECOND else ""
    return (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{seconds:02}{fraction}"
