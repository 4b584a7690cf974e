"""When the holds of requests in progress are renewed: before they expire, however long the requests take."""

from typing import Final

from .seam import Ask

TIMES: Final = 3
"""Renewals within a ttl: two may fail before a hold expires."""


class Renewals:
    """Requests in progress that hold something, by when that is renewed next. Times are µs.

    Holds of one ttl are renewed in the order in which they were taken or renewed, so each ttl has a queue.
    """

    def __init__(self) -> None:
        self._due: dict[int, dict[Ask, int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._due.values()))

    def add(self, ask: Ask, ttl: int, now: int) -> None:
        """Renew the holds of an ask from now on; the first of them expires after ``ttl`` µs."""
        self._due.setdefault(ttl, {})[ask] = now + ttl // TIMES

    def discard(self, ask: Ask, ttl: int) -> None:
        """Renew them no longer."""
        asks = self._due.get(ttl)
        if asks is not None:
            asks.pop(ask, None)
            if not asks:
                del self._due[ttl]

    @property
    def next(self) -> int | None:
        """Time of the next renewal; None if nothing is held."""
        return min((next(iter(asks.values())) for asks in self._due.values()), default=None)

    def take_due(self, now: int, most: int) -> list[Ask]:
        """Return at most ``most`` asks whose renewal is due; the next one of each is a third of its ttl later."""
        found: list[Ask] = []
        for ttl, asks in self._due.items():
            while len(found) < most:
                ask, due = next(iter(asks.items()))
                if due > now:
                    break
                del asks[ask]
                asks[ask] = now + ttl // TIMES
                found.append(ask)
        return found
