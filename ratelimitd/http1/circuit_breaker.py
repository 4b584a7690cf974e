"""The circuit breaker of an upstream. Pure; time is an argument, in seconds of any steady clock."""

from collections import deque
from enum import Enum, auto
from typing import NamedTuple


class Outcome(Enum):
    """Outcome of an attempt, as evidence about the upstream."""

    GOOD = auto()
    BAD = auto()
    NEITHER = auto()
    """No evidence: the client left, or there was no connection free."""


class State(Enum):
    """State of a breaker. OPEN admits no request, HALF_OPEN a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


# the lookup of a member costs three times that of a global (CPython 3.11)
_GOOD, _BAD, _NEITHER = Outcome.GOOD, Outcome.BAD, Outcome.NEITHER
_CLOSED, _OPEN, _HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN


class BreakerOptions(NamedTuple):
    """Conditions on which a breaker opens and closes.

    Attributes:
        consecutive: failures in a row that open it; 5 as in Envoy's outlier detection.
        error_rate: fraction of failures in ``window`` that opens it; Hystrix's half.
        minimum: attempts in ``window`` below which ``error_rate`` does not apply; Hystrix's 20.
        window: seconds; Hystrix's 10.
        open_for: seconds until it is probed; Hystrix's 5. Each failed probe doubles them ...
        open_for_at_most: ... up to this.
        probes: concurrent attempts while it is half open.
        successes: successful probes in a row that close it.
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
"""Slots of a window; an attempt is dropped after nine to ten tenths of the window."""


class CircuitBreaker:
    """The circuit breaker of one upstream. Exactly one ``record`` follows each ``admit`` that returned True."""

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
        """Return whether the upstream may be asked now."""
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

    def record(self, outcome: Outcome, now: float, admitted: float) -> None:
        """Record how an attempt went that was admitted at ``admitted``; one from before the opening is ignored."""
        if self.state is _HALF_OPEN:
            if admitted > self._opened:
                self._probed(outcome, now)
        elif self.state is _CLOSED and outcome is not _NEITHER:
            self._count(outcome, now)
            if outcome is _BAD and self._failing():
                self._open(now)

    def retry_after(self, now: float) -> float:
        """Return the seconds until an attempt may be admitted; 0 if one may be now."""
        if self.state is not _OPEN:
            return 0.0
        options = self._options
        wait: float = min(options.open_for * 2 ** min(self._openings - 1, 16), options.open_for_at_most)
        return max(0.0, self._opened + wait - now)

    def _probed(self, outcome: Outcome, now: float) -> None:
        self._probing -= 1
        if outcome is _BAD:
            self._open(now)
        elif outcome is _GOOD:
            self._row += 1
            if self._row >= self._options.successes:
                self._close()

    def _count(self, outcome: Outcome, now: float) -> None:
        slot = int(now * _SLOTS / self._options.window)
        if not self._slots or self._slots[-1][0] != slot:
            self._slide(slot)
        if outcome is _GOOD:
            self._slots[-1][1] += 1
            self._good += 1
            self._row = 0
        else:
            self._slots[-1][2] += 1
            self._bad += 1
            self._row += 1

    def _slide(self, slot: int) -> None:
        """Begin a slot, and drop those that are out of the window."""
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
