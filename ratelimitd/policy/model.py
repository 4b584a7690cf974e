"""The values that a policy consists of. They do not change once assembled.

Keys and values are bytes, because Envoy passes header bytes unchanged, UTF-8 or not.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from ratelimitd.algorithms import CONCURRENT, SECOND, Rate, Reserve
from ratelimitd.sharded import ShardedDict, grown
from ratelimitd.value import Value

from .wildcards import STAR, Wildcards
from .written import Written, nothing_written

Entry = tuple[bytes, bytes]
"""A (key, value) pair of a descriptor."""


SEPARATOR: Final = b"_"
"""Joins key and value to a final key."""

UPSTREAM_ALGORITHM: Final = "fixed_window"
"""The only algorithm of envoyproxy/ratelimit."""


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
    """What a limit does while its counter is unavailable (``on_store_failure``)."""

    ERROR = 0
    ALLOW = 1
    DENY = 2
    LOCAL = 3


class Charging(IntEnum):
    """When the cost of a request is known (``charge``); UNSAID: the policy does not say."""

    UNSAID = 0
    AFTER = 1
    BEFORE = 2


LEASE: Final = b"ratelimitd.lease"
"""Key of an entry that makes a settlement of a descriptor; it is removed before the descriptor is matched."""


class Queue(NamedTuple):
    """How the proxy lets requests wait that a limit denies.

    Attributes:
        length: requests that wait for one counter at most; 100 as an office behind one address sends together.
        timeout: µs that each waits at most; two thirds of Envoy's default timeout of a route, 15 s.
    """

    length: int = 100
    timeout: int = 10 * SECOND


class Limit(NamedTuple):
    """One limit of a descriptor.

    Attributes:
        rate: enforced rate; None for unlimited.
        requests_per_unit: value in the file; shown in a status.
        unit: value in the file.
        unit_multiplier: length of the window in units.
        name: ``name`` of the limit, by which ``replaces`` refers to it.
        replaces: names of limits that do not apply when this one does.
        shadow_mode: counted and reported, never enforced.
        quota_mode: the request is over limit only if every quota limit of it is.
        on_store_failure: failure policy while the counter is unavailable.
        item: name, else index, of a limit in ``rate_limits``; "" for the limit of a ``rate_limit``.
        upstream: the key of its counter in Redis is upstream's: envoyproxy/ratelimit could express the limit, and
            FIXED_WINDOW_KEYS agrees.
        charge: when its costs are known.
        reserve: what each request holds while it is in progress; None: nothing.
        queue: how requests wait that it denies; None: they do not.
        overlaid: what an overlay says of it: keys of the policy file, each with the line of the overlay's entry.
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
    charge: Charging = Charging.UNSAID
    reserve: Reserve | None = None
    queue: Queue | None = None
    overlaid: tuple[tuple[str, int], ...] = ()


def window_in_words(limit: Limit) -> str:
    """Return the length of the window as in the file: ``minute``, ``10 minutes``."""
    unit = limit.unit.name.lower()
    return unit if limit.unit_multiplier == 1 else f"{limit.unit_multiplier} {unit}s"


def is_concurrent(limit: Limit) -> bool:
    """Whether a limit is on requests in progress."""
    return limit.rate is not None and limit.rate.algorithm == CONCURRENT


def amount_in_words(limit: Limit, per: str = " per ") -> str:
    """Return what a limit with a rate allows, as in the file: ``5 per minute``, ``20 at once``."""
    if limit.unit is Unit.UNKNOWN:
        return f"{limit.requests_per_unit} at once"
    return f"{limit.requests_per_unit}{per}{window_in_words(limit)}"


