"""The ENGINE: from a request to charges, and from their outcomes to an answer.

The path of a request, which ``engine.py`` walks::

    Engine.ask      key -> Plan: remembered, or made by Planner (plan, keys) -> Ask
    Engine.decide   guards' before (guards, new_keys) -> Store.charge (seam) -> guards' after
                    tally (stats) -> Answer (answer) -> the edge that asked
"""

from .answer import NO_LIMIT, UNLIMITED, Answer, Status, metadata_of
from .engine import Counts, Engine, NoPolicyError
from .guards import Fallback, OverLimitCache
from .keys import KeyMaker, key_maker
from .modes import ENFORCED, Modes
from .new_keys import NewKeys
from .plan import Planner, PlanOptions
from .seam import Ask, Charge, Done, Failure, FailureKind, Guard, Item, Outcome, Plan, Request, Store
from .stats import Tallies, Tally

__all__ = [
    "ENFORCED",
    "NO_LIMIT",
    "UNLIMITED",
    "Answer",
    "Ask",
    "Charge",
    "Counts",
    "Done",
    "Engine",
    "Failure",
    "FailureKind",
    "Fallback",
    "Guard",
    "Item",
    "KeyMaker",
    "Modes",
    "NewKeys",
    "NoPolicyError",
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
    "key_maker",
    "metadata_of",
]
