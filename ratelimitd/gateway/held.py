"""What requests in progress hold of limits: renewed while they last, released once when they are over."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from ratelimitd.algorithms import SECOND
from ratelimitd.limiter import Ask, Engine, Renewals, ttl_of

AT_ONCE: Final = 100
"""Requests whose holds are renewed between two turns of the event loop: about 2 ms of work, and one script call."""


class Held:
    """The holds of all requests in progress.

    Attributes:
        freed: called with an ask whose holds were released.
    """

    def __init__(self, engine: Engine) -> None:
        self.freed: Callable[[Ask], None] = lambda _: None
        self._engine = engine
        self._renewals = Renewals()
        self._ttls: dict[Ask, int] = {}
        self._under_way: set[Ask] = set()
        self._over: set[Ask] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._ttls)

    def add(self, ask: Ask) -> None:
        """Renew what an ask took until it is released."""
        ttl = self._ttls[ask] = ttl_of(ask)
        self._renewals.add(ask, ttl, _now())
        if self._timer is None:
            self._arm()

    def release(self, ask: Ask) -> None:
        """Release what an ask took; after the reply to its renewal, which would take it again if it came later."""
        ttl = self._ttls.pop(ask, None)
        if ttl is None:
            return
        self._renewals.discard(ask, ttl)
        if ask in self._under_way:
            self._over.add(ask)
        else:
            self._release(ask)

    def close(self) -> None:
        """Renew nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _release(self, ask: Ask) -> None:
        self._engine.release(ask, _wall())
        self.freed(ask)

    def _arm(self) -> None:
        due = self._renewals.next
        wait = None if due is None else max(0.0, (due - _now()) / SECOND)
        self._timer = None if wait is None else asyncio.get_running_loop().call_later(wait, self._renew)

    def _renew(self) -> None:
        asks = self._renewals.take_due(_now(), AT_ONCE)
        self._under_way.update(asks)
        self._engine.renew([(ask, ask) for ask in asks], _wall(), self._renewed)
        self._arm()

    def _renewed(self, renewals: Sequence[Ask]) -> None:
        for renewal in renewals:
            ask = renewal.tag
            self._under_way.discard(ask)
            if ask in self._over:
                self._over.discard(ask)
                self._release(ask)


def _now() -> int:
    """Return the time in µs by which holds are renewed, which no step of the clock changes."""
    return time.monotonic_ns() // 1000


def _wall() -> int:
    return time.time_ns() // 1000
