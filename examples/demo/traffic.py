#!/usr/bin/env python3
"""Mixed traffic: callers of each tier, in waves that now and then are more than they may."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import aiohttp

STEP = 0.02
"""Seconds between two looks at what is due; a wave looks smooth at fifty a second."""

IN_FLIGHT = 200
"""Requests of a tier that may wait for an answer; what is due beyond is not sent."""

KEPT_SECONDS = 60
"""Of history."""

WAVE = 0.7
"""How far a wave goes above and below its middle, as a part of it."""


class Tier(NamedTuple):
    """Callers of one kind.

    Attributes:
        keys: API keys, used in turn; "" sends none.
        limit: requests a second that all of them together may make.
        rate: requests a second they make in the middle.
        period: seconds of a wave.
    """

    name: str
    keys: tuple[str, ...]
    limit: int
    rate: float
    period: float

    def due(self, now: float) -> float:
        """Return the requests a second at this time; a wave begins upwards."""
        return self.rate * (1 + WAVE * math.sin(2 * math.pi * now / self.period))


STANDARD = ("demo-standard-1", "demo-standard-2", "demo-standard-3")
TIERS = (
    Tier("premium", ("demo-premium",), 100, 110.0, 23.0),
    Tier("standard", STANDARD, 30, 33.0, 17.0),
    Tier("no key", ("",), 5, 6.0, 11.0),
)


class Counts(NamedTuple):
    """Answers so far: passed, limited, and anything else."""

    allowed: int = 0
    limited: int = 0
    failed: int = 0

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(*(a - b for a, b in zip(self, other, strict=True)))


class Tally:
    """Counts of one tier, in all and second by second.

    Attributes:
        seconds: what each second brought, the latest last.
    """

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.total = Counts()
        self.seconds: deque[Counts] = deque(maxlen=KEPT_SECONDS)
        self._before = Counts()

    def add(self, status: int) -> None:
        """Count an answer; 0 is none."""
        allowed, limited = 200 <= status < 300, status == 429
        self.total = Counts(
            self.total.allowed + allowed, self.total.limited + limited, self.total.failed + (not (allowed or limited))
        )

    def tick(self) -> None:
        """End a second."""
        self.seconds.append(self.total - self._before)
        self._before = self.total

    @property
    def latest(self) -> Counts:
        """Return the last second that is complete."""
        return self.seconds[-1] if self.seconds else Counts()


class Traffic:
    """Sends the requests of all tiers to a URL until it is cancelled."""

    def __init__(self, url: str, tiers: Sequence[Tier] = TIERS) -> None:
        self.tallies = [Tally(tier) for tier in tiers]
        self._url = url
        self._sent: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send, and count what comes back."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            try:
                await asyncio.gather(*(self._pace(session, tally) for tally in self.tallies))
            finally:
                for task in self._sent:
                    task.cancel()
                await asyncio.gather(*self._sent, return_exceptions=True)

    async def _pace(self, session: aiohttp.ClientSession, tally: Tally) -> None:
        """Send as many as are due at each step."""
        keys, began, due, waiting = cycle(tally.tier.keys), time.monotonic(), 0.0, set[asyncio.Task[None]]()
        before = 0.0
        while True:
            now = time.monotonic() - began
            due += tally.tier.due(now) * (now - before)
            before = now
            for _ in range(min(int(due), IN_FLIGHT - len(waiting))):
                task = asyncio.create_task(self._ask(session, tally, next(keys)))
                for tasks in (waiting, self._sent):
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            due %= 1
            await asyncio.sleep(STEP)

    async def _ask(self, session: aiohttp.ClientSession, tally: Tally, key: str) -> None:
        headers = {"X-API-Key": key} if key else {}
        try:
            async with session.get(self._url, headers=headers) as answer:
                await answer.read()
                tally.add(answer.status)
        except (aiohttp.ClientError, TimeoutError):
            tally.add(0)
