"""Rate-limit algorithms: pure integer arithmetic, each implemented once in Python and once in Lua."""

from .rate import EXACT, NEVER, SECOND, Decision, Rate, RateError
from .table import ALGORITHMS, Algorithm, Step, counter_key, deviation, make_rate, window_start

__all__ = [
    "ALGORITHMS",
    "EXACT",
    "NEVER",
    "SECOND",
    "Algorithm",
    "Decision",
    "Rate",
    "RateError",
    "Step",
    "counter_key",
    "deviation",
    "make_rate",
    "window_start",
]
