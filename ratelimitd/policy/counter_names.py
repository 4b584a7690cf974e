"""Which limits of a policy have counters with upstream's names: the setting FIXED_WINDOW_KEYS, applied to its rows."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from .rows import DomainRow, NodeRow, Row, assemble
from .sharing import is_upstream, shared_counters


class FixedWindowKeys(StrEnum):
    """Whose limits have upstream's names: all that upstream can express, none, or those that can share no counter."""

    UPSTREAM = "upstream"
    SAFE = "safe"
    AUTO = "auto"


def with_keys(rows: Sequence[Row], keys: FixedWindowKeys) -> Iterable[Row]:
    """Return rows whose limits say by ``upstream`` whether their counters have upstream's names.

    Whether a limit can share its counter is decided from its own domain. The keys of overrides are not in a policy, so
    AUTO gives none of them upstream's name.
    """
    if keys is FixedWindowKeys.UPSTREAM:
        return rows
    return _with_safe_keys(rows, None if keys is FixedWindowKeys.SAFE else _shared(rows))


def _shared(rows: Iterable[Row]) -> set[int]:
    """Return the numbers of the rows with a limit that can share a counter."""
    policy = assemble(rows)
    shared = {node for domain in policy.domains.values() for node in shared_counters(domain)}
    return {number for number, node in enumerate(policy.nodes) if node in shared}


def _with_safe_keys(rows: Iterable[Row], numbers: set[int] | None) -> Iterator[Row]:
    """Yield rows with safe keys in these; None: in all."""
    for number, row in enumerate(rows):
        if isinstance(row, DomainRow):
            yield row._replace(upstream_overrides=False)
        elif isinstance(row, NodeRow) and is_upstream(row) and (numbers is None or number in numbers):
            yield row._replace(limits=tuple([limit._replace(upstream=False) for limit in row.limits]))
        else:
            yield row
