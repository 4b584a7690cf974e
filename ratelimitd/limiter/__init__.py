"""The ENGINE: from a request to charges, and from their outcomes to an answer."""

from .answer import NO_LIMIT, UNLIMITED, Answer, AnswerOptions, Status, answer, metadata_of, tally
from .engine import Engine
from .guards import Fallback, OverLimitCache
from .keys import KeyMaker, key_maker
from .new_keys import NewKeys
from .plan import Planner, PlanOptions, cost_of
from .seam import COST_MAX, Ask, Charge, Done, Failure, FailureKind, Guard, Item, Outcome, Plan, Request, Store, decide
from .stats import Tallies, Tally, count, near_limit

__all__ = [
    "COST_MAX",
    "NO_LIMIT",
    "UNLIMITED",
    "Answer",
    "AnswerOptions",
    "Ask",
    "Charge",
    "Done",
    "Engine",
    "Failure",
    "FailureKind",
    "Fallback",
    "Guard",
    "Item",
    "KeyMaker",
    "NewKeys",
    "Outcome",
    "OverLimitCache",
    "Plan",
    "PlanOptions",
    "Planner",
    "Request",
    "Status",
    "Store",
    "Tallies",
    "Tally",
    "answer",
    "cost_of",
    "count",
    "decide",
    "key_maker",
    "metadata_of",
    "near_limit",
    "tally",
]
