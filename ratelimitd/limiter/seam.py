"""The one seam: what planning hands to the stores, and what they hand back."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from ratelimitd.algorithms import Decision
from ratelimitd.config.values import UINT32_MAX
from ratelimitd.policy import Descriptor, Limit, Match

from .stats import Tally

COST_MAX: Final = UINT32_MAX
"""A larger cost is taken as this one: no limit holds more, so it is denied all the same, exactly."""


class Charge(NamedTuple):
    """A cost to be put on one limit's counter.

    Attributes:
        limit: has a rate (an unlimited limit makes no charge).
        key: names the counter. A fixed window's counter is this key with the start of its window.
        binding: False for shadow and quota limits, which never veto the others of an atomic ask.
    """

    limit: Limit
    key: bytes
    binding: bool


class Request(NamedTuple):
    """A decoded request; ``hits`` is the request's own ``hits_addend``, 0 when absent."""

    domain: bytes
    descriptors: tuple[Descriptor, ...]
    hits: int = 0


class Item(NamedTuple):
    """What one descriptor of a request came to.

    Attributes:
        first, last: its charges are ``plan.charges[first:last]``; none when no limit applies.
        unlimited: an ``unlimited`` limit applies.
        match: what it matched; None: nothing.
    """

    first: int
    last: int
    unlimited: bool
    match: Match | None


class Plan(NamedTuple):
    """A request, planned: frozen, time-free and shared by equal requests. A store looks at the charges alone.

    Attributes:
        charges: in the order of the request's descriptors, and of the file within one descriptor.
        costs: one for each charge.
        tallies: one for each charge.
        nears: for each charge, how much held is near its limit.
        request: as decoded.
        items: one for each descriptor.
        atomic: charge all binding limits or none.
        known_domain: whether the policy has the request's domain.
    """

    charges: tuple[Charge, ...]
    costs: tuple[int, ...] = ()
    tallies: tuple[Tally, ...] = ()
    nears: tuple[int, ...] = ()
    request: Request = Request(b"", ())
    items: tuple[Item, ...] = ()
    atomic: bool = False
    known_domain: bool = True


class FailureKind(StrEnum):
    """Why a counter could not be reached; each is counted by this name."""

    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"
    OPEN = "breaker_open"
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    KEY = "key"
    OUT_OF_MEMORY = "out_of_memory"
    OVERLOADED = "overloaded"


class Failure(NamedTuple):
    """A charge without a decision. It may or may not have been applied, but never twice."""

    kind: FailureKind
    message: str


Outcome = Decision | Failure | None
"""None: still open."""


class Ask:
    """One request on its way through guards and store; lives for one batch.

    Attributes:
        plan: shared and frozen.
        atomic: charge all, or nothing when a binding charge is denied.
        costs: one for each charge, -COST_MAX to COST_MAX; 0 peeks, below 0 gives back. A guard may rewrite them.
        outcomes: one for each charge, aligned with ``plan.charges``.
        deadline: the store's budget ends at this monotonic time, µs.
        tag: the caller's own, untouched on the way.
    """

    __slots__ = ("atomic", "costs", "deadline", "outcomes", "plan", "tag")

    def __init__(
        self, plan: Plan, costs: list[int], *, atomic: bool = False, deadline: int = 0, tag: Any = None
    ) -> None:
        self.plan = plan
        self.atomic = atomic
        self.costs = costs
        self.outcomes: list[Outcome] = [None] * len(costs)
        self.deadline = deadline
        self.tag = tag


Done = Callable[[Sequence[Ask]], None]


class Store(Protocol):
    """Where counts live."""

    def charge(self, asks: Sequence[Ask], now: int, done: Done) -> None:
        """Fill every open outcome, then hand each ask to ``done`` exactly once, in groups as they complete.

        ``now`` is wall-clock µs. An outcome that is not None was settled by a guard and is left alone; in an
        atomic ask, a settled denial of a binding charge vetoes the others. Never raises; a store that cannot
        decide fills in a ``Failure``. ``done`` may be called before this returns.
        """


class Guard(Protocol):
    """Stands between planning and the store; synchronous, without I/O."""

    def before(self, asks: Sequence[Ask], now: int) -> None:
        """Settle some outcomes or rewrite costs."""

    def after(self, asks: Sequence[Ask], now: int) -> None:
        """Learn from the outcomes, or replace a Failure."""
