#!/usr/bin/env python3
"""Mixed traffic: clients of each tier, with a rate that oscillates around the limit."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import aiohttp

STEP = 0.02
"""Seconds between batches of requests; at fifty batches per second the wave looks smooth."""

IN_FLIGHT = 200
"""Maximum requests of a tier in flight; requests beyond it are not sent."""

KEPT_SECONDS = 60
"""Length of the history."""

WAVE = 0.7
"""Amplitude of the wave, as a fraction of the mean rate."""


class Tier(NamedTuple):
    """Clients of one tier.

    Attributes:
        keys: API keys, used in rotation; "" sends no key.
        limit: limit of all keys together, in requests per second.
        rate: mean rate of the clients, in requests per second.
        period: period of the wave in seconds.
    """

    name: str
    keys: tuple[str, ...]
    limit: int
    rate: float
    period: float

    @property
    def burst(self) -> int:
        """Return the burst of all keys together: the policy sets none, so each bucket holds one second of its rate."""
        return self.limit

    def due(self, now: float) -> float:
        """Return the rate at ``now``, in requests per second; the wave starts at the mean and rises."""
        return self.rate * (1 + WAVE * math.sin(2 * math.pi * now / self.period))


STANDARD = ("demo-standard-1", "demo-standard-2", "demo-standard-3")
TIERS = (
    Tier("premium", ("demo-premium",), 100, 110.0, 23.0),
    Tier("standard", STANDARD, 30, 33.0, 17.0),
    Tier("no key", ("",), 5, 6.0, 11.0),
)


class Counts(NamedTuple):
    """Numbers of responses: allowed, limited, and any other."""

    allowed: int = 0
    limited: int = 0
    failed: int = 0

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(*(a - b for a, b in zip(self, other, strict=True)))


class Tally:
    """Counts of one tier, in total and per second.

    Attributes:
        seconds: counts of each second, oldest first.
    """

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.total = Counts()
        self.seconds: deque[Counts] = deque(maxlen=KEPT_SECONDS)
        self._before = Counts()

    def add(self, status: int) -> None:
        """Count a response by its status; 0 means no response."""
        allowed, limited = 200 <= status < 300, status == 429
        self.total = Counts(
            self.total.allowed + allowed, self.total.limited + limited, self.total.failed + (not (allowed or limited))
        )

    def tick(self) -> None:
        """Complete the current second."""
        self.seconds.append(self.total - self._before)
        self._before = self.total

    @property
    def latest(self) -> Counts:
        """Return the counts of the last complete second."""
        return self.seconds[-1] if self.seconds else Counts()


class Traffic:
    """Sends the requests of all tiers to a URL until it is cancelled."""

    def __init__(self, url: str, tiers: Sequence[Tier] = TIERS) -> None:
        self.tallies = [Tally(tier) for tier in tiers]
        self._url = url
        self._sent: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send requests and count the responses."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
            try:
                await asyncio.gather(*(self._pace(session, tally) for tally in self.tallies))
            finally:
                for task in self._sent:
                    task.cancel()
                await asyncio.gather(*self._sent, return_exceptions=True)

    async def _pace(self, session: aiohttp.ClientSession, tally: Tally) -> None:
        """Send the requests that are due at each step."""
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
