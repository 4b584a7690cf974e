"""Calls of the store itself, past the guards: a look-up appears in no metric, and no cache here denies it."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from ratelimitd.algorithms import SECOND
from ratelimitd.limiter import Ask, Plan, Store

BUDGET: Final = SECOND
"""Time limit of a call, µs. A person or a gauge waits for the result, so a slow Redis should still be readable."""

PEEK: Final = 0
"""The cost of a look-up."""


async def ask_store(store: Store, plans: Iterable[Plan], cost: int, now: int) -> list[Ask]:
    """Charge one cost to every counter of plans with charges; return the asks, complete: a store never raises."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    deadline = int(loop.time() * SECOND) + BUDGET
    asks = [Ask(plan, [cost] * len(plan.charges), deadline=deadline) for plan in plans]
    left = len(asks)

    def completed(some: Sequence[Ask]) -> None:
        nonlocal left
        left -= len(some)
        if left == 0 and not done.done():
            done.set_result(None)

    store.charge(asks, now, completed)
    await done
    return asks
