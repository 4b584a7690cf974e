"""Load balancing over the endpoints of an upstream. Pure; time is an argument, in seconds of any steady clock."""

from collections.abc import Callable
from typing import NamedTuple

from .circuit_breaker import Outcome

_GOOD, _BAD = Outcome.GOOD, Outcome.BAD


class BalanceOptions(NamedTuple):
    """Conditions on which an endpoint is ejected, and for how long.

    Attributes:
        failures: failures in a row that eject an endpoint; 5 as in Envoy's outlier detection.
        eject_for: seconds, times the number of its recent ejections; Envoy's 30.
        eject_for_at_most: seconds; Envoy's 300.
    """

    failures: int = 5
    eject_for: float = 30.0
    eject_for_at_most: float = 300.0


class _Seat:
    """State of one endpoint."""

    __slots__ = ("ejections", "failures", "in_flight", "until")

    def __init__(self) -> None:
        self.in_flight = 0
        self.failures = 0
        self.ejections = 0
        self.until = 0.0


class Balance:
    """Chooses the one of two random endpoints with fewer requests in flight; ejects endpoints that fail, for a time.

    A single endpoint is never ejected: the circuit breaker acts for it.
    """

    __slots__ = ("_below", "_options", "_seats")

    def __init__(self, endpoints: int, options: BalanceOptions, below: Callable[[int], int]) -> None:
        """``below(n)`` returns a random number from 0 to n - 1."""
        self._options = options
        self._below = below
        self._seats = [_Seat() for _ in range(endpoints)]

    def pick(self, now: float, avoid: int | None = None) -> int | None:
        """Choose an endpoint and count a request in flight; None if none is healthy. ``avoid`` is chosen last."""
        if len(self._seats) == 1:
            chosen = 0
        else:
            healthy = [index for index, seat in enumerate(self._seats) if seat.until <= now]
            others = [index for index in healthy if index != avoid] or healthy
            if not others:
                return None
            chosen = self._better_of_two(others)
        self._seats[chosen].in_flight += 1
        return chosen

    def done(self, index: int, outcome: Outcome, now: float) -> None:
        """Record the outcome of an attempt at an endpoint that was picked."""
        seat = self._seats[index]
        seat.in_flight -= 1
        if outcome is _GOOD:
            seat.failures = 0
            if seat.ejections and seat.until <= now:
                seat.ejections -= 1
        elif outcome is _BAD:
            seat.failures += 1
            if seat.failures >= self._options.failures and len(self._seats) > 1:
                self._eject(seat, now)

    def retry_after(self, now: float) -> float:
        """Return the seconds until an endpoint is healthy; 0 if one is."""
        return max(0.0, min(seat.until for seat in self._seats) - now)

    def in_flight(self, index: int) -> int:
        """Return the number of attempts in flight at an endpoint."""
        return self._seats[index].in_flight

    def ejected(self, index: int, now: float) -> bool:
        """Return whether an endpoint is ejected."""
        return self._seats[index].until > now

    def _eject(self, seat: _Seat, now: float) -> None:
        seat.failures = 0
        seat.ejections += 1
        seat.until = now + min(self._options.eject_for * seat.ejections, self._options.eject_for_at_most)

    def _better_of_two(self, candidates: list[int]) -> int:
        if len(candidates) == 1:
            return candidates[0]
        first = self._below(len(candidates))
        second = self._below(len(candidates) - 1)
        second += second >= first
        one, other = candidates[first], candidates[second]
        return one if self._seats[one].in_flight <= self._seats[other].in_flight else other
