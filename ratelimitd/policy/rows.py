"""A policy as a flat stream of rows, so that a large one can be handed over and put together in slices.

A row names its parent by the number of the parent's row. Slices hold plain tuples and small tables of the rates
and limits that appear for the first time, so limits stay shared on the other side of a pipe.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from ratelimitd.algorithms import Rate

from .model import Domain, Limit, Node, Policy

SLICE_ROWS: Final = 200
"""Rows handed over at once: below 1 ms to unpickle and assemble, a fifth of what may hold the loop."""

SLICE_METADATA: Final = 1_000
"""Characters of metadata that weigh as much as a row."""

DETAILED_METRIC: Final = 1
VALUE_TO_METRIC: Final = 2
SHARE_THRESHOLD: Final = 4


class DomainRow(NamedTuple):
    """The root of a domain."""

    name: bytes
    default_algorithm: str
    all_or_nothing: bool


class NodeRow(NamedTuple):
    """A descriptor. ``flags``: DETAILED_METRIC, VALUE_TO_METRIC and SHARE_THRESHOLD added up."""

    parent: int
    key: bytes
    value: bytes
    limits: tuple[Limit, ...]
    metadata: dict[str, Any] | None
    flags: int


Row = DomainRow | NodeRow


class Slice(NamedTuple):
    """Some rows, with what they refer to: a limit is (number of its rate, other fields), -1: no rate."""

    rates: list[Rate]
    groups: list[tuple[tuple[Any, ...], ...]]
    rows: list[tuple[Any, ...]]


class _Tables:
    def __init__(self) -> None:
        self.rates: dict[Rate, int] = {}
        self.groups: dict[tuple[Limit, ...], int] = {}

    def slice_of(self, rows: Iterable[Row]) -> Slice:
        made = Slice([], [], [])
        for row in rows:
            if isinstance(row, DomainRow):
                made.rows.append(tuple(row))
            else:
                group = self._group(row.limits, made)
                made.rows.append((row.parent, row.key, row.value, group, row.metadata, row.flags))
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
    """Cut a stream of rows into slices of at most ``size`` rows, fewer where metadata is heavy."""
    tables = _Tables()
    pending: list[Row] = []
    weight = 0
    for row in rows:
        pending.append(row)
        weight += 1 + (len(str(row.metadata)) // SLICE_METADATA if isinstance(row, NodeRow) and row.metadata else 0)
        if weight >= size:
            yield tables.slice_of(pending)
            pending, weight = [], 0
    if pending:
        yield tables.slice_of(pending)


class Assembly:
    """Puts slices together, in the order they were cut."""

    def __init__(self) -> None:
        self._rates: list[Rate] = []
        self._groups: list[tuple[Limit, ...]] = []
        self._domains: dict[bytes, Domain] = {}
        self._nodes: list[Node] = []

    @property
    def policy(self) -> Policy:
        """What the slices so far make."""
        return Policy(self._domains, self._nodes)

    def add(self, piece: Slice) -> None:
        """Add the next slice."""
        self._rates += piece.rates
        self._groups += [tuple(self._limit(*limit) for limit in group) for group in piece.groups]
        for row in piece.rows:
            if len(row) == len(DomainRow._fields):
                self._add_domain(*row)
            else:
                self._add_node(*row)

    def _limit(self, rate: int, *fields: Any) -> Limit:
        return Limit(None if rate < 0 else self._rates[rate], *fields)

    def _add_domain(self, name: bytes, default_algorithm: str, all_or_nothing: bool) -> None:  # noqa: FBT001 - a row
        root = Node()
        self._nodes.append(root)
        self._domains[name] = Domain(name, root, default_algorithm, all_or_nothing)

    def _add_node(
        self, parent: int, key: bytes, value: bytes, group: int, metadata: dict[str, Any] | None, flags: int
    ) -> None:
        node = Node(
            key,
            value,
            self._groups[group],
            metadata,
            detailed_metric=bool(flags & DETAILED_METRIC),
            value_to_metric=bool(flags & VALUE_TO_METRIC),
            share_threshold=bool(flags & SHARE_THRESHOLD),
        )
        self._nodes.append(node)
        self._nodes[parent].adopt(node)


def assemble(rows: Iterable[Row]) -> Policy:
    """Make a policy of all its rows at once."""
    assembly = Assembly()
    for piece in slices(rows):
        assembly.add(piece)
    return assembly.policy
