"""Repeated measurements: their median and spread, and how two compare."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple


class Spread(NamedTuple):
    """The median of some measurements, and the least and most of them."""

    median: float
    least: float
    most: float

    def show(self, form: Callable[[float], str]) -> str:
        """Write it as ``median (least-most)``, or one number where all look alike."""
        middle, low, high = form(self.median), form(self.least), form(self.most)
        return middle if low == high else f"{middle} ({low}-{high})"


def spread(values: Iterable[float]) -> Spread:
    """Return median, least and most; raises ValueError when there are none."""
    measured = sorted(values)
    if not measured:
        raise ValueError("nothing was measured")
    return Spread(median(measured), measured[0], measured[-1])


def spreads(repeats: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Return the spread of each number that every repeat has."""
    return {name: spread(each[name] for each in repeats) for name in repeats[0]} if repeats else {}


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """Return how many times ``theirs`` ``ours`` is; None where either was not measured."""
    return ours / theirs if ours is not None and theirs else None


def thousands(value: float) -> str:
    """Write a count: ``112,300``, as exact as it is repeatable."""
    return f"{value:,.0f}" if value < 10_000 else f"{round(value, -2):,.0f}"


def digits(value: float) -> str:
    """Write a number with three digits, or all those before the point."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def shown(each: Mapping[str, Any], name: str, scale: float, form: Callable[[float], str] = digits) -> str:
    """Write one number of a table's row, which has the fields of its spread by name."""
    return Spread(*(value * scale for value in each[name].values())).show(form)
