"""Load balancing over the endpoints of an upstream. Pure; time is an argument, in seconds of any steady clock."""

from collections.abc import Callable
from typing import NamedTuple

from .circuit_breaker import Outcome

_GOOD, _STATUS, _NEITHER = Outcome.GOOD, Outcome.STATUS, Outcome.NEITHER
_OF_REQUEST = frozenset((Outcome.CLOSED_EARLY, Outcome.UNANSWERED))


class BalanceOptions(NamedTuple):
    """Conditions on which an endpoint is ejected, and for how long. Failures of the two origins are counted apart.

    Attributes:
        failures: failures in a row that eject an endpoint; 5 as in Envoy's outlier detection.
        eject_for: seconds, times the number of its recent ejections; Envoy's 30.
        eject_for_at_most: seconds; Envoy's 300.
        statuses: statuses of responses that count as failures; none, as a page may always answer so.
    """

    failures: int = 5
    eject_for: float = 30.0
    eject_for_at_most: float = 300.0
    statuses: frozenset[int] = frozenset()


class _Seat:
    """State of one endpoint."""

    __slots__ = ("ejections", "external", "heard", "in_flight", "local", "until")

    def __init__(self) -> None:
        self.in_flight = 0
        self.local = self.external = 0  # failures in a row, by their origin
        self.heard = 0.0  # when the last head came
        self.ejections = 0
        self.until = 0.0


class Balance:
    """Chooses the one of two random endpoints with fewer requests in flight; ejects endpoints that fail, for a time.

    With more than half of them ejected all are asked, as with Envoy's ``healthy_panic_threshold`` of 50 %: that so many
    fail for reasons of their own is less likely than a common one, and the rest could not carry the load. A single
    endpoint is never ejected: the circuit breaker acts for it.
    """

    __slots__ = ("_below", "_options", "_seats")

    def __init__(self, endpoints: int, options: BalanceOptions | None, below: Callable[[int], int]) -> None:
        """``below(n)`` returns a random number from 0 to n - 1; without ``options`` no endpoint is ejected."""
        self._options = options if endpoints > 1 else None
        self._below = below
        self._seats = [_Seat() for _ in range(endpoints)]

    def pick(self, now: float, avoid: int | None = None) -> int:
        """Choose an endpoint and count a request in flight, until ``release``.

        A request that failed at the endpoint ``avoid`` gets another one, and a healthy one if there is any.
        """
        chosen = 0 if len(self._seats) == 1 else self._better_of_two(self._candidates(now, avoid))
        self._seats[chosen].in_flight += 1
        return chosen

    def record(self, index: int, outcome: Outcome, now: float, admitted: float) -> None:
        """Record the outcome of an attempt at an endpoint, of a request that was admitted at ``admitted``."""
        options, seat = self._options, self._seats[index]
        if options is None or outcome is _NEITHER or (outcome in _OF_REQUEST and admitted <= seat.heard):
            return
        if outcome is _GOOD or outcome is _STATUS:
            seat.heard = now
            seat.local = 0
            seat.external = 0 if outcome is _GOOD else seat.external + 1
        else:
            seat.local += 1
        if max(seat.local, seat.external) >= options.failures:
            self._eject(seat, options, now)
        elif outcome is _GOOD and seat.ejections and seat.until <= now:
            seat.ejections -= 1

    def release(self, index: int) -> None:
        """End a request in flight at an endpoint."""
        self._seats[index].in_flight -= 1

    def in_flight(self, index: int) -> int:
        """Return the number of requests in flight at an endpoint."""
        return self._seats[index].in_flight

    def ejected(self, index: int, now: float) -> bool:
        """Return whether an endpoint is ejected."""
        return self._seats[index].until > now

    def _candidates(self, now: float, avoid: int | None) -> list[int]:
        every = range(len(self._seats))
        healthy = [index for index in every if self._seats[index].until <= now]
        if avoid is None:
            return healthy if 2 * len(healthy) >= len(every) else list(every)
        return [index for index in healthy if index != avoid] or [index for index in every if index != avoid]

    def _eject(self, seat: _Seat, options: BalanceOptions, now: float) -> None:
        seat.local = seat.external = 0
        if seat.until > now:
            return
        seat.ejections += 1
        seat.until = now + min(options.eject_for * seat.ejections, options.eject_for_at_most)

    def _better_of_two(self, candidates: list[int]) -> int:
        if len(candidates) == 1:
            return candidates[0]
        first = self._below(len(candidates))
        second = self._below(len(candidates) - 1)
        second += second >= first
        one, other = candidates[first], candidates[second]
        return one if self._seats[one].in_flight <= self._seats[other].in_flight else other
