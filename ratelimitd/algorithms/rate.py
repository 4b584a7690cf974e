"""The two values every algorithm speaks: the Rate it enforces and the Decision it gives.

Time is whole microseconds throughout; counts are whole requests. Nothing here reads a clock.
"""

from typing import Final, NamedTuple

SECOND: Final = 1_000_000
"""µs."""

NEVER: Final = -1
"""``retry_after`` of a cost that can never pass: it is larger than the limit itself."""

EXACT: Final = 1 << 53
"""Lua numbers are doubles: whole numbers below this are exact, so no intermediate may reach it."""

SMALL_STEP: Final = SECOND
"""µs that a state may be ahead of the clock and be waited for; a leap second is this long, and a clock that NTP keeps
steps by less (ntpd from 128 ms on, and slews below). What is further ahead is of another timeline: it is moved to now.
"""


class RateError(ValueError):
    """A rate that cannot be enforced; the text says what to write instead."""


class Rate(NamedTuple):
    """How much may pass. Make one with ``make_rate``, which checks it and works out ``numbers``.

    Attributes:
        algorithm: a name of the table ``ALGORITHMS``.
        quota: requests for each window, 0 to 2**32 - 1.
        window: µs.
        burst: requests admitted at once from idle; the quota unless the algorithm is a meter.
        count_rejected: fixed_window only: whether a rejected request still counts, as it does upstream.
        numbers: whole numbers the algorithm works with, worked out once from the above; its Lua fragment
            receives the same ones.
    """

    algorithm: str
    quota: int
    window: int
    burst: int
    count_rejected: bool
    numbers: tuple[int, ...]


class Decision(NamedTuple):
    """What one charge came to.

    Attributes:
        allowed: whether the cost passed. A cost of 0 (a peek) passes unless the state is already past the
            limit; a negative cost (a give-back) always does.
        remaining: requests that could pass right after this decision.
        reset_after: µs until the limit is at rest again, so also until its state means nothing.
        retry_after: µs until the same cost could pass; 0 when it passed, ``NEVER`` when it never can.
        before: requests held against the limit just before this charge.
    """

    allowed: bool
    remaining: int
    reset_after: int
    retry_after: int
    before: int
