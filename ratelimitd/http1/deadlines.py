"""One timer for the deadlines of all connections."""

import asyncio
from collections import deque
from typing import Final, Protocol

SWEEP = 0.25
"""Seconds between two checks. Timeouts are seconds, so a quarter late is soon enough; a check of 10,000 takes 1 ms."""

AT_ONCE: Final = 50
"""Deadlines that are acted on between two turns of the event loop: an error response takes 20 to 50 µs."""


class Timed(Protocol):
    """Something with a deadline, in seconds of the loop's clock; infinite for none."""

    deadline: float

    def expire(self, now: float) -> None:
        """Act on a deadline that passed, and set another one."""


class Sweeper:
    """Checks deadlines at an interval, so that to set one costs an assignment and no timer."""

    def __init__(self, interval: float = SWEEP) -> None:
        self._interval = interval
        self._watched: set[Timed] = set()
        self._handle: asyncio.Handle | None = None

    def add(self, timed: Timed) -> None:
        """Watch a deadline from now on."""
        self._watched.add(timed)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self._interval, self._sweep)

    def discard(self, timed: Timed) -> None:
        """Stop watching a deadline."""
        self._watched.discard(timed)

    def close(self) -> None:
        """Stop watching all deadlines."""
        self._watched.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        self._act(deque([timed for timed in self._watched if timed.deadline <= now]))

    def _act(self, due: deque[Timed]) -> None:
        """Act on some deadlines, and on the others in the next turn of the loop."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            for _ in range(min(len(due), AT_ONCE)):
                timed = due.popleft()
                if timed.deadline <= now and timed in self._watched:
                    timed.expire(now)
        finally:  # an error in one does not end the checks of all
            if due:
                self._handle = loop.call_soon(self._act, due)
            else:
                self._handle = loop.call_later(self._interval, self._sweep) if self._watched else None
