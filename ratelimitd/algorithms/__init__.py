"""Rate-limit algorithms: pure integer arithmetic, each implemented once in Python and once in Lua."""

from .fixed_window import SATURATED
from .rate import EXACT, NEVER, SECOND, Decision, Rate, RateError
from .sliding_window import Log
from .table import (
    ALGORITHMS,
    KEYED_BY_WINDOW,
    STEPS,
    WINDOW_MAX,
    Algorithm,
    Step,
    counter_key,
    deviation,
    make_rate,
    wait_for_never,
    window_start,
)

__all__ = [
    "ALGORITHMS",
    "EXACT",
    "KEYED_BY_WINDOW",
    "NEVER",
    "SATURATED",
    "SECOND",
    "STEPS",
    "WINDOW_MAX",
    "Algorithm",
    "Decision",
    "Log",
    "Rate",
    "RateError",
    "Step",
    "counter_key",
    "deviation",
    "make_rate",
    "wait_for_never",
    "window_start",
]
