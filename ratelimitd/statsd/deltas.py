"""What has changed since the last flush, as lines. No I/O and no clock."""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Final

from ratelimitd.observe.metrics import LIMIT_COUNTERS, LimitTallies, LimitTally

from .names import COUNTER, GAUGE, TIMER, Stat, limit_name, time_name
from .wire import Write, line, thinned

COUNTERS: Final = tuple(LIMIT_COUNTERS)
_READ: Final = attrgetter(*COUNTERS)
_WIDTH: Final = len(COUNTERS)
_NONE: Final = array("q", bytes(8 * _WIDTH))

TIMER_LINES: Final = 1_000
"""Lines of response times of a method in a flush: enough for a 99th percentile of ten, and 50 KiB. envoyproxy/ratelimit
sends one for each call, which would be megabytes here."""


WRAP: Final = 1 << 63
"""Counters wrap here, in a flush alone: callers choose their hits, and an array has no larger number."""


class Deltas:
    """The values that were sent last; a flush is the differences from them. A difference of 0 is not sent.

    Each line counts as sent once it is made. So a flush that ends early leaves the rest to the next one.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._limits = array("q")
        self._owners: list[LimitTally | None] = []
        self._let_go = 0
        self._counters: dict[str, int] = {}
        self._times: dict[str, dict[int, int]] = {}

    def limits(self, tallies: LimitTallies) -> Iterator[bytes]:
        """Yield the lines of each limit, empty for one that has not changed, and the last ones of a limit that is gone.

        The values are in an array of numbers by the place of the tally, which takes 56 bytes for a limit, and which the
        garbage collector does not visit.
        """
        let_go = tallies.let_go
        for tally in tallies:
            at = tally.place
            while len(self._owners) <= at:
                self._owners.append(None)
                self._limits.extend(_NONE)
            owner = self._owners[at]
            if owner is not tally:
                if owner is not None:
                    yield self._last(owner, at)
                self._owners[at] = tally
            yield self._limit(tally, at)
        if let_go == self._let_go:
            return
        for at, owner in enumerate(self._owners):
            yield b"" if owner is None or owner.place == at else self._last(owner, at)
        self._let_go = let_go

    def _last(self, gone: LimitTally, at: int) -> bytes:
        lines = self._limit(gone, at)
        self._owners[at] = None
        self._limits[at * _WIDTH : (at + 1) * _WIDTH] = _NONE
        return lines

    def _limit(self, tally: LimitTally, at: int) -> bytes:
        sent, values = self._limits, _numbers(_READ(tally))
        before = sent[at * _WIDTH : (at + 1) * _WIDTH]
        if values == before:
            return b""
        sent[at * _WIDTH : (at + 1) * _WIDTH] = values
        name = limit_name(tally)
        return b"".join(
            [
                line(self._write(f"{name}.{counter}"), (now - last) % WRAP, COUNTER)
                for counter, now, last in zip(COUNTERS, values, before, strict=True)
                if now != last
            ]
        )

    def stats(self, stats: Iterable[Stat]) -> Iterator[bytes]:
        """Yield the line of each counter that has grown, and of each gauge."""
        for name, kind, value in stats:
            if kind == "gauge":
                yield line(self._write(name), value, GAUGE)
                continue
            last = self._counters.get(name, 0)
            if value != last:
                self._counters[name] = value
                yield line(self._write(name), value - last, COUNTER)

    def times(self, times: Mapping[str, Mapping[int, int]]) -> Iterator[bytes]:
        """Yield a line for each call of each method, of some calls where there are more than ``TIMER_LINES``."""
        for method, calls in list(times.items()):  # the loop turns meanwhile, and a method may be called first
            last = self._times.get(method, {})
            self._times[method] = dict(calls)
            new = [(millis, count - last.get(millis, 0)) for millis, count in calls.items()]
            kept, rate = thinned(new, TIMER_LINES)
            written = self._write(time_name(method))
            for millis, count in kept:
                yield line(written, millis, TIMER, rate) * count


def _numbers(values: tuple[int, ...]) -> "array[int]":
    try:
        return array("q", values)
    except OverflowError:
        return array("q", [value % WRAP for value in values])
