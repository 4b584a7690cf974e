"""The circuit breaker of an upstream. Pure; time is an argument, in seconds of any steady clock."""

from collections import deque
from enum import Enum, auto
from math import inf
from typing import NamedTuple


class Outcome(Enum):
    """Outcome of an attempt, as evidence about the upstream.

    The first two come from the response, the next four from its absence. Envoy calls these origins external and local.
    """

    GOOD = auto()
    """The head of a response came, or the 101 of a tunnel."""
    STATUS = auto()
    """A head came, with one of the statuses that the configuration counts as failures."""
    REFUSED = auto()
    """Nothing listens. That was learned at once, and no request can cause it."""
    UNREACHED = auto()
    """No connection was made in time, or its handshake failed. No request can cause it."""
    CLOSED_EARLY = auto()
    """The connection was made, and closed before a byte came: the request may be the cause."""
    UNANSWERED = auto()
    """The connection was made, and silent for too long: the request may be the cause."""
    NEITHER = auto()
    """No evidence: the client left, there was no connection free, or the request itself explains the failure."""


class State(Enum):
    """State of a breaker. OPEN admits no request, HALF_OPEN a few probes."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


# the lookup of a member costs three times that of a global (CPython 3.11)
_GOOD, _STATUS, _NEITHER = Outcome.GOOD, Outcome.STATUS, Outcome.NEITHER
_REFUSED, _UNREACHED = Outcome.REFUSED, Outcome.UNREACHED
_CLOSED_EARLY, _UNANSWERED = Outcome.CLOSED_EARLY, Outcome.UNANSWERED
_OF_REQUEST = frozenset((_CLOSED_EARLY, _UNANSWERED))
_CLOSED, _OPEN, _HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN


class BreakerOptions(NamedTuple):
    """Conditions on which a breaker opens and closes. Failures of the two origins are counted apart.

    Attributes:
        consecutive: failures in a row that open it; 5 as in Envoy's outlier detection.
        error_rate: fraction of failures in ``window`` that opens it. At 1 only ``consecutive`` matters: if a response
            comes, something is there. Envoy's outlier detection by rate is off by default, too.
        minimum: attempts in ``window`` below which ``error_rate`` does not apply; Hystrix's 20.
        window: seconds; Hystrix's 10.
        open_for: seconds until it is probed, and until a probe without an answer makes room for another; 1 is the
            shortest Retry-After that can be written. Each failed probe doubles the time that it is open ...
        open_for_at_most: ... up to this, or ``open_for`` if that is longer. A development server restarts in 2 s.
        probes: concurrent attempts while it is half open; as many as open it.
        successes: successful probes in a row that close it. One response shows that something is there.
        statuses: statuses of responses that count as failures; Envoy's split of origins counts none as local.
    """

    consecutive: int = 5
    error_rate: float = 1.0
    minimum: int = 20
    window: float = 10.0
    open_for: float = 1.0
    open_for_at_most: float = 1.0
    probes: int = 5
    successes: int = 1
    statuses: frozenset[int] = frozenset()


_SLOTS = 10
"""Slots of a window; an attempt is dropped after nine to ten tenths of the window."""


class CircuitBreaker:
    """The circuit breaker of one upstream. Exactly one ``record`` follows each ``admit`` that returned True.

    What a request may have caused never shuts the upstream for others: ``CLOSED_EARLY`` and ``UNANSWERED`` lead to
    HALF_OPEN, which admits ``probes`` at a time without a wait, and all while only closes led there: they cost nothing,
    and the requests that cause them would be all of the probes. A breaker that refusals opened admits requests as well:
    to be refused costs nothing, and ``reached`` closes it with the first connection that is accepted.
    """

    __slots__ = (
        "_bounded",
        "_external",
        "_heard",
        "_local",
        "_openings",
        "_options",
        "_probes",
        "_refused",
        "_row",
        "_since",
        "state",
    )

    def __init__(self, options: BreakerOptions) -> None:
        self._options = options
        self.state = _CLOSED
        self._local = _Tally(options)
        self._external = _Tally(options) if options.statuses else None
        self._heard = -inf  # when the last head came
        self._since = 0.0  # time of opening
        self._openings = 0  # since it was closed
        self._refused = False  # the last failure was a refusal
        self._bounded = True  # half open: only probes are admitted
        self._row = 0  # half open: successes in a row
        self._probes: list[float] = []  # half open: admission of each probe without an outcome, oldest first

    def admit(self, now: float) -> bool:
        """Return whether the upstream may be asked now."""
        if self.state is _CLOSED:
            return True
        if self.state is _OPEN:
            if self._refused:
                return True
            if self.retry_after(now) > 0:
                return False
            self._halve(bounded=True)
        if not self._bounded:
            return True
        probes, lapsed = self._probes, now - self._options.open_for
        while probes and probes[0] <= lapsed:
            del probes[0]
        if len(probes) >= self._options.probes:
            return False
        probes.append(now)
        return True

    def queued(self, admitted: float) -> None:
        """Make room for another probe in place of one that waits for a reason of its own; its outcome counts."""
        if admitted in self._probes:
            self._probes.remove(admitted)

    def reached(self) -> None:
        """Close if refusals opened it, as a connection was accepted."""
        if self.state is _OPEN and self._refused:
            self._close()

    def record(self, outcome: Outcome, now: float, admitted: float) -> None:
        """Record the outcome of an attempt admitted at ``admitted``; one from before the opening is ignored."""
        if self.state is _CLOSED:
            self._count(outcome, now, admitted)
        elif admitted > self._since:
            if self.state is _HALF_OPEN:
                self._probed(outcome, now, admitted)
            elif outcome is _UNREACHED:
                self._refused = False
                self._open(now)

    def opened_before(self, admitted: float) -> bool:
        """Return whether it is open, and was when a request was admitted."""
        return self.state is _OPEN and admitted > self._since

    def retry_after(self, now: float) -> float:
        """Return the seconds until an attempt may be admitted, if nothing changes; 0 if one may be now."""
        options = self._options
        if self.state is _OPEN:
            longest = max(options.open_for, options.open_for_at_most)
            wait: float = min(options.open_for * 2 ** min(self._openings - 1, 16), longest)
            return max(0.0, self._since + wait - now)
        if self.state is _HALF_OPEN and len(self._probes) >= options.probes:
            return max(0.0, self._probes[0] + options.open_for - now)
        return 0.0

    def _count(self, outcome: Outcome, now: float, admitted: float) -> None:
        if outcome is _NEITHER:
            return
        if outcome is _GOOD or outcome is _STATUS:
            self._heard = now
            self._local.good(now)
            if self._external is None:
                return
            if outcome is _GOOD:
                self._external.good(now)
            elif self._external.bad(now):
                self._refused = False
                self._open(now)
        elif outcome not in _OF_REQUEST:
            self._refused = outcome is _REFUSED
            if self._local.bad(now):
                self._open(now)
        elif admitted > self._heard and self._local.bad(now):  # another request was answered meanwhile: not counted
            self._since = -inf
            self._halve(bounded=outcome is _UNANSWERED)

    def _probed(self, outcome: Outcome, now: float, admitted: float) -> None:
        if admitted in self._probes:  # otherwise it lapsed; its outcome is evidence all the same
            self._probes.remove(admitted)
        if outcome is _GOOD:
            self._heard = now
            self._row += 1
            if self._row >= self._options.successes:
                self._close()
        elif outcome in _OF_REQUEST:
            self._row = 0
            self._bounded = self._bounded or (outcome is _UNANSWERED and admitted > self._heard)
        elif outcome is not _NEITHER:
            self._refused = outcome is _REFUSED
            self._open(now)

    def _halve(self, *, bounded: bool) -> None:
        self.state = _HALF_OPEN
        self._bounded = bounded
        self._row = 0
        self._probes.clear()

    def _open(self, now: float) -> None:
        self.state = _OPEN
        self._since = now
        self._openings += 1

    def _close(self) -> None:
        self.state = _CLOSED
        self._openings = 0
        self._local.clear()
        if self._external is not None:
            self._external.clear()


class _Tally:
    """Attempts of one origin: failures in a row, and the share of failures over a window."""

    __slots__ = ("_bad", "_good", "_options", "_row", "_slots")

    def __init__(self, options: BreakerOptions) -> None:
        self._options = options
        self._slots: deque[list[int]] = deque()  # number of the slot, good, bad
        self._good = self._bad = 0  # the sums over the slots
        self._row = 0

    def good(self, now: float) -> None:
        """Count a success."""
        self._row = 0
        self._good += 1
        self._slot(now)[1] += 1

    def bad(self, now: float) -> bool:
        """Count a failure, and return whether the breaker opens."""
        self._row += 1
        self._bad += 1
        self._slot(now)[2] += 1
        options, total = self._options, self._good + self._bad
        rate = self._bad / total if total >= options.minimum else 0.0
        return self._row >= options.consecutive or rate >= options.error_rate

    def clear(self) -> None:
        """Forget all."""
        self._row = self._good = self._bad = 0
        self._slots.clear()

    def _slot(self, now: float) -> list[int]:
        """Return the current slot, and drop those that are out of the window."""
        number, slots = int(now * _SLOTS / self._options.window), self._slots
        if not slots or slots[-1][0] != number:
            while slots and slots[0][0] <= number - _SLOTS:
                _, good, bad = slots.popleft()
                self._good -= good
                self._bad -= bad
            slots.append([number, 0, 0])
        return slots[-1]
