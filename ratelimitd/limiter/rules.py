"""What a node of the policy comes to, for every request that ends there; made once, by the first such request."""

from collections.abc import Mapping

from ratelimitd.algorithms import BINDING, KEYED_BY_WINDOW, POST_PAID, Estimate, amount_of_limit, ceiling_of
from ratelimitd.policy import Charging, Entry, Limit, is_override, place_of

from .keys import KeyHead
from .stats import Tally
from .switches import Switch


class Rule:
    """A limit of a node, and all that a charge of it needs and no request changes.

    Attributes:
        limit: the limit.
        flags: those of a charge whose descriptor has no hits: BINDING, unless for a shadow or quota limit, which never
            vetoes the others of an atomic ask; POST_PAID with ``charge: after``.
        upstreams: whether the limit decides as envoyproxy/ratelimit does, which adds every cost to its count.
        auto: whether requests tell what their hits mean, since ``charge`` does not.
        roles: whether hits can have another meaning than a cost that is asked for: ``auto``, or POST_PAID.
        switch: what requests have told about an ``auto`` limit; None if none has asked it with 0.
        holds: whether requests hold a part of the limit while they are in progress.
        estimate: what settlements have told about the amount of a hold; None if the policy says it.
        tally: counters of its metrics.
        near: count from which the limit is near.
        rate: rate of the limit; None for an unlimited one.
        capacity: hits that the rate admits at once; 0 for an unlimited limit.
        head: head of its counters' names; None for an unlimited one, which has no counter.
        ceiling: hits that settlements may leave at most; 0 for an unlimited limit.
        encoded: the limit as a part of a response; the first response writes it.
    """

    __slots__ = (
        "auto",
        "capacity",
        "ceiling",
        "encoded",
        "estimate",
        "flags",
        "head",
        "holds",
        "limit",
        "near",
        "rate",
        "roles",
        "switch",
        "tally",
        "upstreams",
    )

    def __init__(
        self, limit: Limit, binding: bool = True, tally: Tally | None = None, near: int = 0, head: KeyHead | None = None
    ) -> None:
        after = limit.charge is Charging.AFTER
        self.limit = limit
        self.flags = (BINDING if binding else 0) | (POST_PAID if after else 0)
        unsaid = limit.charge is Charging.UNSAID
        self.upstreams = unsaid and _counts_all(limit)
        self.auto = unsaid and not self.upstreams
        self.roles = after or self.auto
        self.switch: Switch | None = None
        self.holds = limit.reserve is not None
        self.estimate: Estimate | None = None
        self.tally = Tally((), "") if tally is None else tally
        self.near = near
        self.rate = limit.rate
        self.capacity = 0 if limit.rate is None else limit.rate.burst
        self.ceiling = 0 if limit.rate is None else ceiling_of(limit.rate)
        self.head = head
        self.encoded = b""

    @property
    def binding(self) -> bool:
        """Whether a denial of the limit denies the request."""
        return self.flags & BINDING != 0

    def settled(self, before: int, cost: int, ours: bool) -> None:
        """Count a settlement that was recorded, and learn from it; ``before`` is the count just before it.

        ``ours``: it comes from a tool of ratelimitd, and tells nothing about answers.
        """
        if cost > 0:
            self.tally.later().settled(self.capacity, self.ceiling, before, cost)
            if self.estimate is not None and not ours:
                self.estimate.learn(cost)

    @property
    def amount(self) -> int:
        """Hits that a request holds from now on."""
        if self.rate is None or self.limit.reserve is None:
            return 0
        wanted = self.limit.reserve.amount if self.estimate is None else self.estimate.amount
        return amount_of_limit(wanted, self.rate.burst)


def _counts_all(limit: Limit) -> bool:
    """Whether every cost is added to the count, whatever is decided."""
    return limit.rate is None or (limit.rate.count_rejected and limit.rate.algorithm in KEYED_BY_WINDOW)


class NodeRules:
    """The rules of a node.

    Attributes:
        rules: one for each limit, in the order of the file.
        replaces: names of limits that do not apply to a request with this node.
        pins: entries of the node in place of the request's, see ``Match.pins``.
        metadata: ``metadata`` of the node.
        path: path of the node, see ``Match.path``.
        roles: whether one of the rules has roles.
        holds: whether one of the rules has holds.
        after: whether one of the limits has ``charge: after``.
        kept: whether the planner keeps them: no value of a request is part of them.
    """

    __slots__ = ("after", "holds", "kept", "metadata", "path", "pins", "replaces", "roles", "rules")

    def __init__(
        self,
        rules: tuple[Rule, ...],
        replaces: frozenset[str],
        pins: tuple[Entry | None, ...],
        metadata: Mapping[str, object] | None,
        path: bytes,
    ) -> None:
        self.rules = rules
        self.replaces = replaces
        self.pins = pins
        self.metadata = metadata
        self.path = path
        self.roles = True in [rule.roles for rule in rules]
        self.holds = True in [rule.holds for rule in rules]
        self.after = True in [rule.flags >= POST_PAID for rule in rules]
        self.kept = False

    @property
    def switched(self) -> bool:
        """Whether one of the limits has a switch, be it on or off."""
        for rule in self.rules:  # noqa: SIM110 -- any() makes a generator, for each request
            if rule.switch is not None:
                return True
        return False

    @property
    def overridden(self) -> bool:
        """Whether the limit is one that the request carries."""
        return is_override(self.path)

    @property
    def place(self) -> bytes:
        """The path by which bounds are kept."""
        return place_of(self.path)
