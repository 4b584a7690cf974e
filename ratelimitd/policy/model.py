"""WHAT is limited: the values a policy file becomes. Nothing changes them once they are assembled.

Keys and values are bytes, because header bytes reach us through Envoy as they are, UTF-8 or not.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from ratelimitd.algorithms import Rate

from .wildcards import STAR, Wildcards

Entry = tuple[bytes, bytes]
"""One (key, value) of a descriptor."""


UPSTREAM_ALGORITHM: Final = "fixed_window"
"""The only one envoyproxy/ratelimit has."""


class Unit(IntEnum):
    """``RateLimitResponse.RateLimit.Unit`` of envoy/service/ratelimit/v3/rls.proto."""

    UNKNOWN = 0
    SECOND = 1
    MINUTE = 2
    HOUR = 3
    DAY = 4
    MONTH = 5
    YEAR = 6
    WEEK = 7


UNIT_SECONDS: Final[Mapping[Unit, int]] = {
    Unit.SECOND: 1,
    Unit.MINUTE: 60,
    Unit.HOUR: 3_600,
    Unit.DAY: 86_400,
    Unit.WEEK: 604_800,
    Unit.MONTH: 2_592_000,
    Unit.YEAR: 31_536_000,
}
"""As envoyproxy/ratelimit counts them: a month is 30 days and a year 365, aligned to the epoch."""


class OnStoreFailure(IntEnum):
    """What a limit does while its counter cannot be reached (``on_store_failure``)."""

    ERROR = 0
    ALLOW = 1
    DENY = 2
    LOCAL = 3


class Limit(NamedTuple):
    """One limit of a descriptor.

    Attributes:
        rate: how much may pass; None: unlimited.
        requests_per_unit: as written; shown in a status.
        unit: as written; a status shows UNKNOWN when ``unit_multiplier`` is not 1.
        unit_multiplier: the window is this many units.
        name: ``name`` of the limit; may be replaced by that name.
        replaces: names of limits that step aside when this one applies.
        shadow_mode: counted and reported, never enforced.
        quota_mode: over only when every quota limit of the request is.
        on_store_failure: what to do while the counter cannot be reached.
        item: what tells several limits of one descriptor apart (name, else index); "" for a lone one.
        upstream: envoyproxy/ratelimit could express it, so its Redis key may be upstream's.
    """

    rate: Rate | None
    requests_per_unit: int = 0
    unit: Unit = Unit.UNKNOWN
    unit_multiplier: int = 1
    name: str = ""
    replaces: frozenset[str] = frozenset()
    shadow_mode: bool = False
    quota_mode: bool = False
    on_store_failure: OnStoreFailure = OnStoreFailure.ERROR
    item: str = ""
    upstream: bool = True


class Node:
    """One descriptor of the policy: a step of the tree, with limits when a request may end here."""

    __slots__ = (
        "children",
        "detailed_metric",
        "key",
        "limits",
        "metadata",
        "place",
        "share_threshold",
        "stat_key",
        "value",
        "value_to_metric",
        "wildcards",
    )

    def __init__(
        self,
        key: bytes = b"",
        value: bytes = b"",
        limits: tuple[Limit, ...] = (),
        metadata: Mapping[str, object] | None = None,
        *,
        detailed_metric: bool = False,
        value_to_metric: bool = False,
        share_threshold: bool = False,
    ) -> None:
        self.key = key
        self.value = value
        self.limits = limits
        self.metadata = metadata
        self.detailed_metric = detailed_metric
        self.value_to_metric = value_to_metric
        self.share_threshold = share_threshold
        self.children: dict[bytes, Node] = {}
        """By final key: ``key`` or ``key_value``."""
        self.wildcards: Wildcards[Node] | None = None
        """The children whose final key holds ``*``, in the order of the file."""
        self.stat_key: tuple[str, ...] | None = None
        """How metrics name a limit here, once it was worked out and unless values of requests are part of it."""
        self.place: bytes | None = None
        """Where it is in its domain (see ``Match.place``), once that was worked out."""

    @property
    def final_key(self) -> bytes:
        """``key``, or ``key_value`` when there is a value: what tells a node from its siblings."""
        return b"%b_%b" % (self.key, self.value) if self.value else self.key

    def adopt(self, child: "Node") -> None:
        """Take a node as the next child."""
        final_key = child.final_key
        self.children[final_key] = child
        if STAR in final_key:
            if self.wildcards is None:
                self.wildcards = Wildcards()
            self.wildcards.add(final_key, child)


class Identity(NamedTuple):
    """Who is calling, by ``identity`` of a domain.

    Attributes:
        key: the descriptor key whose values are API keys.
        otherwise: the descriptor key whose values are addresses, for callers without a known API key.
        ipv6_prefix: bits of an IPv6 address that tell one caller from another.
        tiers: SHA-256 of an API key (32 bytes) to the tier that stands for it in the tree.
    """

    key: bytes
    otherwise: bytes
    ipv6_prefix: int
    tiers: dict[bytes, bytes]


class Domain(NamedTuple):
    """One domain: its tree and what holds for the whole of it."""

    name: bytes
    root: Node
    default_algorithm: str
    all_or_nothing: bool
    identity: Identity | None = None


class Policy(NamedTuple):
    """A whole configuration: every domain, and every node in the order it was made."""

    domains: Mapping[bytes, Domain]
    nodes: list[Node]


class Descriptor(NamedTuple):
    """One descriptor of a request, decoded.

    Attributes:
        entries: (key, value) pairs in order; may be empty.
        override: (requests_per_unit, unit) from ``descriptor.limit``, or None.
        hits: ``descriptor.hits_addend``; None when absent (the request's own then counts).
        negative: ``is_negative_hits``.
    """

    entries: tuple[Entry, ...]
    override: tuple[int, Unit] | None = None
    hits: int | None = None
    negative: bool = False


class Match(NamedTuple):
    """What a descriptor found in its domain.

    Attributes:
        limits: the limits that apply, in the order of the file; an override is one made for the request.
        identity: the entries that tell this counter from others: the request's, with the pattern in the
            place of the value where ``share_threshold`` says so.
        stat_key: the domain and one part for each level, as the metrics name them.
        stat_from_request: the stat key holds values of the request, so their number must be bounded.
        metadata: the matched node's ``metadata``.
        place: what tells the matched node from all others of its domain, whatever the values of the request; for
            an override, its keys. The same in every process that has this policy.
    """

    limits: tuple[Limit, ...]
    identity: tuple[Entry, ...]
    stat_key: tuple[str, ...]
    stat_from_request: bool
    metadata: Mapping[str, object] | None
    place: bytes = b""
