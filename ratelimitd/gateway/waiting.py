"""A request that may wait for a limit, and what is counted of those that do."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from ratelimitd.limiter import Answer, Ask, Charge, Line, Waiter
from ratelimitd.observe.metrics import Histogram

WAIT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: Prometheus' default buckets up to its 10, and two more up to the longest that clients wait."""

SERVED, FULL, TOO_LATE, TIMED_OUT = "served", "full", "too_late", "timed_out"
LEFT, DENIED, FAILED, DRAINED = "left", "denied", "failed", "drained"
"""How waiting ends: the request passed; there was no place; it could not pass in time; the time passed; the client
left; another limit denied it; the limits could not be asked; the process stopped."""

REFUSED: Final = (FULL, TOO_LATE)
"""Ends of requests that need not have waited."""


class QueueMetrics:
    """Counters of waiting requests.

    Attributes:
        ended: requests by (limit, how waiting ended).
        waited: seconds that requests waited which did.
    """

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()
        self.waited = Histogram(WAIT_BUCKETS)


class Waiting:
    """A request that may wait.

    Args:
        ask: makes its ask, by the policy that is in force.
        client: who waits, for the shares of clients: an address.
        decided: called with the decision, once, unless the client leaves.
        failed: called in its place with an error.
        dropped: called in its place when the process stops.

    Attributes:
        waiter: its place in a line; None while it does not wait.
        turn: the line as whose first it is asking.
        since: when it began to wait, µs of the loop's clock; 0 if it has not.
        waited: µs that it waited.
        late: whether its time passed while it was asking.
        over: whether it was decided, or its client left.
    """

    __slots__ = (
        *("ask", "client", "decided", "dropped", "failed"),
        *("charge", "cost", "late", "name", "over", "since", "timer", "turn", "waited", "waiter"),
    )

    def __init__(
        self,
        ask: Callable[[], Ask],
        client: str,
        decided: Callable[[Ask, Answer], None],
        failed: Callable[[object, Exception], None],
        dropped: Callable[[], None],
    ) -> None:
        self.ask = ask
        self.client = client
        self.decided = decided
        self.failed = failed
        self.dropped = dropped
        self.waiter: Waiter | None = None
        self.turn: Line | None = None
        self.charge: Charge | None = None
        self.cost = 1
        self.name = ""
        self.timer: asyncio.TimerHandle | None = None
        self.since = self.waited = 0
        self.late = self.over = False
