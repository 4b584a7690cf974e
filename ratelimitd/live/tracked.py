"""A limit that has traffic: its counts, and its keys."""

from typing import Final

from ratelimitd.limiter import Tally
from ratelimitd.policy import Limit

from .budget import Budget
from .denials import Place
from .history import NONE, RING_BYTES, Counts, History, added, since
from .keys import Keys
from .pace import OF_ONE, Pace

LIMIT_BYTES: Final = 1_500
"""A limit besides its rings, its keys and its path: objects, dicts, numbers. 1,250 measured."""


class Tracked:
    """A limit with traffic in the last hour, by its place in the policy, whose values of requests make no difference.

    Attributes:
        place: domain, path and item.
        limit: the limit, as the last charge had it.
        tally: its counters; None if requests make their names, so that others have hits of it too, and its counts are
            those of the hits that were seen.
        totals: counts since the start.
        open: counts of the step that is now.
        history: counts of the steps before.
        keys: its keys.
        hits, denied: how its hits and its denied hits are sampled.
        first, traffic: steps in which it first and last had traffic.
        since: wall-clock µs at which it was first seen.
        size: bytes that it takes besides its rings and keys.
    """

    __slots__ = (
        "_budget",
        "_last",
        "denied",
        "first",
        "history",
        "hits",
        "keys",
        "limit",
        "open",
        "place",
        "shadow",
        "since",
        "size",
        "tally",
        "totals",
        "traffic",
    )

    def __init__(
        self, place: Place, limit: Limit, budget: Budget, step: int, now: int, size: int, shadow: bool
    ) -> None:
        self.place = place
        self.limit = limit
        self.shadow = shadow
        self.tally: Tally | None = None
        self.totals = self.open = self._last = NONE
        self.history = History()
        self.keys = Keys(budget)
        self.hits, self.denied = Pace(OF_ONE), Pace(OF_ONE)
        self.first = self.traffic = step
        self.since = now
        self.size = size
        self._budget = budget

    def begin(self, tally: Tally, cost: int) -> None:
        """Take the counts of a tally from now on; the last ``cost`` hits of it have just been counted.

        Hits that it has from before count for the totals only: it is not known when they were.
        """
        self.sync()
        self.tally = tally
        self._last = NONE
        if tally.total_hits > cost:
            self._last = counts_of(tally, shadow=self.shadow)
            self.totals = self._last
        self.sync()

    def sample(self) -> None:
        """Count the hits that are seen from now on."""
        self.sync()
        self.tally = None

    def seen(self, counts: Counts) -> None:
        """Count hits that were seen, unless a tally has all of them."""
        if self.tally is None:
            self.totals = added(self.totals, counts)
            self.open = added(self.open, counts)

    def sync(self) -> None:
        """Take what the tally has counted meanwhile."""
        if self.tally is not None:
            now = counts_of(self.tally, shadow=self.shadow)
            if now != self._last:
                more = since(now, self._last)
                self.totals, self.open, self._last = added(self.totals, more), added(self.open, more), now

    def close(self, step: int, passed: int) -> None:
        """End a step; those after it, of ``passed`` together, had no traffic. Counts without memory are not kept."""
        self.sync()
        kept = self.open
        if kept != NONE:
            self.traffic = step
            missing = self.history.missing(kept)
            if missing and not self._budget.take(missing * RING_BYTES):
                kept = NONE
        self.history.close(step, passed, kept)
        self.open = NONE

    def clear(self) -> None:
        """Give the memory back."""
        self.keys.clear()
        self._budget.free(self.size + self.history.rings * RING_BYTES)


def counts_of(tally: Tally, *, shadow: bool) -> Counts:
    """Return the counts of a tally; ``shadow``: SHADOW_MODE, in which nothing is denied."""
    shadowed = tally.over_limit if shadow else tally.shadow_mode
    return Counts(tally.within_limit, max(0, tally.over_limit - shadowed), shadowed, tally.failed)
