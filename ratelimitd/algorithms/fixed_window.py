"""Fixed window: one count for each window of the clock, as envoyproxy/ratelimit keeps it.

Windows are aligned to the epoch, and each has a counter of its own: the step never sees the count of another
window. Up to twice the quota can pass around the moment where two windows meet.
"""

from typing import Final

from .rate import EXACT, NEVER, Decision, Rate

SATURATED: Final = EXACT >> 1
"""A count stops here, so that rejected costs cannot grow it past what a double holds; no limit is near it."""


def numbers(quota: int, window: int, *, count_rejected: bool) -> tuple[int, ...]:
    """Return (quota, window, 1 if a rejected cost still counts else 0)."""
    return quota, window, int(count_rejected)


def step(state: int | None, rate: Rate, cost: int, now: int) -> tuple[int | None, Decision]:
    """Decide one charge on the count of the window that ``now`` is in."""
    quota, window, count_rejected = rate.numbers
    before = state or 0
    after = before + cost
    rest = window - now % window
    retry = 0
    if cost < 0:
        after = max(after, 0)
    elif after > quota:
        retry = rest if cost <= quota else NEVER
        after = min(after, SATURATED) if count_rejected else before
    if after == 0:
        return None, Decision(retry == 0, quota, rest, retry, before)
    return after, Decision(retry == 0, max(quota - after, 0), rest, retry, before)
