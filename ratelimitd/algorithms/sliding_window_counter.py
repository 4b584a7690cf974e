"""Sliding window counter: two counts, the previous window's weighed by the part of it still in sight.

An approximation: it takes the previous window's requests as spread evenly over that window. For traffic that
is, it is right to within one request. For traffic that is not:

- a window aligned to the epoch never admits more than the quota;
- any other span of one window's length, ending a fraction f into an aligned window, admits at most
  quota * (1 + f), so always less than twice the quota;
- it may reject what an exact log would admit, by at most the previous window's count.

Rejected requests do not count. Where quota * window does not fit a double, time is weighed in coarser ticks,
rounded against the caller: then it may admit less, by under one request in a million of the previous window's.
"""

from .rate import EXACT, NEVER, SMALL_STEP, Decision, Rate

Counts = tuple[int, int, int]
"""When (µs) it last changed, the count of the window that falls in, and the count of the window before."""


def numbers(quota: int, window: int) -> tuple[int, ...]:
    """Return (quota, window, µs a tick, ticks a window)."""
    tick = max(1, -(-window * quota // (EXACT - 1)))
    return quota, window, tick, window // tick


def rolled(state: Counts, quota: int, window: int, now: int) -> tuple[int, int, int]:
    """Return the time that counts, which is never before the state's own, and the two counts as they are then."""
    last, current, previous = state
    time = last if last > now else now  # noqa: FURB136 -- max() costs 60 ns more
    passed = time - time % window - last
    if passed > 0:
        previous = current if passed <= window else 0
        current = 0
    return time, min(current, quota), min(previous, quota)


def step(state: Counts | None, rate: Rate, cost: int, now: int) -> tuple[Counts | None, Decision]:
    """Decide one charge. A peek and a denial return the state as it was, or what is used as used in this window."""
    quota, window, tick, ticks = rate.numbers
    time, current, previous = rolled(state, quota, window, now) if state else (now, 0, 0)
    into = time % window
    left = min(-(-(window - into) // tick), ticks)
    before = used = current - (-previous * left // ticks)
    if time - now > SMALL_STEP:
        before = used = current = min(used, quota)
        previous, time, into = 0, now, now % window
        state = time, current, previous
    retry = 0
    if cost >= 0 and used + cost > quota:
        retry = wait(rate, current, previous, cost, into, time - now)
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
    """Return the µs until a denied cost passes: when few enough ticks of an old window are left in sight."""
    quota, window, tick, ticks = rate.numbers
    if cost > quota:
        return NEVER
    room = quota - current - cost
    if room >= 0:
        return behind + window - room * ticks // previous * tick - into
    return behind + 2 * window - (quota - cost) * ticks // current * tick - into