class DescriptorNode:
    """A descriptor of the policy: a node of the tree, with limits if a request's entries may end here."""

    __slots__ = (
        "children",
        "detailed_metric",
        "first_limit",
        "key",
        "limits",
        "metadata",
        "named",
        "path",
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
        self.first_limit = 0
        """Number of the first of its limits among those of the policy, see ``Written``."""
        self.children: Children = {}
        """By final key: ``key`` or ``key_value``."""
        self.named = False
        """Whether a final key contains ``_``, as that of an entry's key and value does."""
        self.wildcards: Wildcards[DescriptorNode] | None = None
        """The children whose final key contains ``*``, in the order of the file."""
        self.stat_key: tuple[str, ...] | None = None
        """Name of this node's limits in metrics; cached, unless values of requests are part of it."""
        self.path: bytes | None = None
        """Path from the root of its domain (see ``Match.path``); cached by the first match."""

    @property
    def final_key(self) -> bytes:
        """``key``, or ``key_value`` if there is a value; unique among siblings."""
        return b"%b_%b" % (self.key, self.value) if self.value else self.key

    def add_child(self, child: "DescriptorNode") -> None:
        """Add the next child."""
        final_key = child.final_key
        self.children = grown(self.children)
        self.children[final_key] = child
        self.named = self.named or SEPARATOR in final_key
        if STAR in final_key:
            if self.wildcards is None:
                self.wildcards = Wildcards()
            self.wildcards.add(final_key, child)


Children = dict[bytes, DescriptorNode] | ShardedDict[bytes, DescriptorNode]


class Identity(NamedTuple):
    """How callers are identified: ``identity`` of a domain.

    Attributes:
        key: descriptor key whose values are API keys.
        otherwise: descriptor key whose values are addresses, for callers without a known API key.
        ipv6_prefix: bits of an IPv6 address that distinguish callers.
        tiers: SHA-256 of an API key (32 bytes) to the tier that replaces it in the tree.
    """

    key: bytes
    otherwise: bytes
    ipv6_prefix: int
    tiers: dict[bytes, bytes] | ShardedDict[bytes, bytes]


class Domain(NamedTuple):
    """A domain: its tree, and the options that apply to all of it.

    ``upstream_overrides``: whether counters of overrides have upstream's names, if it could express them.
    ``default_charge``: ``charge`` of overrides.
    """

    name: bytes
    root: DescriptorNode
    default_algorithm: str
    all_or_nothing: bool
    identity: Identity | None = None
    upstream_overrides: bool = True
    default_charge: Charging = Charging.UNSAID


class Policy(NamedTuple):
    """A complete policy: every domain, every node in order of creation, and where its limits were written."""

    domains: Mapping[bytes, Domain]
    nodes: list[DescriptorNode]
    written: Written = nothing_written()


class Override(Value):
    """The limit that a descriptor of a request carries.

    Attributes:
        requests_per_unit: requests per window.
        unit: UNKNOWN if there is none, or none that is known; such an override is not a limit.
        unit_multiplier: length of the window in units, from 1.
    """

    __match_args__ = ("requests_per_unit", "unit", "unit_multiplier")
    __slots__ = __match_args__

    def __init__(self, requests_per_unit: int, unit: Unit, unit_multiplier: int = 1) -> None:
        self.requests_per_unit = requests_per_unit
        self.unit = unit
        self.unit_multiplier = unit_multiplier


class Descriptor(Value):
    """One descriptor of a request, decoded.

    Attributes:
        entries: (key, value) pairs in order; may be empty.
        override: ``descriptor.limit``, or None.
        hits: ``descriptor.hits_addend``; None if absent (the request's applies).
        negative: ``is_negative_hits``.
        lease: value of its entry ``LEASE``, which is not among the entries; None if it has none.
    """

    __match_args__ = ("entries", "override", "hits", "negative", "lease")
    __slots__ = __match_args__

    def __init__(
        self,
        entries: tuple[Entry, ...],
        override: Override | None = None,
        hits: int | None = None,
        negative: bool = False,
        lease: bytes | None = None,
    ) -> None:
        self.entries = entries
        self.override = override
        self.hits = hits
        self.negative = negative
        self.lease = lease


def described(
    entries: tuple[Entry, ...], override: Override | None = None, hits: int | None = None, negative: bool = False
) -> Descriptor:
    """Return the descriptor of entries as they are sent: without ``LEASE``, of which the last value counts."""
    lease: bytes | None = None
    for key, value in entries:
        if key == LEASE:
            lease = value
    if lease is not None:
        entries = tuple([entry for entry in entries if entry[0] != LEASE])
    return Descriptor(entries, override, hits, negative, lease)


class Match(Value):
    """The match of a descriptor in its domain.

    Attributes:
        limits: limits that apply, in the order of the file; an override is one made for the request.
        pins: at levels with ``share_threshold`` the node's own entry, which all requests share, else None; empty if
            there is no such level.
        stat_key: domain and one part per level, as metrics name them.
        stat_from_request: whether the stat key contains values of the request, so that their number must be bounded.
        metadata: ``metadata`` of the matched node.
        path: path that identifies the matched node in its domain, independent of the request's values; for an
            override, its keys. The same in every process that has this policy.
    """

    __match_args__ = ("limits", "pins", "stat_key", "stat_from_request", "metadata", "path")
    __slots__ = __match_args__

    def __init__(
        self,
        limits: tuple[Limit, ...],
        pins: tuple[Entry | None, ...],
        stat_key: tuple[str, ...],
        stat_from_request: bool,
        metadata: Mapping[str, object] | None,
        path: bytes = b"",
    ) -> None:
        self.limits = limits
        self.pins = pins
        self.stat_key = stat_key
        self.stat_from_request = stat_from_request
        self.metadata = metadata
        self.path = path
