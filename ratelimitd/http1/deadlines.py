"""One timer for all connections: who is past its deadline is told so."""

import asyncio
from typing import Protocol

SWEEP = 0.25
"""Seconds between two looks. Timeouts are seconds, so a quarter late is early enough; looking at 10,000 takes 1 ms."""


class Timed(Protocol):
    """Something with a deadline, in the loop's seconds; infinite where there is none."""

    deadline: float

    def expire(self, now: float) -> None:
        """Do what the deadline is for, and set another."""


class Sweeper:
    """Looks at deadlines, which cost an assignment each and no timer."""

    def __init__(self, interval: float = SWEEP) -> None:
        self._interval = interval
        self._watched: set[Timed] = set()
        self._handle: asyncio.TimerHandle | None = None

    def add(self, timed: Timed) -> None:
        """Look after it from now on."""
        self._watched.add(timed)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self._interval, self._sweep)

    def discard(self, timed: Timed) -> None:
        """Look after it no more."""
        self._watched.discard(timed)

    def close(self) -> None:
        """Stop looking."""
        self._watched.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for timed in [timed for timed in self._watched if timed.deadline <= now]:
            timed.expire(now)
        self._handle = loop.call_later(self._interval, self._sweep) if self._watched else None
