"""An upstream: its endpoints, which of them is asked, and whether any is."""

import asyncio
import random
import ssl
from collections.abc import Sequence

from .balance import Balance
from .circuit_breaker import Breaker, State, Verdict
from .deadlines import Sweeper
from .model import Endpoint, Refusal
from .options import UpstreamOptions
from .pool import Pool


class Upstream:
    """Endpoints that answer alike, behind one circuit breaker.

    Attributes:
        name: for metrics and the log.
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
    ) -> None:
        self.name = name
        self.pools = [Pool(endpoint, options, sweeper, tls) for endpoint in endpoints]
        self._breaker = Breaker(options.breaker)
        self._balance = Balance(len(endpoints), options.balance, random.randrange)

    def __repr__(self) -> str:
        return f"<Upstream {self.name}: {self.state.value}, {self.pools}>"

    @property
    def state(self) -> State:
        """The breaker's state."""
        return self._breaker.state

    def admit(self, now: float) -> Refusal | None:
        """Let a request in, which then ends with ``done``, or say why not."""
        if self._breaker.admit(now):
            return None
        return Refusal(503, "upstream's circuit breaker is open", max(1.0, self._breaker.retry_after(now)))

    def pick(self, now: float, avoid: int | None = None) -> int | Refusal:
        """Choose an endpoint for an attempt, which then ends with ``attempted``."""
        index = self._balance.pick(now, avoid)
        if index is None:
            return Refusal(503, "no endpoint of the upstream is healthy", max(1.0, self._balance.retry_after(now)))
        return index

    def attempted(self, index: int, verdict: Verdict, now: float) -> None:
        """Learn how the attempt at an endpoint went."""
        self._balance.done(index, verdict, now)

    def done(self, verdict: Verdict, now: float, admitted: float) -> None:
        """Learn how the request went that was admitted at ``admitted``."""
        self._breaker.record(verdict, now, admitted)

    def in_flight(self, index: int) -> int:
        """Tell how many requests are at an endpoint."""
        return self._balance.in_flight(index)

    def ejected(self, index: int, now: float) -> bool:
        """Tell whether an endpoint is left alone for now."""
        return self._balance.ejected(index, now)

    async def close(self) -> None:
        """Close the connections nobody uses; the others close when they are done."""
        await asyncio.gather(*(pool.close() for pool in self.pools))
