"""A policy as a flat stream of rows, so that a large one can be transferred and assembled in slices.

A row refers to its parent by the parent's row number. Slices contain plain tuples and small tables of the rates and
limits that appear for the first time, so limits stay shared on the other side of a pipe.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from ratelimitd.algorithms import Rate
from ratelimitd.sharded import ShardedDict, grown

from .model import Charging, DescriptorNode, Domain, Identity, Limit, Policy
from .written import NO_LINE, Written, nothing_written

SLICE_ROWS: Final = 200
"""Rows per slice: less than 1 ms to unpickle and assemble, a fifth of the 5 ms that may block the event loop."""

KEYS_IN_ROW: Final = 500
KEYS_WEIGHT: Final = 25
"""Weight, in rows, of ``KEYS_IN_ROW`` API keys: a slice has 4,000 keys, which take 0.5 ms to insert."""

SLICE_METADATA: Final = 1_000
"""Characters of metadata that weigh as much as a row."""

DETAILED_METRIC: Final = 1
VALUE_TO_METRIC: Final = 2
SHARE_THRESHOLD: Final = 4


class PolicySummary(NamedTuple):
    """Numbers of domains, descriptors and limits in a policy."""

    domains: int
    descriptors: int
    limits: int


class DomainRow(NamedTuple):
    """The root of a domain."""

    name: bytes
    default_algorithm: str
    all_or_nothing: bool
    identity: Identity | None
    """``tiers`` is empty here: the tiers follow as KeysRows."""
    upstream_overrides: bool = True
    default_charge: Charging = Charging.UNSAID


class KeysRow(NamedTuple):
    """Some API keys of a tier: their SHA-256 digests, concatenated. It follows all rows that others refer to."""

    domain: bytes
    tier: bytes
    digests: bytes


class NodeRow(NamedTuple):
    """A descriptor.

    Attributes:
        flags: the sum of DETAILED_METRIC, VALUE_TO_METRIC and SHARE_THRESHOLD.
        file: the file, or resource, that it is written in; "" for none.
        lines: that of each of its limits.
    """

    parent: int
    key: bytes
    value: bytes
    limits: tuple[Limit, ...]
    metadata: dict[str, Any] | None
    flags: int
    file: str = ""
    lines: tuple[int, ...] = ()


Row = DomainRow | NodeRow | KeysRow

KINDS: Final[tuple[type[Row], ...]] = (DomainRow, NodeRow, KeysRow)


class Slice(NamedTuple):
    """Rows, each after the number of its kind, with new rates and groups of limits, and where limits were written.

    A limit is (number of its rate or -1, its other fields); a NodeRow has the number of its group.
    """

    rates: list[Rate]
    groups: list[tuple[tuple[Any, ...], ...]]
    rows: list[tuple[Any, ...]]
    written: Written


class _Tables:
    def __init__(self) -> None:
        self.rates: dict[Rate, int] = {}
        self.groups: dict[tuple[Limit, ...], int] = {}

    def slice_of(self, rows: Iterable[Row]) -> Slice:
        made = Slice([], [], [], nothing_written())
        for row in rows:
            kind = KINDS.index(type(row))
            if isinstance(row, NodeRow):
                group = self._group(row.limits, made)
                made.rows.append((kind, row.parent, row.key, row.value, group, row.metadata, row.flags))
                made.written.add(row.file, row.lines if row.file else (NO_LINE,) * len(row.limits))
            else:
                made.rows.append((kind, *row))
        return made

    def _group(self, limits: tuple[Limit, ...], made: Slice) -> int:
        number = self.groups.get(limits)
        if number is None:
            number = self.groups[limits] = len(self.groups)
            made.groups.append(tuple((self._rate(limit.rate, made), *limit[1:]) for limit in limits))
        return number

    def _rate(self, rate: Rate | None, made: Slice) -> int:
        if rate is None:
            return -1
        number = self.rates.get(rate)
        if number is None:
            number = self.rates[rate] = len(self.rates)
            made.rates.append(rate)
        return number


def slices(rows: Iterable[Row], size: int = SLICE_ROWS) -> Iterator[Slice]:
    """Cut a stream of rows into slices of about ``size`` limits, fewer if their metadata is large."""
    tables = _Tables()
    pending: list[Row] = []
    weight = 0
    for row in rows:
        pending.append(row)
        weight += _weight(row)
        if weight >= size:
            yield tables.slice_of(pending)
            pending, weight = [], 0
    if pending:
        yield tables.slice_of(pending)


def _weight(row: Row) -> int:
    if isinstance(row, KeysRow):
        return KEYS_WEIGHT
    if isinstance(row, DomainRow):
        return 1
    return max(1, len(row.limits)) + (len(str(row.metadata)) // SLICE_METADATA if row.metadata else 0)


def keys_rows(domain: bytes, tiers: Mapping[bytes, bytes] | ShardedDict[bytes, bytes]) -> Iterator[KeysRow]:
    """Split the tiers of a domain into rows."""
    by_tier: dict[bytes, list[bytes]] = {}
    for digest, tier in tiers.items():
        by_tier.setdefault(tier, []).append(digest)
    for tier, digests in by_tier.items():
        for start in range(0, len(digests), KEYS_IN_ROW):
            yield KeysRow(domain, tier, b"".join(digests[start : start + KEYS_IN_ROW]))


class Assembly:
    """Assembles slices, in the order they were cut."""

    def __init__(self) -> None:
        self._rates: list[Rate] = []
        self._groups: list[tuple[Limit, ...]] = []
        self._domains: dict[bytes, Domain] = {}
        self._nodes: list[DescriptorNode] = []
        self._written = nothing_written()
        self._limits = 0
        adders: Mapping[type[Row], Callable[..., None]] = {
            DomainRow: self._add_domain,
            NodeRow: self._add_node,
            KeysRow: self._add_keys,
        }
        self._adders = [adders[kind] for kind in KINDS]

    @property
    def policy(self) -> Policy:
        """The policy of the slices so far."""
        return Policy(self._domains, self._nodes, self._written)

    def add(self, piece: Slice) -> None:
        """Add the next slice."""
        self._rates += piece.rates
        self._groups += [tuple(self._limit(*limit) for limit in group) for group in piece.groups]
        for kind, *fields in piece.rows:
            self._adders[kind](*fields)
        self._written.extend(piece.written)

    def _limit(self, rate: int, *fields: Any) -> Limit:
        return Limit(None if rate < 0 else self._rates[rate], *fields)

    def _add_domain(
        self,
        name: bytes,
        default_algorithm: str,
        all_or_nothing: bool,
        identity: Identity | None,
        *overrides: Any,
    ) -> None:
        root = DescriptorNode()
        self._nodes.append(root)
        own = identity and identity._replace(tiers={})
        self._domains[name] = Domain(name, root, default_algorithm, all_or_nothing, own, *overrides)

    def _add_keys(self, domain: bytes, tier: bytes, digests: bytes) -> None:
        found = self._domains[domain]
        identity = found.identity
        if identity is None:
            raise ValueError("keys of a domain without an identity")
        size = sha256().digest_size
        tiers = grown(identity.tiers)
        if tiers is not identity.tiers:
            self._domains[domain] = found._replace(identity=identity._replace(tiers=tiers))
        for at in range(0, len(digests), size):
            tiers[digests[at : at + size]] = tier

    def _add_node(
        self, parent: int, key: bytes, value: bytes, group: int, metadata: dict[str, Any] | None, flags: int
    ) -> None:
        node = DescriptorNode(
            key,
            value,
            self._groups[group],
            metadata,
            detailed_metric=bool(flags & DETAILED_METRIC),
            value_to_metric=bool(flags & VALUE_TO_METRIC),
            share_threshold=bool(flags & SHARE_THRESHOLD),
        )
        node.first_limit = self._limits
        self._limits += len(node.limits)
        self._nodes.append(node)
        self._nodes[parent].add_child(node)


def assemble(rows: Iterable[Row]) -> Policy:
    """Assemble a policy from all its rows at once."""
    assembly = Assembly()
    for piece in slices(rows):
        assembly.add(piece)
    return assembly.policy
