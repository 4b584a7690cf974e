"""Rate-limit algorithms: pure integer arithmetic, each implemented once in Python and once in Lua."""

from .fixed_window import SATURATED
from .rate import BINDING, EXACT, LOOK, NEVER, POST_PAID, SECOND, SETTLES, Decision, Rate, RateError, look
from .sliding_window import Log
from .table import (
    ALGORITHMS,
    KEYED_BY_WINDOW,
    STEPS,
    WINDOW_MAX,
    Algorithm,
    Step,
    ceiling_of,
    counter_key,
    deviation,
    make_rate,
    wait_for_never,
    window_start,
)

__all__ = [
    "ALGORITHMS",
    "BINDING",
    "EXACT",
    "KEYED_BY_WINDOW",
    "LOOK",
    "NEVER",
    "POST_PAID",
    "SATURATED",
    "SECOND",
    "SETTLES",
    "STEPS",
    "WINDOW_MAX",
    "Algorithm",
    "Decision",
    "Log",
    "Rate",
    "RateError",
    "Step",
    "ceiling_of",
    "counter_key",
    "deviation",
    "look",
    "make_rate",
    "wait_for_never",
    "window_start",
]
