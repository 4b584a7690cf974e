"""Fixed window: one count per window of the clock, as in envoyproxy/ratelimit.

Windows are aligned to the epoch, and each has its own counter: a step never sees the count of another window. Up to
twice the quota can pass around the boundary of two windows.
"""

from typing import Final

from .rate import EXACT, NEVER, POST_PAID, SETTLES, Decision, Rate

SATURATED: Final = EXACT >> 1
"""Maximum of a count: rejected costs must not grow it past the exact range of a double. All quotas are far below."""


def numbers(quota: int, window: int, *, count_rejected: bool) -> tuple[int, ...]:
    """Return (quota, window, 1 if rejected costs count else 0)."""
    return quota, window, int(count_rejected)


def step(state: int | None, rate: Rate, cost: int, now: int, flags: int) -> tuple[int | None, Decision]:
    """Decide one charge on the count of the window that contains ``now``."""
    quota, window, count_rejected = rate.numbers
    before = state or 0
    after = before + cost
    rest = window - now % window
    retry = 0
    if cost < 0:
        after = max(after, 0)
    elif flags >= SETTLES:
        after = min(after, SATURATED)
        if cost and before + cost > quota:
            retry = rest if quota else NEVER
    elif after > quota or (before == quota and cost == 0 and flags >= POST_PAID):
        need = cost if cost or flags < POST_PAID else 1
        retry = rest if need <= quota else NEVER
        after = min(after, SATURATED) if count_rejected else before
    if after == 0:
        return None, Decision(retry == 0, quota, rest, retry, before)
    return after, Decision(retry == 0, max(quota - after, 0), rest, retry, before)
