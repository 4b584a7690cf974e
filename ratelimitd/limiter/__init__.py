"""The engine: from a request to charges, and from their outcomes to an answer.

The path of a request, as in ``engine.py``::

    Engine.ask      request -> Plan, made by Planner (plan, rules, keys) -> Ask
    Engine.decide   guards' before (guards, new_keys) -> Store.charge (seam) -> guards' after
                    tally (stats) -> Answer (answer) -> the edge that called
"""

from .answer import NO_LIMIT, UNLIMITED, Answer, DescriptorStatus, is_vetoed, metadata_of, over_of
from .engine import Counts, Engine, Listener, NoPolicyError
from .give_backs import NoGiveBacks
from .guards import Fallback, OverLimitCache, shared, wanted
from .header_text import structured_string
from .holding import release_all, ttl_of
from .keys import KeyMaker, holds_key, is_overflow_key, key_maker
from .lines import Line, Lines, Waiter, blocking, can_wait, is_too_late, pause
from .listeners import listen, unlisten
from .modes import ENFORCED, Modes
from .new_keys import TABLE_SIZE, NewKeys
from .plan import Planner, PlanOptions, repeats
from .post_paid import IN_DOUBT, KEPT_BYTES, PostPaid
from .reason import (
    INTERNAL_ERROR,
    NO_POLICY,
    Reason,
    ReasonKind,
    denied_by,
    descriptor_reason,
    limit_name,
    reason_of,
    shown_charge,
)
from .renewals import Renewals
from .roles import in_order, is_independent
from .rules import NodeRules, Rule
from .seam import (
    Ask,
    Charge,
    Done,
    Failure,
    FailureKind,
    Guard,
    Item,
    LimitRequest,
    Outcome,
    Plan,
    Remembered,
    Store,
    Watcher,
)
from .selection import Selection, selects
from .stats import ALWAYS, GONE_SERIES, NAME_BYTES, TALLY_BYTES, LaterTally, Tallies, Tally
from .switches import Switch

__all__ = [
    "ALWAYS",
    "ENFORCED",
    "GONE_SERIES",
    "INTERNAL_ERROR",
    "IN_DOUBT",
    "KEPT_BYTES",
    "NAME_BYTES",
    "NO_LIMIT",
    "NO_POLICY",
    "TABLE_SIZE",
    "TALLY_BYTES",
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
    "LaterTally",
    "LimitRequest",
    "Line",
    "Lines",
    "Listener",
    "Modes",
    "NewKeys",
    "NoGiveBacks",
    "NoPolicyError",
    "NodeRules",
    "Outcome",
    "OverLimitCache",
    "Plan",
    "PlanOptions",
    "Planner",
    "PostPaid",
    "Reason",
    "ReasonKind",
    "Remembered",
    "Renewals",
    "Rule",
    "Selection",
    "Store",
    "Switch",
    "Tallies",
    "Tally",
    "Waiter",
    "Watcher",
    "blocking",
    "can_wait",
    "denied_by",
    "descriptor_reason",
    "holds_key",
    "in_order",
    "is_independent",
    "is_overflow_key",
    "is_too_late",
    "is_vetoed",
    "key_maker",
    "limit_name",
    "listen",
    "metadata_of",
    "over_of",
    "pause",
    "reason_of",
    "release_all",
    "repeats",
    "selects",
    "shared",
    "shown_charge",
    "structured_string",
    "ttl_of",
    "unlisten",
    "wanted",
]
