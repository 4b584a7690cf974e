"""What a node of the policy comes to, for every request that ends there; made once, by the first such request."""

from collections.abc import Mapping

from ratelimitd.policy import Entry, Limit, is_override, place_of

from .keys import KeyHead
from .stats import Tally


class Rule:
    """A limit of a node, and all that a charge of it needs and no request changes.

    Attributes:
        limit: the limit.
        binding: False for shadow and quota limits, which never veto the others of an atomic ask.
        tally: counters of its metrics.
        near: count from which the limit is near.
        rate: rate of the limit; None for an unlimited one.
        capacity: hits that the rate admits at once; 0 for an unlimited limit.
        head: head of its counters' names; None for an unlimited one, which has no counter.
        encoded: the limit as a part of a response; the first response writes it.
    """

    __slots__ = ("binding", "capacity", "encoded", "head", "limit", "near", "rate", "tally")

    def __init__(
        self, limit: Limit, binding: bool = True, tally: Tally | None = None, near: int = 0, head: KeyHead | None = None
    ) -> None:
        self.limit = limit
        self.binding = binding
        self.tally = Tally((), "") if tally is None else tally
        self.near = near
        self.rate = limit.rate
        self.capacity = 0 if limit.rate is None else limit.rate.burst
        self.head = head
        self.encoded = b""


class NodeRules:
    """The rules of a node.

    Attributes:
        rules: one for each limit, in the order of the file.
        replaces: names of limits that do not apply to a request with this node.
        pins: entries of the node in place of the request's, see ``Match.pins``.
        metadata: ``metadata`` of the node.
        path: path of the node, see ``Match.path``.
    """

    __slots__ = ("metadata", "path", "pins", "replaces", "rules")

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

    @property
    def overridden(self) -> bool:
        """Whether the limit is one that the request carries."""
        return is_override(self.path)

    @property
    def place(self) -> bytes:
        """The path by which bounds are kept."""
        return place_of(self.path)
