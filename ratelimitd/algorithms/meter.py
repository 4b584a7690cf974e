"""Token bucket, GCRA and leaky bucket: a debt that drains at the rate quota/window.

The three names describe the same algorithm from different viewpoints (GCRA: ITU-T I.371), so they share one
implementation. The unit of debt is 1/scale of a request, and ``leak`` units drain per µs, with
leak/scale = quota/window. So a high rate loses no precision to whole microseconds.
"""

from fractions import Fraction
from math import gcd
from typing import Final

from .rate import EXACT, NEVER, POST_PAID, ROOM, SECOND, SETTLES, SMALL_STEP, Decision, Rate

Debt = tuple[int, int, int]
"""The debt in units of 1/scale of a request, the time (µs) at which it was that, and the scale."""


BURSTS: Final = 8
"""Bursts of debt that a scale leaves room for: answers in flight when a bucket is empty cost some bursts together."""

DAY: Final = 86_400 * SECOND

SLOWEST: Final = 1 << 51
"""µs in which a burst refills at most, see ``table.WINDOW_MAX``."""


def numbers(quota: int, window: int, burst: int) -> tuple[int, ...]:
    """Return (leak, scale, burst, full, drain, ceiling, emptied).

    ``full`` is the maximum debt of what is admitted, ``ceiling`` the maximum that settlements may leave: what drains in
    a window, or a day if that is longer, more than ``full``. They drain in ``drain`` and ``emptied`` µs.
    leak/scale is quota/window, or the nearest fraction below it that keeps some bursts of debt under ``EXACT``.
    """
    if quota == 0:
        return 1, 1, 0, 0, 0, 0, 0
    shared = gcd(quota, window)
    leak, scale = quota // shared, window // shared
    # A scale of 2**20 or more keeps the rate within a millionth; it must exceed four times the µs of one request.
    bursts = max(1, min(BURSTS, ROOM // burst, SLOWEST * quota // (burst * window)))
    largest = (EXACT - 1) // (burst * bursts)
    if scale > largest:
        leak, scale = fraction_below(leak, scale, largest)
    full = burst * scale
    debt = full + leak * max(window, DAY)
    ceiling = min(debt, EXACT - 1, leak * ((1 << 52) - 1), ROOM * scale) // scale * scale
    return leak, scale, burst, full, -(-full // leak), ceiling, -(-ceiling // leak)


def fraction_below(numerator: int, denominator: int, largest: int) -> tuple[int, int]:
    """Return the greatest fraction that is not above the given one and has a denominator of at most ``largest``.

    Descends the Stern-Brocot tree, and takes all steps in one direction at once; ``upper`` stays above the target.
    """
    lower, upper = (0, 1), (1, 0)
    while True:
        below = numerator * lower[1] - denominator * lower[0]
        above = denominator * upper[0] - numerator * upper[1]
        steps = below // above
        if upper[1]:
            steps = min(steps, (largest - lower[1]) // upper[1])
        lower = lower[0] + steps * upper[0], lower[1] + steps * upper[1]
        below -= steps * above
        if below == 0:
            return lower
        steps = min((above - 1) // below, (largest - upper[1]) // lower[1])
        if steps == 0:
            return lower
        upper = upper[0] + steps * lower[0], upper[1] + steps * lower[1]


def deviation(rate: Rate) -> float:
    """Return the relative error of the enforced rate below the configured one: 0.0 if exact, else less than 1e-6."""
    if rate.quota == 0:
        return 0.0
    leak, scale = rate.numbers[:2]
    return float(1 - Fraction(leak * rate.window, scale * rate.quota))


def rescaled(debt: int, old_scale: int, scale: int, most: int) -> int:
    """Convert a debt to another scale, rounded up to whole requests and limited to ``most`` of that scale."""
    return min(-(-debt // old_scale), most // scale) * scale


def drained(state: Debt, rate: Rate, now: int, flags: int) -> tuple[int, int]:
    """Return the remaining debt, and the µs by which the state is ahead of ``now``; meanwhile nothing drains.

    Debt past the limit exists for post-paid charges only: others take a counter for full at most, so that a limit that
    was lowered leaves no caller in debt.
    """
    numbers = rate.numbers
    leak, scale = numbers[0], numbers[1]
    most, drain = (numbers[3], numbers[4]) if flags < POST_PAID else (numbers[5], numbers[6])
    debt, last, old_scale = state
    if old_scale != scale:
        debt = rescaled(debt, old_scale, scale, most)
    debt = debt if debt < most else most  # noqa: FURB136 -- min() costs 60 ns more
    elapsed = now - last
    if elapsed < 0:
        return debt, -elapsed
    if elapsed >= drain:
        return 0, 0
    debt -= elapsed * leak
    return (debt, 0) if debt > 0 else (0, 0)


def wait(debt: int, need: int, leak: int, scale: int, burst: int, behind: int) -> int:
    """Return the µs until ``need`` fits; 0 if it fits now, ``NEVER`` if it never does."""
    if need > burst:
        return NEVER
    over = debt - (burst - need) * scale
    return behind - (-over // leak) if over > 0 else 0


def step(state: Debt | None, rate: Rate, cost: int, now: int, flags: int) -> tuple[Debt | None, Decision]:
    """Decide one charge. A peek or a denial returns the state unchanged, or moved to ``now`` (see ``SMALL_STEP``)."""
    numbers = rate.numbers
    leak, scale, burst, full = numbers[0], numbers[1], numbers[2], numbers[3]
    debt, behind = drained(state, rate, now, flags) if state else (0, 0)
    if behind and behind > SMALL_STEP:
        state, behind = (debt, now, scale), 0
    before = -(-debt // scale)
    retry = 0
    need = cost if cost or flags < POST_PAID else 1
    if flags >= SETTLES and cost >= 0:
        if cost:
            debt += min(cost, (numbers[5] - debt) // scale) * scale
            state = debt, now + behind, scale
            retry = wait(debt, 1, leak, scale, burst, behind) if before + cost > burst else 0
    elif need > 0:
        retry = wait(debt, need, leak, scale, burst, behind)
        if retry == 0 and cost:
            debt += cost * scale
            state = debt, now + behind, scale
    elif cost < 0:
        debt -= min(-cost, numbers[5] // scale) * scale
        state = debt, now + behind, scale
    if debt <= 0:
        return None, Decision(retry == 0, burst, 0, retry, before)
    left = (full - debt) // scale if debt < full else 0
    return state, Decision(retry == 0, left, behind - (-debt // leak), retry, before)
