"""An upstream: its endpoints, their pools, the balance between them, and the circuit breaker before them."""

import asyncio
import random
import ssl
from collections.abc import Sequence

from .balance import Balance
from .circuit_breaker import CircuitBreaker, Outcome, State
from .deadlines import Sweeper
from .model import Endpoint, ErrorResponse
from .options import UpstreamOptions
from .pool import Pool

_GOOD, _STATUS = Outcome.GOOD, Outcome.STATUS
_NONE: frozenset[int] = frozenset()


class Upstream:
    """Equivalent endpoints behind one circuit breaker.

    Attributes:
        name: for metrics and the log.
        host: replaces the Host of requests; empty: by the endpoint; None: the client's is kept.
        pools: one for each endpoint, in their order.
    """

    def __init__(
        self,
        name: str,
        endpoints: Sequence[Endpoint],
        options: UpstreamOptions,
        sweeper: Sweeper,
        *,
        tls: ssl.SSLContext | None = None,
        host: bytes | None = None,
    ) -> None:
        self.name = name
        self.host = host
        self.pools = [Pool(endpoint, options, sweeper, tls) for endpoint in endpoints]
        self._breaker = None if options.breaker is None else CircuitBreaker(options.breaker)
        self._balance = Balance(len(endpoints), options.balance, random.randrange)
        self._breaker_statuses = options.breaker.statuses if options.breaker is not None else _NONE
        self._balance_statuses = options.balance.statuses if options.balance is not None else _NONE

    def __repr__(self) -> str:
        return f"<Upstream {self.name}: {self.state.value}, {self.pools}>"

    @property
    def state(self) -> State:
        """State of the circuit breaker; always closed if there is none."""
        return State.CLOSED if self._breaker is None else self._breaker.state

    def admit(self, now: float) -> ErrorResponse | None:
        """Admit a request, for which ``answered`` or ``done`` follows once, or return the breaker's error response."""
        breaker = self._breaker
        return None if breaker is None or breaker.admit(now) else _unavailable(breaker, now)

    def pick(self, now: float, avoid: int | None = None) -> int:
        """Choose an endpoint for an attempt, in flight until ``release``; ``avoid`` is that of a failed attempt."""
        return self._balance.pick(now, avoid)

    def queued(self, admitted: float) -> None:
        """Learn that a request that was admitted at ``admitted`` waits until its client may have a connection."""
        if self._breaker is not None:
            self._breaker.queued(admitted)

    def reached(self) -> None:
        """Learn that an attempt has a connection."""
        if self._breaker is not None:
            self._breaker.reached()

    def answered(self, index: int, status: int, now: float, admitted: float) -> None:
        """Record the head of a final response, or a 101, to a request that was admitted at ``admitted``."""
        outcome = _STATUS if status in self._balance_statuses else _GOOD
        self._balance.record(index, outcome, now, admitted)
        self.done(_STATUS if status in self._breaker_statuses else _GOOD, now, admitted)

    def attempted(self, index: int, outcome: Outcome, now: float, admitted: float) -> None:
        """Record an attempt without a response at an endpoint."""
        self._balance.record(index, outcome, now, admitted)

    def done(self, outcome: Outcome, now: float, admitted: float) -> None:
        """Record the outcome of a request that was admitted at ``admitted``."""
        if self._breaker is not None:
            self._breaker.record(outcome, now, admitted)

    def release(self, index: int) -> None:
        """End an attempt at an endpoint."""
        self._balance.release(index)

    def refused(self, error: ErrorResponse, now: float, admitted: float) -> ErrorResponse:
        """Return the response to a request that found no connection: that of the breaker, if it was open already."""
        breaker = self._breaker
        return error if breaker is None or not breaker.opened_before(admitted) else _unavailable(breaker, now)

    def in_flight(self, index: int) -> int:
        """Return the number of requests in flight at an endpoint."""
        return self._balance.in_flight(index)

    def ejected(self, index: int, now: float) -> bool:
        """Return whether an endpoint is ejected for now."""
        return self._balance.ejected(index, now)

    def retire(self) -> None:
        """Keep no idle connections: only the requests that have this upstream already are still sent to it."""
        for pool in self.pools:
            pool.retire()

    async def close(self) -> None:
        """Close idle connections; the others close when their requests are done."""
        await asyncio.gather(*(pool.close() for pool in self.pools))


def _unavailable(breaker: CircuitBreaker, now: float) -> ErrorResponse:
    return ErrorResponse(503, "upstream's circuit breaker is open", max(1.0, breaker.retry_after(now)))
