"""Repeated measurements: median, range, ratios, and formats of numbers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple


class Spread(NamedTuple):
    """The median, minimum and maximum of some measurements."""

    median: float
    least: float
    most: float

    def show(self, form: Callable[[float], str]) -> str:
        """Format as ``median (least-most)``, or as one number if the formatted ends are equal."""
        middle, low, high = form(self.median), form(self.least), form(self.most)
        return middle if low == high else f"{middle} ({low}-{high})"


def spread(values: Iterable[float]) -> Spread:
    """Return median, minimum and maximum; raises ValueError if there are no values."""
    measured = sorted(values)
    if not measured:
        raise ValueError("nothing was measured")
    return Spread(median(measured), measured[0], measured[-1])


def spreads(repeats: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Return the spread of each number over the repeats, which all have the same numbers."""
    return {name: spread(each[name] for each in repeats) for name in repeats[0]} if repeats else {}


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """Return ``ours / theirs``; None if either was not measured."""
    return ours / theirs if ours is not None and theirs else None


def thousands(value: float) -> str:
    """Format a count, rounded to hundreds from 10,000: ``112,300``. More digits are not repeatable."""
    return f"{value:,.0f}" if value < 10_000 else f"{round(value, -2):,.0f}"


def digits(value: float) -> str:
    """Format a number with three digits, or with all digits before the decimal point."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def shown(each: Mapping[str, Any], name: str, scale: float, form: Callable[[float], str] = digits) -> str:
    """Format one number of a row, which contains the fields of its ``Spread`` by name."""
    return Spread(*(value * scale for value in each[name].values())).show(form)
