"""What a reload changed, for the log and the admin API."""

import asyncio
import time
from typing import Final, NamedTuple

from ratelimitd.policy import ChangeKind, Policy, changes

SHOWN: Final = 20
"""Changes that are shown: a screenful; ``ratelimitd diff`` lists all."""

RESTARTED_SHOWN: Final = 100
"""Limits named whose counts start anew: they have no other trace, and a line of 100 places is still one of a log."""

TURN: Final = 0.001
"""Seconds of comparison before yielding to the event loop: a fifth of the 5 ms that may block it."""


class Changed(NamedTuple):
    """Number of changes, the first of them in words, and the limits whose counts start anew by another key.

    Of these limits, ``restarted`` names the first; ``restarts`` is their number.
    """

    total: int = 0
    first: tuple[str, ...] = ()
    restarts: int = 0
    restarted: tuple[str, ...] = ()


async def changed(old: Policy, new: Policy) -> Changed:
    """Compare two policies; yields to the event loop in between."""
    first: list[str] = []
    restarted: list[str] = []
    restarts = 0
    total, turn = 0, time.monotonic() + TURN
    for some in changes(old, new):
        total += len(some)
        if len(first) < SHOWN:
            first += map(str, some)
        anew = [change.place for change in some if change.kind is ChangeKind.RESTARTED]
        restarts += len(anew)
        if len(restarted) < RESTARTED_SHOWN:
            restarted += anew
        if time.monotonic() > turn:
            await asyncio.sleep(0)
            turn = time.monotonic() + TURN
    return Changed(total, tuple(first[:SHOWN]), restarts, tuple(restarted[:RESTARTED_SHOWN]))
