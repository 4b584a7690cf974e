"""Whether an upstream is asked at all: a circuit breaker. Pure; time is an argument, in seconds of any steady clock."""

from collections import deque
from enum import Enum, auto
from typing import NamedTuple


class Verdict(Enum):
    """How an attempt went, as far as it tells something about the upstream."""

    GOOD = auto()
    BAD = auto()
    NEITHER = auto()
    """The client left, or we had no room: that is not the upstream's doing."""


class State(Enum):
    """Of a breaker. OPEN admits nobody, HALF_OPEN a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


# looking a member up costs three times a global (CPython 3.11)
_GOOD, _BAD, _NEITHER = Verdict.GOOD, Verdict.BAD, Verdict.NEITHER
_CLOSED, _OPEN, _HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN


class BreakerOptions(NamedTuple):
    """When a breaker opens and how it closes again.

    Attributes:
        consecutive: failures in a row that open it; 5 as Envoy's outlier detection.
        error_rate: share of failures in ``window`` that opens it; the half of Hystrix.
        minimum: attempts in ``window`` below which a share says nothing; Hystrix's 20.
        window: seconds; Hystrix's 10.
        open_for: seconds until it is probed; Hystrix's 5. Each opening from a failed probe doubles it ...
        open_for_at_most: ... up to this.
        probes: attempts at once while it is half open.
        successes: probes in a row that close it.
    """

    consecutive: int = 5
    error_rate: float = 0.5
    minimum: int = 20
    window: float = 10.0
    open_for: float = 5.0
    open_for_at_most: float = 60.0
    probes: int = 1
    successes: int = 2


_SLOTS = 10
"""Parts of a window; an attempt is forgotten when nine to ten tenths of the window are over."""


class Breaker:
    """Of one upstream. Every admission is followed by exactly one record."""

    __slots__ = ("_bad", "_good", "_opened", "_openings", "_options", "_probing", "_row", "_slots", "state")

    def __init__(self, options: BreakerOptions) -> None:
        self._options = options
        self.state = _CLOSED
        self._slots: deque[list[int]] = deque()  # number of the slot, good, bad
        self._good = self._bad = 0  # the sums over the slots
        self._row = 0  # closed: failures in a row; half open: successes in a row
        self._opened = 0.0
        self._openings = 0  # since it was closed
        self._probing = 0

    def admit(self, now: float) -> bool:
        """Tell whether the upstream may be asked now."""
        if self.state is _CLOSED:
            return True
        if self.state is _OPEN:
            if self.retry_after(now) > 0:
                return False
            self.state = _HALF_OPEN
            self._row = self._probing = 0
        if self._probing >= self._options.probes:
            return False
        self._probing += 1
        return True

    def record(self, verdict: Verdict, now: float, admitted: float) -> None:
        """Learn how an attempt went that was admitted at ``admitted``; one from before the opening proves nothing."""
        if self.state is _HALF_OPEN:
            if admitted > self._opened:
                self._probed(verdict, now)
        elif self.state is _CLOSED and verdict is not _NEITHER:
            self._count(verdict, now)
            if verdict is _BAD and self._failing():
                self._open(now)

    def retry_after(self, now: float) -> float:
        """Give the seconds until it is worth asking again; 0 where it is now."""
        if self.state is not _OPEN:
            return 0.0
        options = self._options
        wait: float = min(options.open_for * 2 ** min(self._openings - 1, 16), options.open_for_at_most)
        return max(0.0, self._opened + wait - now)

    def _probed(self, verdict: Verdict, now: float) -> None:
        self._probing -= 1
        if verdict is _BAD:
            self._open(now)
        elif verdict is _GOOD:
            self._row += 1
            if self._row >= self._options.successes:
                self._close()

    def _count(self, verdict: Verdict, now: float) -> None:
        slot = int(now * _SLOTS / self._options.window)
        if not self._slots or self._slots[-1][0] != slot:
            self._slide(slot)
        if verdict is _GOOD:
            self._slots[-1][1] += 1
            self._good += 1
            self._row = 0
        else:
            self._slots[-1][2] += 1
            self._bad += 1
            self._row += 1

    def _slide(self, slot: int) -> None:
        """Begin a slot, and forget those that are out of the window."""
        while self._slots and self._slots[0][0] <= slot - _SLOTS:
            _, good, bad = self._slots.popleft()
            self._good -= good
            self._bad -= bad
        self._slots.append([slot, 0, 0])

    def _failing(self) -> bool:
        options, total = self._options, self._good + self._bad
        rate = self._bad / total if total >= options.minimum else 0.0
        return self._row >= options.consecutive or rate >= options.error_rate

    def _open(self, now: float) -> None:
        self.state = _OPEN
        self._opened = now
        self._openings += 1

    def _close(self) -> None:
        self.state = _CLOSED
        self._row = self._openings = self._good = self._bad = 0
        self._slots.clear()
