"""The engine: from a request to charges, and from their outcomes to an answer.

The path of a request, as in ``engine.py``::

    Engine.ask      key -> Plan: from the plan cache, or made by Planner (plan, keys) -> Ask
    Engine.decide   guards' before (guards, new_keys) -> Store.charge (seam) -> guards' after
                    tally (stats) -> Answer (answer) -> the edge that called
"""

from .answer import NO_LIMIT, UNLIMITED, Answer, DescriptorStatus, metadata_of
from .engine import Counts, Engine, NoPolicyError
from .guards import Fallback, OverLimitCache
from .keys import KeyMaker, key_maker
from .modes import ENFORCED, Modes
from .new_keys import NewKeys
from .plan import Planner, PlanOptions, charged_limit
from .seam import Ask, Charge, Done, Failure, FailureKind, Guard, Item, LimitRequest, Outcome, Plan, Store
from .stats import Tallies, Tally

__all__ = [
    "ENFORCED",
    "NO_LIMIT",
    "UNLIMITED",
    "Answer",
    "Ask",
    "Charge",
    "Counts",
    "DescriptorStatus",
    "Done",
    "Engine",
    "Failure",
    "FailureKind",
    "Fallback",
    "Guard",
    "Item",
    "KeyMaker",
    "LimitRequest",
    "Modes",
    "NewKeys",
    "NoPolicyError",
    "Outcome",
    "OverLimitCache",
    "Plan",
    "PlanOptions",
    "Planner",
    "Store",
    "Tallies",
    "Tally",
    "charged_limit",
    "key_maker",
    "metadata_of",
]
