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
        self._breaker = CircuitBreaker(options.breaker)
        self._balance = Balance(len(endpoints), options.balance, random.randrange)

    def __repr__(self) -> str:
        return f"<Upstream {self.name}: {self.state.value}, {self.pools}>"

    @property
    def state(self) -> State:
        """State of the circuit breaker."""
        return self._breaker.state

    def admit(self, now: float) -> ErrorResponse | None:
        """Admit a request, which then ends with ``done``, or return the error response if the breaker does not."""
        if self._breaker.admit(now):
            return None
        wait = max(1.0, self._breaker.retry_after(now))
        return ErrorResponse(503, "upstream's circuit breaker is open", wait)

    def pick(self, now: float, avoid: int | None = None) -> int | ErrorResponse:
        """Choose an endpoint for an attempt, which then ends with ``attempted``; ``avoid`` is chosen last."""
        index = self._balance.pick(now, avoid)
        if index is None:
            wait = max(1.0, self._balance.retry_after(now))
            return ErrorResponse(503, "no endpoint of the upstream is healthy", wait)
        return index

    def attempted(self, index: int, outcome: Outcome, now: float) -> None:
        """Record the outcome of an attempt at an endpoint."""
        self._balance.done(index, outcome, now)

    def done(self, outcome: Outcome, now: float, admitted: float) -> None:
        """Record the outcome of a request that was admitted at ``admitted``."""
        self._breaker.record(outcome, now, admitted)

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
