#!/usr/bin/env python3
"""Tenants that use a language model: each has callers in parallel, some of which leave before an answer has ended."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

import aiohttp

COMPLETIONS = "/v1/chat/completions"

THINK = 0.2
"""Seconds between an answer and the next question of a caller."""

HANG_UPS = 0.05
"""Share of the streams that their callers leave."""

STREAMS = 0.8
"""Share of the answers that are streams; the others are JSON."""

PATIENCE = 2.0
"""Longest wait after a denial, in seconds: the demo shall show more denials than callers that do as they are told."""


class Tenant(NamedTuple):
    """A tenant of the policy.

    Attributes:
        budget: value of its descriptor's second entry.
        about: what is different about it.
        callers: how many run in parallel.
    """

    name: str
    budget: str
    about: str
    callers: int


TENANTS = (
    Tenant("acme", "tokens", "reserve", 20),
    Tenant("globex", "tokens", "no reserve", 20),
    Tenant("initech", "tokens", "bucket+reserve", 20),
    Tenant("umbrella", "money", "money+reserve", 20),
)


class Tally:
    """What a tenant's callers have met.

    Attributes:
        answers: complete answers.
        denied: questions that were denied.
        cut: streams that their callers left.
        failed: all other results.
    """

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.answers = self.denied = self.cut = self.failed = 0


class Traffic:
    """Sends the requests of all tenants until it is cancelled. The same seed draws the same callers."""

    def __init__(self, url: str, tenants: Sequence[Tenant] = TENANTS, seed: int = 0) -> None:
        self.tallies = [Tally(tenant) for tenant in tenants]
        self._url = url
        self._seed = seed

    async def run(self) -> None:
        """Send requests and count what becomes of them."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self._url, connector=connector) as session, asyncio.TaskGroup() as group:
            for tally in self.tallies:
                for number in range(tally.tenant.callers):
                    random = Random(f"{self._seed} {tally.tenant.name} {number}")  # noqa: S311 -- traffic, not a secret
                    group.create_task(self._call(session, tally, random))

    async def _call(self, session: aiohttp.ClientSession, tally: Tally, random: Random) -> None:
        """Ask again and again, as one caller does."""
        while True:
            await asyncio.sleep(THINK)
            try:
                wait = await self._ask(session, tally, random)
            except (aiohttp.ClientError, TimeoutError):
                tally.failed += 1
                wait = THINK
            await asyncio.sleep(wait)

    async def _ask(self, session: aiohttp.ClientSession, tally: Tally, random: Random) -> float:
        """Ask once; return how long to wait then."""
        streamed, leaves = random.random() < STREAMS, random.random() < HANG_UPS
        headers = {"X-Tenant": tally.tenant.name}
        async with session.post(COMPLETIONS, json=body(stream=streamed), headers=headers) as answer:
            if answer.status == 429:
                tally.denied += 1
                return min(float(answer.headers.get("X-RateLimit-Reset", 1)), PATIENCE)
            if answer.status != 200:
                tally.failed += 1
                return THINK
            if streamed and leaves:
                await answer.content.readline()
                tally.cut += 1
                answer.close()
                return 0
            await answer.read()
            tally.answers += 1
            return 0


def body(*, stream: bool, model: str = "fake", usage: bool = True) -> dict[str, Any]:
    """Return a request. ``usage``: whether a stream is asked to tell it, without which it has none."""
    made: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Tell me about budgets."}]}
    if stream:
        made |= {"stream": True, "stream_options": {"include_usage": usage}}
    return made
