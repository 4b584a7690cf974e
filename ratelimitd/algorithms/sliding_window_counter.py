"""Sliding window counter: two counts, the previous window's weighted by the fraction that the sliding window overlaps.

An approximation: it assumes that the requests of the previous window were evenly spread. For evenly spread traffic it
is exact to within one request. For other traffic:

- a window aligned to the epoch never admits more than the quota;
- any other span of one window's length, ending a fraction f into an aligned window, admits at most
  quota * (1 + f), so always less than twice the quota;
- it may reject requests that an exact log would admit, at most as many as the previous window's count.

Rejected requests do not count. If the ceiling of usage * window exceeds the exact range of a double, time is measured
in coarser ticks and rounded against the client. It may then admit fewer requests: less than two in a million of the
previous window's count, one for the tick that has begun and one for the last tick of a window, which is longer.
"""

from typing import Final

from .rate import EXACT, NEVER, POST_PAID, ROOM, SETTLES, SMALL_STEP, Decision, Rate

QUOTAS: Final = 11
"""Quotas of usage that settlements may leave. It only bounds the numbers: usage is forgotten after two windows."""

Counts = tuple[int, int, int]
"""Time (µs) of the last change, the count of the window that contains it, and the count of the window before."""


def numbers(quota: int, window: int) -> tuple[int, ...]:
    """Return (quota, window, µs per tick, ticks per window, maximum usage)."""
    ceiling = min(quota * QUOTAS, ROOM)
    tick = max(1, -(-window * ceiling // (EXACT - 1)))
    return quota, window, tick, window // tick, ceiling


def rolled(state: Counts, most: int, window: int, now: int) -> tuple[int, int, int]:
    """Return the effective time, which is never before the state's own, and the two counts at that time."""
    last, current, previous = state
    time = last if last > now else now  # noqa: FURB136 -- max() costs 60 ns more
    passed = time - time % window - last
    if passed > 0:
        previous = current if passed <= window else 0
        current = 0
    return time, min(current, most), min(previous, most)


def step(state: Counts | None, rate: Rate, cost: int, now: int, flags: int) -> tuple[Counts | None, Decision]:
    """Decide one charge. A peek or a denial returns the state unchanged, or its usage moved to the current window."""
    quota, window, tick, ticks, ceiling = rate.numbers
    most = quota if flags < POST_PAID else ceiling
    time, current, previous = rolled(state, most, window, now) if state else (now, 0, 0)
    into = time % window
    left = min(-(-(window - into) // tick), ticks)
    before = used = current - (-previous * left // ticks)
    if time - now > SMALL_STEP:
        before = used = current = min(used, most)
        previous, time, into = 0, now, now % window
        state = time, current, previous
    retry = 0
    need = cost if cost or flags < POST_PAID else 1
    if flags >= SETTLES and cost >= 0:
        paid = min(cost, ceiling - used) if used < ceiling else 0
        if paid:
            current += paid
            used += paid
            state = time, current, previous
        if cost and before + cost > quota:
            retry = wait(rate, current, previous, 1, into, time - now)
    elif need >= 0 and used + need > quota:
        retry = wait(rate, current, previous, need, into, time - now)
    elif cost:
        current += cost
        if current < 0:
            previous = max(previous + current, 0)
            current = 0
        used = current - (-previous * left // ticks)
        state = time, current, previous
    if not current and not previous:
        return None, Decision(retry == 0, quota, 0, retry, before)
    reset = time - now - into + (2 * window if current else window)
    return state, Decision(retry == 0, quota - used if used < quota else 0, reset, retry, before)


def wait(rate: Rate, current: int, previous: int, cost: int, into: int, behind: int) -> int:
    """Return the µs until a denied cost passes: until the sliding window overlaps the older one by few enough ticks."""
    quota, window, tick, ticks, _ = rate.numbers
    if cost > quota:
        return NEVER
    room = quota - current - cost
    if room >= 0:
        return behind + window - room * ticks // previous * tick - into
    return behind + 2 * window - (quota - cost) * ticks // current * tick - into
