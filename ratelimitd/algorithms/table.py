"""The table of algorithms, and the functions that look up in it."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from ratelimitd.config.values import UINT32_MAX

from . import fixed_window, meter, sliding_window, sliding_window_counter
from .rate import CONCURRENT, SECOND, Decision, Rate, RateError

Step = Callable[[Any, Rate, int, int, int], tuple[Any, Decision]]
"""``step(state, rate, cost, now, flags) -> (state, decision)``: a pure function. None is the initial state.

A state has no effect once ``reset_after`` has passed. A store may then drop it without changing any decision.
"""

QUOTA_MAX: Final = UINT32_MAX
"""``requests_per_unit`` is a uint32 in envoy/extensions/common/ratelimit/v3/ratelimit.proto."""

WINDOW_MAX: Final = 1 << 51
"""71 years in µs: twice this, added to the time of day, is an exact double until the year 2112."""


class Algorithm(NamedTuple):
    """A row of ``ALGORITHMS``.

    Attributes:
        family: window, log or meter; only a meter has a burst.
        step: the implementation in Python.
        numbers: maps (quota, window, burst, count_rejected) to the parameters of ``step`` and of the Lua fragment.
        lua: name of the fragment, ``lua/<name>.lua``.
        keyed_by_window: whether each window has its own counter, named after its start.
    """

    family: Literal["window", "log", "meter"]
    step: Step
    numbers: Callable[[int, int, int, bool], tuple[int, ...]]
    lua: str
    keyed_by_window: bool = False


METER: Final = Algorithm("meter", meter.step, lambda q, w, b, _c: meter.numbers(q, w, b), "meter")

ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    "fixed_window": Algorithm(
        "window",
        fixed_window.step,
        lambda q, w, _b, c: fixed_window.numbers(q, w, count_rejected=c),
        "fixed_window",
        keyed_by_window=True,
    ),
    "sliding_window_counter": Algorithm(
        "window",
        sliding_window_counter.step,
        lambda q, w, _b, _c: sliding_window_counter.numbers(q, w),
        "sliding_window_counter",
    ),
    "sliding_window": Algorithm(
        "log", sliding_window.step, lambda q, w, _b, _c: sliding_window.numbers(q, w), "sliding_window"
    ),
    "token_bucket": METER,
    "gcra": METER,
    "leaky_bucket": METER,
}


def take_step(state: Any, rate: Rate, cost: int, now: int, flags: int) -> tuple[Any, Decision]:
    """Take the step of a rate's algorithm, as its row in ``ALGORITHMS`` has it.

    Not through the table: a compiled function called by its name takes numbers as they are, a value has each boxed.
    """
    algorithm = rate.algorithm
    if algorithm == "fixed_window":
        return fixed_window.step(state, rate, cost, now, flags)
    if algorithm == "sliding_window_counter":
        return sliding_window_counter.step(state, rate, cost, now, flags)
    if algorithm == "sliding_window":
        return sliding_window.step(state, rate, cost, now, flags)
    return meter.step(state, rate, cost, now, flags)


KEYED_BY_WINDOW: Final = frozenset(name for name, row in ALGORITHMS.items() if row.keyed_by_window)


def make_rate(
    algorithm: str,
    quota: int,
    window: int,
    burst: int | None = None,
    count_rejected: bool = True,
) -> Rate:
    """Return a validated Rate of ``quota`` requests per ``window`` µs.

    ``burst`` (default: the quota) applies to meters, ``count_rejected=False`` to fixed_window. A quota of 0 denies
    everything. Raises RateError with a message that says what to write instead.
    """
    if algorithm not in ALGORITHMS:
        raise RateError(f"unknown algorithm '{algorithm}': write one of {', '.join(ALGORITHMS)}")
    row = ALGORITHMS[algorithm]
    check_size(quota, window)
    check_fit(algorithm, row, quota, window, count_rejected=count_rejected)
    if burst is not None:
        check_burst(algorithm, row, quota, window, burst)
    burst = quota if burst is None else burst
    return Rate(algorithm, quota, window, burst, count_rejected, row.numbers(quota, window, burst, count_rejected))


def check_size(quota: int, window: int) -> None:
    """Raise RateError if quota or window is out of range."""
    if not 0 <= quota <= QUOTA_MAX:
        raise RateError(f"a limit of {quota} requests is out of range: write 0 to {QUOTA_MAX}")
    if not 0 < window <= WINDOW_MAX:
        raise RateError(f"a window of {window / SECOND:g} seconds is out of range: write one above 0, up to 71 years")


def check_fit(algorithm: str, row: Algorithm, quota: int, window: int, *, count_rejected: bool) -> None:
    """Raise RateError if the algorithm does not support this quota, window or ``count_rejected``."""
    if not count_rejected and not row.keyed_by_window:
        raise RateError(
            f"count_rejected: false is for fixed_window; {algorithm} never counts rejected requests: leave it out"
        )
    if row.keyed_by_window and window % SECOND:
        raise RateError(
            f"{algorithm} needs a window of whole seconds, not {window / SECOND:g}: write token_bucket for others"
        )
    if row.family == "log" and quota > sliding_window.QUOTA_MAX:
        raise RateError(
            f"sliding_window keeps every charge, so its limit is at most {sliding_window.QUOTA_MAX}, not {quota}: "
            "write sliding_window_counter"
        )


def check_burst(algorithm: str, row: Algorithm, quota: int, window: int, burst: int) -> None:
    """Raise RateError if the burst is not possible with this algorithm and rate."""
    if row.family != "meter":
        raise RateError(f"burst is for token_bucket, gcra and leaky_bucket: leave it out, or change {algorithm} to one")
    if quota == 0:
        if burst == 0:
            return
        raise RateError(f"a limit of 0 requests never refills a burst of {burst}: leave burst out")
    if not 1 <= burst <= QUOTA_MAX:
        raise RateError(f"a burst of {burst} is out of range: write 1 to {QUOTA_MAX}; a limit of 0 denies everything")
    if burst * window > WINDOW_MAX * quota:
        raise RateError(
            f"a burst of {burst} takes over 71 years to refill at this rate: "
            f"write at most {WINDOW_MAX * quota // window}"
        )


def is_meter(rate: Rate) -> bool:
    """Whether the rate is one of a bucket, which refills all the time."""
    row = ALGORITHMS.get(rate.algorithm)
    return row is not None and row.family == "meter"


def deviation(rate: Rate) -> float:
    """Return the relative error of the enforced rate below the configured one: 0.0 if exact, else less than 1e-6."""
    return meter.deviation(rate) if is_meter(rate) else 0.0


def ceiling_of(rate: Rate) -> int:
    """Return the usage, in hits, that settlements may leave at most; of places, those that there are."""
    if rate.algorithm == CONCURRENT:
        return rate.burst
    family = ALGORITHMS[rate.algorithm].family
    if family == "meter":
        _, scale, _, _, _, ceiling, _ = rate.numbers
        return ceiling // scale
    return fixed_window.SATURATED if rate.algorithm in KEYED_BY_WINDOW else rate.numbers[-1]


def window_start(rate: Rate, now: int) -> int:
    """Return the start (µs) of the window that contains ``now``; windows are aligned to the epoch."""
    return now - now % rate.window


def wait_for_never(rate: Rate, reset_after: int) -> int:
    """Return the µs that a caller is told to wait whose cost can never pass: the rest of a fixed window, else a window.

    The time until the counter is at rest would be 0 for an idle bucket, and the caller would retry each second.
    """
    return reset_after if rate.algorithm in KEYED_BY_WINDOW else rate.window


def counter_key(key: bytes, rate: Rate, now: int) -> bytes:
    """Return the name of the counter of ``key`` at ``now``.

    If each window has its own counter, the name is the key, which ends with ``_``, and the start of the window in
    whole seconds, as in envoyproxy/ratelimit: ``domain_key_value_1234``. Otherwise it is the key itself.
    """
    if rate.algorithm in KEYED_BY_WINDOW:
        return key + str(window_start(rate, now) // SECOND).encode()
    return key
