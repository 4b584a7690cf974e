"""Token bucket, GCRA and leaky bucket: a debt that drains at the rate quota/window.

The three names describe the same algorithm from different viewpoints (GCRA: ITU-T I.371), so they share one
implementation. The unit of debt is 1/scale of a request, and ``leak`` units drain per µs, with
leak/scale = quota/window. So a high rate loses no precision to whole microseconds.
"""

from fractions import Fraction
from math import gcd

from .rate import EXACT, NEVER, SMALL_STEP, Decision, Rate

Debt = tuple[int, int, int]
"""The debt in units of 1/scale of a request, the time (µs) at which it was that, and the scale."""


def numbers(quota: int, window: int, burst: int) -> tuple[int, ...]:
    """Return (leak, scale, burst, full, drain): ``full`` is the maximum debt, ``drain`` the µs in which it drains.

    leak/scale is quota/window, or the nearest fraction below it that keeps ``full`` under ``EXACT``.
    """
    if quota == 0:
        return 1, 1, 0, 0, 0
    shared = gcd(quota, window)
    leak, scale = quota // shared, window // shared
    largest = (EXACT - 1) // burst
    if scale > largest:
        leak, scale = fraction_below(leak, scale, largest)
    full = burst * scale
    return leak, scale, burst, full, -(-full // leak)


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


def rescaled(debt: int, old_scale: int, scale: int, burst: int) -> int:
    """Convert a debt to another scale, rounded up to whole requests and limited to the burst."""
    return min(-(-debt // old_scale), burst) * scale


def drained(state: Debt, rate: Rate, now: int) -> tuple[int, int]:
    """Return the remaining debt, and the µs by which the state is ahead of ``now``; meanwhile nothing drains."""
    leak, scale, burst, full, drain = rate.numbers
    debt, last, old_scale = state
    if old_scale != scale:
        debt = rescaled(debt, old_scale, scale, burst)
    debt = debt if debt < full else full  # noqa: FURB136 -- min() costs 60 ns more
    elapsed = now - last
    if elapsed < 0:
        return debt, -elapsed
    if elapsed >= drain:
        return 0, 0
    debt -= elapsed * leak
    return (debt, 0) if debt > 0 else (0, 0)


def step(state: Debt | None, rate: Rate, cost: int, now: int) -> tuple[Debt | None, Decision]:
    """Decide one charge. A peek or a denial returns the state unchanged, or moved to ``now`` (see ``SMALL_STEP``)."""
    leak, scale, burst, full, _ = rate.numbers
    debt, behind = drained(state, rate, now) if state else (0, 0)
    if behind and behind > SMALL_STEP:
        state, behind = (debt, now, scale), 0
    before = -(-debt // scale)
    retry = 0
    if cost > burst:
        retry = NEVER
    elif cost > 0:
        over = debt - (burst - cost) * scale
        if over > 0:
            retry = behind - (-over // leak)
        else:
            debt += cost * scale
            state = debt, now + behind, scale
    elif cost < 0:
        debt -= min(-cost, burst) * scale
        state = debt, now + behind, scale
    if debt <= 0:
        return None, Decision(retry == 0, burst, 0, retry, before)
    return state, Decision(retry == 0, (full - debt) // scale, behind - (-debt // leak), retry, before)
