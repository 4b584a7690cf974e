"""``python -m bench.compare BEFORE AFTER``: the CPU of a call in two checkouts, measured alternately.

Both are run by this Python, with their own extension: build it in each (``setup.py build_ext --inplace``). A round
measures one after the other, the next round the other one first, so that the machine does the same to both.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from bench.builds import STORE_BUDGET
from bench.load import Load, run
from bench.measure import digits
from bench.policy import policy, requests
from bench.rls import CONNECTIONS, STREAMS
from testkit import server
from testkit.errors import BenchError
from testkit.machine import Cores, busy, cores, shape
from testkit.server import Subject

TRANSPORT: Final = "nghttp2"

CONFIDENCE: Final = 0.95


class Case(NamedTuple):
    """A store, and a number of keys that calls are spread over."""

    store: str
    keys: int

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{self.store}, {self.keys:,} {'key' if self.keys == 1 else 'keys'}"


class Interval(NamedTuple):
    """The median of measurements, and bounds of the median of all that could be made, at ``CONFIDENCE``."""

    median: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """Return the median and its bounds by rank, which suppose nothing of the distribution; the ends for few values."""
    ordered = sorted(values)
    rank, below = 0, 0.0
    for n in range(len(ordered) // 2):
        below += math.comb(len(ordered), n) / 2 ** len(ordered)
        if below > (1 - CONFIDENCE) / 2:
            break
        rank = n + 1
    lowest = max(0, rank - 1)
    return Interval(median(ordered), ordered[lowest], ordered[-1 - lowest])


@contextmanager
def both(case: Case, trees: Sequence[Path], where: Cores) -> Iterator[list[Subject]]:
    """Run the service of each tree, with a Redis of its own."""
    with ExitStack() as stack:
        subjects = []
        for tree in trees:
            # PYTHONSAFEPATH: not from the working folder
            env = {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1", "STORE_BUDGET": STORE_BUDGET}
            if case.store == "Redis":
                env["REDIS_URL"] = stack.enter_context(server.redis(where))[0]
            subjects.append(stack.enter_context(server.service(TRANSPORT, policy(), where.server, env)))
        yield subjects


def cpu_of_call(subject: Subject, frames: Sequence[bytes], seconds: float, where: Cores, warm_calls: int) -> float:
    """Return the CPU seconds of the service for a call."""
    load = Load(CONNECTIONS, STREAMS, seconds, 0.2, warm_calls)
    result = run(subject.address, frames, load, where.load, watch=[subject.pid])
    return result.cpu[0] / result.calls


def measured(case: Case, trees: Sequence[Path], rounds: int, seconds: float, where: Cores) -> list[list[float]]:
    """Return the CPU seconds of a call in each round, of each tree."""
    frames = [*requests(keys=case.keys)]
    found: list[list[float]] = [[], []]
    with both(case, trees, where) as subjects:
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                warm = len(frames) if number == 0 else 0
                found[which].append(cpu_of_call(subjects[which], frames, seconds, where, warm))
    return found


def row(case: Case, found: Sequence[Sequence[float]]) -> list[str]:
    """Return the cells of a case."""
    before, after = (digits(median(each) * 1e6) for each in found)
    change = interval([new / old - 1 for old, new in zip(*found, strict=True)])
    return [case.name, before, after, f"{change.median:+.1%}", f"{change.low:+.1%} to {change.high:+.1%}"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("before", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rounds", default=20, show_default=True, help="Measurements of each tree in each case.")
@click.option("--keys", default=100_000, show_default=True, help="Keys of the large cases.")
@click.option("--seconds", default=1.0, show_default=True, help="Duration of a measurement.")
def main(before: Path, after: Path, rounds: int, keys: int, seconds: float) -> None:
    """Compare the CPU of a call in two checkouts of ratelimitd."""
    where, began = cores(), busy()
    table = Table("case", "before, µs", "after, µs", "change", f"at {CONFIDENCE:.0%}")
    try:
        for case in (Case(store, number) for store in ("memory", "Redis") for number in (1, keys)):
            trees = [before.absolute(), after.absolute()]
            table.add_row(*row(case, measured(case, trees, rounds, seconds, where)))
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    console = Console()
    console.print(table)
    console.print(f"{rounds} rounds of {seconds:g} s; other work on the machine: {began} before, {busy()} after")
    console.print(shape(), highlight=False)


if __name__ == "__main__":
    main()
