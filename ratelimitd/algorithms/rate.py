"""The input and output types of every algorithm: the Rate to enforce and the Decision on a charge.

All times are whole microseconds, all counts whole requests. No code here reads a clock.
"""

from typing import Final, NamedTuple

from ratelimitd.value import Value

SECOND: Final = 1_000_000
"""One second in µs."""

NEVER: Final = -1
"""``retry_after`` of a cost that can never pass, because it exceeds the limit itself."""

EXACT: Final = 1 << 53
"""Lua numbers are doubles, which are exact for integers below this value; no intermediate result may reach it."""

SMALL_STEP: Final = SECOND
"""Maximum µs by which a state may be ahead of the clock and stay as it is.

A leap second is this long. A clock under NTP steps by less (ntpd steps from 128 ms on, and slews below). A state that
is further ahead dates from before a step back of the clock: it is moved to the current time.
"""


BINDING: Final = 1
"""Flag of a charge: its denial denies the request, and vetoes the other charges of an atomic ask."""

POST_PAID: Final = 2
"""Flag of a charge: the limit's costs come after the request. A cost of 0 asks for 1, and debt past the limit stays."""

SETTLES: Final = 4
"""Flag of a charge, with POST_PAID and without BINDING: the cost has been spent, so it is recorded whatever is left. A
cost of 0 is a release, which passes. So flags from POST_PAID on are post-paid, and those from SETTLES on settle."""

LOOK: Final = POST_PAID | SETTLES
"""Flags of a look at a post-paid counter: a release, which takes nothing and passes."""

ROOM: Final = 1 << 33
"""Hits past which no state counts, but a fixed window: with 2**20 parts of a hit or of a window, that is ``EXACT``."""


CONCURRENT: Final = "concurrent"
"""``Rate.algorithm`` of a limit on requests in progress: holds without a counter. No policy can write it."""


class RateError(ValueError):
    """A rate that cannot be enforced; the message says what to write instead."""


class Rate(NamedTuple):
    """A rate to enforce. ``make_rate`` creates one: it validates the values and computes ``numbers``.

    Attributes:
        algorithm: a key of ``ALGORITHMS``, or CONCURRENT.
        quota: requests per window, 0 to 2**32 - 1.
        window: length of the window in µs.
        burst: requests admitted at once from idle; equals the quota unless the algorithm is a meter.
        count_rejected: fixed_window only: whether rejected requests count, as they do upstream.
        numbers: integer parameters of the algorithm, computed once from the other attributes; the Lua fragment
            receives the same numbers.
    """

    algorithm: str
    quota: int
    window: int
    burst: int
    count_rejected: bool
    numbers: tuple[int, ...]


class Decision(Value):
    """The decision on one charge.

    Attributes:
        allowed: whether the cost passed. A cost of 0 passes unless usage is already above the limit (a peek), or if 1
            could pass (a question, POST_PAID); a negative cost (a give-back) always passes. A settlement is recorded
            in any case: whether usage is within the limit then.
        remaining: requests that could pass right after this decision.
        reset_after: µs until the limit is idle again; from then on its state has no effect.
        retry_after: µs until the same cost could pass, of a settlement a cost of 1; 0 if allowed, ``NEVER`` if it never
            can.
        before: requests counted against the limit just before this charge.
    """

    __match_args__ = ("allowed", "remaining", "reset_after", "retry_after", "before")
    __slots__ = __match_args__

    def __init__(self, allowed: bool, remaining: int, reset_after: int, retry_after: int, before: int) -> None:
        self.allowed = allowed
        self.remaining = remaining
        self.reset_after = reset_after
        self.retry_after = retry_after
        self.before = before


def look(flags: int) -> int:
    """Return the flags of a look, at a cost of 0, at the state that a charge with these flags finds."""
    return LOOK if flags >= POST_PAID else 0
