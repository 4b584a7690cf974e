"""Token bucket, GCRA and leaky bucket: one debt that drains at the rate of the quota.

The three names describe one machine seen from different sides (GCRA: ITU-T I.371), so they share one
implementation. Debt is counted in 1/scale of a request and drains ``leak`` of those each µs, with
leak/scale = quota/window, so a fast rate loses nothing to whole microseconds.
"""

from fractions import Fraction
from math import gcd

from .rate import EXACT, NEVER, SMALL_STEP, Decision, Rate

Debt = tuple[int, int, int]
"""What is owed in 1/scale of a request, when (µs) it was, and that scale."""


def numbers(quota: int, window: int, burst: int) -> tuple[int, ...]:
    """Return (leak, scale, burst, full, drain): ``full`` is the largest debt, ``drain`` the µs that empty it.

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
    """Return the greatest fraction not above the given one whose denominator is at most ``largest``.

    Walks the Stern-Brocot tree, all steps in one direction at once; ``upper`` stays above the target.
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
    """Return by how much of itself the enforced rate is below the written one: 0.0 when exact, else under 1e-6."""
    if rate.quota == 0:
        return 0.0
    leak, scale = rate.numbers[:2]
    return float(1 - Fraction(leak * rate.window, scale * rate.quota))


def rescaled(debt: int, written: int, scale: int, burst: int) -> int:
    """Return a debt of another scale in this one, up to a request more: a part of a request counts as a whole one."""
    return min(-(-debt // written), burst) * scale


def drained(state: Debt, rate: Rate, now: int) -> tuple[int, int]:
    """Return what is still owed, and the µs by which ``now`` is behind the state; until then nothing drains."""
    leak, scale, burst, full, drain = rate.numbers
    debt, last, written = state
    if written != scale:
        debt = rescaled(debt, written, scale, burst)
    debt = debt if debt < full else full  # noqa: FURB136 -- min() costs 60 ns more
    elapsed = now - last
    if elapsed < 0:
        return debt, -elapsed
    if elapsed >= drain:
        return 0, 0
    debt -= elapsed * leak
    return (debt, 0) if debt > 0 else (0, 0)


def step(state: Debt | None, rate: Rate, cost: int, now: int) -> tuple[Debt | None, Decision]:
    """Decide one charge. A peek and a denial return the state as it was, or what is owed as owed from now on."""
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
