"""How much a limit may admit, and whether it did more: pure, and about every window at once.

A client knows of a call when it was sent and when it was answered; it was decided in between. So only calls that were
sent and answered within a window are counted there, and what is found over the bound is certain.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

WINDOWED: Final = ("fixed_window", "sliding_window")
"""Those with all of their limit at once; each other one has a burst and a rate."""


class Law(NamedTuple):
    """A limit: ``quota`` in each ``window`` of seconds, or ``burst`` and quota/window a second after it."""

    algorithm: str
    quota: int
    window: float
    burst: int

    @property
    def rate(self) -> float:
        """A second."""
        return self.quota / self.window

    @property
    def at_once(self) -> int:
        """What a fresh counter admits at once, and so what losing it costs."""
        return self.quota if self.algorithm in WINDOWED else self.burst

    def most(self, begin: float, end: float) -> float:
        """Return how much may be admitted from ``begin`` to ``end``, both included; wall-clock seconds."""
        if self.algorithm == "fixed_window":
            return self.quota * (math.floor(end / self.window) - math.floor(begin / self.window) + 1)
        if self.algorithm == "sliding_window":
            return self.quota * (math.floor((end - begin) / self.window) + 1)
        return self.burst + self.rate * (end - begin)


class Failover(NamedTuple):
    """Counters may have been lost once in this time: that admits one burst more, in a window that has a part of it."""

    begin: float
    end: float

    def extra(self, law: Law, begin: float, end: float) -> float:
        """Return what it adds to the bound of a window."""
        return law.at_once if self.begin <= end and self.end >= begin else 0.0


class Local(NamedTuple):
    """In this time so many processes may decide by themselves, each by ``share``."""

    begin: float
    end: float
    replicas: int
    share: Law

    def extra(self, law: Law, begin: float, end: float) -> float:  # noqa: ARG002 -- the signature of Failover
        """Return what it adds to the bound of a window."""
        first, last = max(begin, self.begin), min(end, self.end)
        return self.replicas * self.share.most(first, last) if first <= last else 0.0


class Admitted(NamedTuple):
    """A call that was admitted: between these, wall-clock seconds."""

    sent: float
    done: float


Allowance = Failover | Local


def bound(law: Law, allowances: Iterable[Allowance], begin: float, end: float) -> float:
    """Return how much may be admitted from ``begin`` to ``end``, with what faults add."""
    return law.most(begin, end) + sum(each.extra(law, begin, end) for each in allowances)


def over_admission(law: Law, calls: Iterable[Admitted], allowances: Sequence[Allowance] = ()) -> int:
    """Return by how many calls the worst of all windows is above its bound; 0 when none is.

    Takes time with the square of the calls: a second for some thousands.
    """
    by_end = sorted(calls, key=lambda call: call.done)
    worst = 0.0
    for begin in {call.sent for call in by_end}:
        count = 0
        for call in by_end:
            if call.sent >= begin:
                count += 1
                if count > law.at_once:  # a bound is never less
                    worst = max(worst, count - bound(law, allowances, begin, call.done))
    return math.floor(worst)


def used(law: Law, calls: Iterable[Admitted], begin: float, end: float) -> float:
    """Return which part of what the limit sustains was admitted in this time, of a fixed window in whole ones."""
    if law.algorithm == "fixed_window":
        begin, end = math.ceil(begin / law.window) * law.window, math.floor(end / law.window) * law.window
    if end <= begin:
        raise ValueError(f"no whole window from {begin} to {end}")
    return sum(begin <= call.done < end for call in calls) / (law.rate * (end - begin))
