"""Answers that are paid for afterwards: their callers, and what becomes of a budget under different designs."""

from .design import AS_CONFIGURED, CALLERS, DOMAIN, Design, design, policy_of, rows_of
from .distribution import Distribution, distribution
from .load import Load
from .report import as_json, show
from .run import AnswersRun, Budget, run

__all__ = [
    "AS_CONFIGURED",
    "CALLERS",
    "DOMAIN",
    "AnswersRun",
    "Budget",
    "Design",
    "Distribution",
    "Load",
    "as_json",
    "design",
    "distribution",
    "policy_of",
    "rows_of",
    "run",
    "show",
]
