"""Sliding window: an exact log of the charges in the last window. No span of that length admits more than the quota.

The log has one entry per charge, not per hit, with the running total. So usage is one subtraction, and every search
is a bisection. Peeks and denials add no entry; a give-back subtracts from the newest entries. A settlement past the
quota adds none either, but to the newest entry, so the log stays as short as its quota.
"""

from bisect import bisect_left, bisect_right
from typing import Final

from ratelimitd.value import Value

from .rate import NEVER, POST_PAID, SETTLES, SMALL_STEP, Decision, Rate

QUOTA_MAX: Final = 10_000
"""Maximum entries of a log: 10,000 take 1.3 MB in Redis and 0.9 MB here, and more is too much for one counter."""


QUOTAS: Final = 11
"""Quotas of usage that settlements may leave. It only bounds the numbers: usage is forgotten after a window."""


class Log(Value):
    """Entries ``low`` to ``high`` (exclusive) of two lists that several logs share; those below ``low`` have expired.

    Only the log that ends at the end of the lists appends to them, so older logs stay unchanged.

    Attributes:
        times: time of each charge in µs, never decreasing.
        totals: running total up to and including each charge; usage is counted from the total at ``low`` - 1.
    """

    __match_args__ = ("times", "totals", "low", "high")
    __slots__ = __match_args__

    def __init__(self, times: list[int], totals: list[int], low: int, high: int) -> None:
        self.times = times
        self.totals = totals
        self.low = low
        self.high = high


def numbers(quota: int, window: int) -> tuple[int, ...]:
    """Return (quota, window, maximum usage)."""
    return quota, window, quota * QUOTAS


def step(state: Log | None, rate: Rate, cost: int, now: int, flags: int) -> tuple[Log | None, Decision]:
    """Decide one charge. A peek or a denial returns the state unchanged, or as ``moved`` returned it."""
    quota, window, ceiling = rate.numbers
    log = Log([0], [0], 1, 1) if state is None else state
    times, totals, low, high = log.times, log.totals, log.low, log.high
    if times[high - 1] - now > SMALL_STEP:
        state = log = moved(log, window, now)
        times, totals, low, high = log.times, log.totals, log.low, log.high
    time = max(now, times[high - 1]) if high > low else now
    low = bisect_right(times, time - window, low, high)
    base = totals[low - 1]
    before = used = totals[high - 1] - base
    retry = 0
    need = cost if cost or flags < POST_PAID else 1
    if flags >= SETTLES and cost >= 0:
        paid = min(cost, ceiling - used) if used < ceiling else 0
        if paid:
            state = log = settled(log, low, time, base + used + paid, full=used >= quota)
            low, high = log.low, log.high
            base, used = log.totals[low - 1], used + paid
        if cost and before + cost > quota:
            retry = leaves(log, low, base + used + 1 - quota) + window - now if quota else NEVER
    elif need >= 0 and used + need > quota:
        retry = leaves(log, low, base + used + need - quota) + window - now if need <= quota else NEVER
    elif cost > 0:
        used += cost
        state = appended(log, low, time, base + used)
    elif cost < 0:
        used = max(used + cost, 0)
        state = shortened(log, low, base + used)
    if state is None or used == 0:
        return None, Decision(retry == 0, quota, 0, retry, before)
    newest = state.times[state.high - 1]
    return state, Decision(retry == 0, max(quota - used, 0), newest + window - now, retry, before)


def leaves(log: Log, low: int, total: int) -> int:
    """Return the time of the oldest charge from ``low`` on with at least this total."""
    return log.times[bisect_left(log.totals, total, low, log.high)]


def settled(log: Log, low: int, time: int, total: int, *, full: bool) -> Log:
    """Return the log from ``low`` on with the cost up to ``total``, which the newest entry of a full log takes."""
    if not full:
        return appended(log, low, time, total)
    times, totals = log.times[low - 1 : log.high], log.totals[low - 1 : log.high]
    times[-1], totals[-1] = time, total
    return Log(times, totals, 1, len(times))


def moved(log: Log, window: int, now: int) -> Log:
    """Return a log with a single charge at ``now``: the usage of this log at the time of its newest entry."""
    times, totals, low, high = log.times, log.totals, log.low, log.high
    low = bisect_right(times, times[high - 1] - window, low, high)
    return Log([0, now], [0, totals[high - 1] - totals[low - 1]], 1, 2)


def appended(log: Log, low: int, time: int, total: int) -> Log:
    """Return the log from ``low`` on with one more entry."""
    times, totals, high = log.times, log.totals, log.high
    if high != len(times) or low * 2 > high + SLACK:
        times, totals = times[low - 1 : high], totals[low - 1 : high]
        low, high = 1, high - low + 1
    times.append(time)
    totals.append(total)
    return Log(times, totals, low, high + 1)


SLACK: Final = 64
"""Expired entries that may remain before the lists are copied, so that short logs are not copied at every step."""


def shortened(log: Log, low: int, total: int) -> Log:
    """Return the log from ``low`` on without the charges above ``total``."""
    end = bisect_left(log.totals, total, low, log.high) + 1
    times, totals = log.times[low - 1 : end], log.totals[low - 1 : end]
    totals[-1] = total
    return Log(times, totals, 1, len(times))
