"""The interface between planning and stores: plans, asks, outcomes."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from ratelimitd.algorithms import BINDING, Decision, Hold
from ratelimitd.config.values import UINT32_MAX
from ratelimitd.policy import Descriptor, Entry, Limit
from ratelimitd.value import Value

from .rules import NodeRules, Rule

COST_MAX: Final = UINT32_MAX
"""A larger cost is reduced to this one: no limit can be larger, so the cost is denied anyway, exactly."""

TOGETHER_MAX: Final = 128
"""Charges that can be all or nothing: the size of a script call. A request with more is charged limit by limit."""


class Charge(Value):
    """A charge on the counter of one limit; its cost is in the plan.

    Attributes:
        rule: rule of a limit with a rate (an unlimited limit makes no charge).
        key: name of the counter. The counter of a fixed window is this key with the start of its window.
        flags: BINDING, POST_PAID, SETTLES, see ``roles``; those of its rule by default.
        hold: what it does with the holds of its counter; None if the limit has none.
    """

    __match_args__ = ("rule", "key", "flags", "hold")
    __slots__ = __match_args__

    def __init__(self, rule: Rule, key: bytes, flags: int = -1, hold: Hold | None = None) -> None:
        self.rule = rule
        self.key = key
        self.flags = rule.flags if flags < 0 else flags
        self.hold = hold

    @property
    def limit(self) -> Limit:
        """Limit of the rule."""
        return self.rule.limit

    @property
    def binding(self) -> bool:
        """False for shadow and quota limits, and for settlements: they never veto the others of an atomic ask."""
        return self.flags & BINDING != 0


class LimitRequest(Value):
    """A decoded request.

    Attributes:
        hits: the request's own ``hits_addend``, 0 when absent.
        ours: whether it comes from a tool of ratelimitd, so that its hits tell nothing about its limits.
        looks: whether no request is in progress, so that it takes no hold.
    """

    __match_args__ = ("domain", "descriptors", "hits", "ours", "looks")
    __slots__ = __match_args__

    def __init__(
        self,
        domain: bytes,
        descriptors: tuple[Descriptor, ...],
        hits: int = 0,
        ours: bool = False,
        looks: bool = False,
    ) -> None:
        self.domain = domain
        self.descriptors = descriptors
        self.hits = hits
        self.ours = ours
        self.looks = looks


NO_REQUEST: Final = LimitRequest(b"", ())


class Item(Value):
    """One descriptor of a plan.

    Attributes:
        first, last: its charges are ``plan.charges[first:last]``; empty if no limit applies.
        unlimited: whether an ``unlimited`` limit applies.
        found: rules of the node that the descriptor matches, or None.
        entries: entries that identify its counters.
    """

    __match_args__ = ("first", "last", "unlimited", "found", "entries")
    __slots__ = __match_args__

    def __init__(
        self, first: int, last: int, unlimited: bool, found: NodeRules | None, entries: tuple[Entry, ...] = ()
    ) -> None:
        self.first = first
        self.last = last
        self.unlimited = unlimited
        self.found = found
        self.entries = entries


class Plan(Value):
    """The plan of a request, independent of time. A store reads ``charges`` only.

    Attributes:
        charges: in the order of the request's descriptors, and of the file within one descriptor.
        costs: one per charge; those of its ask.
        request: decoded request.
        items: one per descriptor.
        atomic: whether to charge all binding limits or none.
        known_domain: whether the policy has the request's domain.
        mixed: whether it may have give-backs or settlements, which are not simply made in the order of the charges.
        call: id under which its holds are taken; empty if no limit of it has holds.
    """

    __match_args__ = ("charges", "costs", "request", "items", "atomic", "known_domain", "mixed", "call")
    __slots__ = __match_args__

    def __init__(
        self,
        charges: tuple[Charge, ...],
        costs: list[int] | None = None,
        request: LimitRequest = NO_REQUEST,
        items: tuple[Item, ...] = (),
        atomic: bool = False,
        known_domain: bool = True,
        mixed: bool = True,
        call: bytes = b"",
    ) -> None:
        self.charges = charges
        self.costs = [] if costs is None else costs
        self.request = request
        self.items = items
        self.atomic = atomic
        self.known_domain = known_domain
        self.mixed = mixed
        self.call = call


class Remembered(Decision):
    """A denial that a guard remembers, or an edge knows of, so that its charge has reached no counter."""

    __slots__ = ()


class FailureKind(StrEnum):
    """Why a charge failed; failures are counted by these names."""

    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"
    OPEN = "breaker_open"
    SLOW = "slow"
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    KEY = "key"
    OUT_OF_MEMORY = "out_of_memory"
    OVERLOADED = "overloaded"


class Failure(NamedTuple):
    """A charge without a decision. It was applied once or not at all, never twice.

    ``sent``: it may have been applied, since it was sent and no answer came.
    """

    kind: FailureKind
    message: str
    sent: bool = False


Outcome = Decision | Failure | None
"""None: still open."""

NO_FAILURES: Final[Mapping[int, Failure]] = MappingProxyType({})


class Ask:
    """One request on its way through guards and store; it exists for one batch.

    Attributes:
        plan: its plan; a guard may replace it.
        atomic: whether to charge all, or nothing if a binding charge is denied.
        costs: one per charge, -COST_MAX to COST_MAX; 0 peeks, a negative cost gives back. A guard may change them.
        outcomes: one per charge, aligned with ``plan.charges``.
        failures: failures of the store by index of the charge, also of those that a guard replaced by a decision. Of a
            release, before its store was asked: those of the charges that took the holds.
        waits: whether its edge may ask again in place of a denial, which then is not counted; see ``Engine.count``.
        deadline: end of the store budget, monotonic µs.
        tag: opaque value of the caller.
    """

    __slots__ = ("atomic", "costs", "deadline", "failures", "outcomes", "plan", "tag", "waits")

    def __init__(
        self, plan: Plan, costs: list[int], *, atomic: bool = False, deadline: int = 0, tag: Any = None
    ) -> None:
        self.plan = plan
        self.atomic = atomic
        self.costs = costs
        self.outcomes: list[Outcome] = [None] * len(costs)
        self.failures = NO_FAILURES
        self.waits = False
        self.deadline = deadline
        self.tag = tag


Done = Callable[[Sequence[Ask]], None]


class Store(Protocol):
    """A store of counters."""

    def charge(self, asks: Sequence[Ask], now: int, done: Done) -> None:
        """Set every open outcome, then pass each ask to ``done`` exactly once, in groups as they complete.

        ``now`` is wall-clock µs. An outcome that is not None was set by a guard and is not changed; in an atomic ask,
        such a denial of a binding charge vetoes the others. Never raises; a store that cannot decide sets a
        ``Failure``. ``done`` may be called before this returns.
        """


class Watcher(Protocol):
    """What sees a sample of the decisions, by the thresholds of a tally; synchronous, without I/O."""

    def hits(self, ask: Ask, index: int, now: int) -> None:
        """See a charge, with which ``total_hits`` of its tally reached ``hits_due``; set the next. ``now``: wall µs."""

    def denied(self, ask: Ask, index: int, now: int) -> None:
        """See a denied charge, with which ``over_limit`` reached ``denied_due``, or a question, which costs nothing."""

    def failed(self, error: Exception) -> None:
        """Learn of an error of the methods above, which the call does not get. Never raises."""


class Guard(Protocol):
    """A step between planning and the store; synchronous, without I/O."""

    def before(self, asks: Sequence[Ask], now: int) -> None:
        """Set outcomes, or change plan or costs, before the store is called."""

    def after(self, asks: Sequence[Ask], now: int) -> None:
        """Read the outcomes, or replace a Failure, after the store has decided."""
