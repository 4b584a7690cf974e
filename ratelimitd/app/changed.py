"""What a reload changed, for the log and the admin API."""

import asyncio
import time
from typing import Final, NamedTuple

from ratelimitd.policy import Policy, changes

SHOWN: Final = 20
"""Changes that are shown: a screenful; ``ratelimitd diff`` lists all."""

TURN: Final = 0.001
"""Seconds of comparison before yielding to the event loop: a fifth of the 5 ms that may block it."""


class Changed(NamedTuple):
    """Number of changes, and the first of them in words."""

    total: int = 0
    first: tuple[str, ...] = ()


async def changed(old: Policy, new: Policy) -> Changed:
    """Compare two policies; yields to the event loop in between."""
    first: list[str] = []
    total, turn = 0, time.monotonic() + TURN
    for some in changes(old, new):
        total += len(some)
        if len(first) < SHOWN:
            first += map(str, some)
        if time.monotonic() > turn:
            await asyncio.sleep(0)
            turn = time.monotonic() + TURN
    return Changed(total, tuple(first[:SHOWN]))
