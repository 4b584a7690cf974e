"""The maximum that a limit may admit in any window, and whether it admitted more; pure.

A client knows when a call was sent and when it was answered; the decision was in between. Therefore a window counts
only calls that were sent and answered within it, and every excess found is certain.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

WINDOWED: Final = ("fixed_window", "sliding_window")
"""Algorithms that can admit the whole limit at once; all others have a burst and a rate."""


class Law(NamedTuple):
    """A limit: ``quota`` in each ``window`` of seconds, or ``burst`` and then ``quota / window`` per second."""

    algorithm: str
    quota: int
    window: float
    burst: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.quota / self.window

    @property
    def at_once(self) -> int:
        """Requests that a new counter admits at once; the loss of a counter admits as many again."""
        return self.quota if self.algorithm in WINDOWED else self.burst

    def most(self, begin: float, end: float) -> float:
        """Return the maximum that may be admitted from ``begin`` to ``end``, inclusive; wall-clock seconds."""
        if self.algorithm == "fixed_window":
            return self.quota * (math.floor(end / self.window) - math.floor(begin / self.window) + 1)
        if self.algorithm == "sliding_window":
            return self.quota * (math.floor((end - begin) / self.window) + 1)
        return self.burst + self.rate * (end - begin)


class Failover(NamedTuple):
    """A time in which counters may have been lost once: each window that overlaps it may admit one more burst."""

    begin: float
    end: float

    def extra(self, law: Law, begin: float, end: float) -> float:
        """Return the addition to the bound of a window."""
        return law.at_once if self.begin <= end and self.end >= begin else 0.0


class Local(NamedTuple):
    """A time in which each of ``replicas`` processes may decide from its own counter, whose limit is ``share``."""

    begin: float
    end: float
    replicas: int
    share: Law

    def extra(self, law: Law, begin: float, end: float) -> float:  # noqa: ARG002 -- the signature of Failover
        """Return the addition to the bound of a window."""
        first, last = max(begin, self.begin), min(end, self.end)
        return self.replicas * self.share.most(first, last) if first <= last else 0.0


class Admitted(NamedTuple):
    """An admitted call: when it was sent and answered, in wall-clock seconds."""

    sent: float
    done: float


Allowance = Failover | Local


def bound(law: Law, allowances: Iterable[Allowance], begin: float, end: float) -> float:
    """Return the maximum that may be admitted from ``begin`` to ``end``, including the additions for faults."""
    return law.most(begin, end) + sum(each.extra(law, begin, end) for each in allowances)


def over_admission(law: Law, calls: Iterable[Admitted], allowances: Sequence[Allowance] = ()) -> int:
    """Return the calls over the bound in the worst of all windows; 0 if no window exceeds its bound.

    Takes quadratic time: a second for some thousands of calls.
    """
    by_end = sorted(calls, key=lambda call: call.done)
    worst = 0.0
    for begin in {call.sent for call in by_end}:
        count = 0
        for call in by_end:
            if call.sent >= begin:
                count += 1
                if count > law.at_once:  # the minimum of every bound
                    worst = max(worst, count - bound(law, allowances, begin, call.done))
    return math.floor(worst)


def used(law: Law, calls: Iterable[Admitted], begin: float, end: float) -> float:
    """Return the admitted part of what the limit sustains in this time; for a fixed window, in its complete windows."""
    if law.algorithm == "fixed_window":
        begin, end = math.ceil(begin / law.window) * law.window, math.floor(end / law.window) * law.window
    if end <= begin:
        raise ValueError(f"no complete window from {begin} to {end}")
    return sum(begin <= call.done < end for call in calls) / (law.rate * (end - begin))
