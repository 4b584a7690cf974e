"""The table of limits: searched, sorted, by pages. It is made in slices, since a policy may have 100,000 limits."""

from collections.abc import Callable
from heapq import merge
from itertools import islice
from typing import Any, Final, NamedTuple

from .rows import name_of, rates, row, use
from .tracked import Tracked
from .view import Document, Found, Sliced, View, all_limits, head

SORTED: Final = 500
"""Limits that are sorted at once; the parts are merged. 0.5 ms."""

ROWS: Final = 10
"""Rows that are made in a slice: 1 ms interpreted, with their sparklines."""

PAGE_MOST: Final = 200
"""Rows of a page at most."""


class LimitsQuery(NamedTuple):
    """Which limits, and in what order.

    Attributes:
        search: part of the name; upper and lower case are equal.
        sort: a key of ``SORTS``.
        descending: largest first.
        limit: rows of the page, ``PAGE_MOST`` at most.
        offset: rows before it.
    """

    search: str = ""
    sort: str = "denied"
    descending: bool = True
    limit: int = 100
    offset: int = 0


def _of(counted: Callable[[Any], float]) -> Callable[[View, Tracked | None], Any]:
    """Sort by counts: their rate, and if that is equal what they are since the start."""

    def key(view: View, tracked: Tracked | None) -> Any:
        if tracked is None:
            return (0.0, 0)
        return (counted(rates(view, tracked)), counted(tracked.totals._asdict()))

    return key


SORTS: Final[dict[str, Callable[[View, Tracked | None], Any]]] = {
    "denied": _of(lambda counts: counts["denied"]),
    "allowed": _of(lambda counts: counts["allowed"]),
    "rate": _of(lambda counts: counts["allowed"] + counts["denied"] + counts["shadowed"]),
    "use": lambda view, tracked: -1.0 if tracked is None else use(view, tracked) or 0.0,
    "keys": lambda view, tracked: -1 if tracked is None else tracked.keys.active(view.live.step),
    "name": lambda _, __: None,
}
"""What limits are sorted by; those that are equal in it stay in the order of the policy."""


def limits(view: View, query: LimitsQuery) -> Sliced[Document]:
    """Return a page of the limits of the policy, and of those that had traffic and are gone."""
    wanted = query.search.casefold()
    by = SORTS[query.sort]
    entries: list[tuple[Any, str, Found]] = []
    parts: list[list[tuple[Any, str, Found]]] = []
    for found in all_limits(view):
        if found is None:
            yield
            continue
        name = name_of(found.place)
        if wanted in name.casefold():
            tracked = view.live.limits.get(found.place)
            if tracked is not None:
                tracked.sync()
            entries.append((by(view, tracked), name, found))
            if len(entries) == SORTED:
                parts.append(_sorted(entries, query))
                entries = []
                yield
    parts.append(_sorted(entries, query))
    total = sum(map(len, parts))
    merged = merge(*parts, key=_order(query), reverse=query.descending)
    for _ in range(query.offset // SORTED):
        if not list(islice(merged, SORTED)):
            break
        yield
    list(islice(merged, query.offset % SORTED))
    page: list[Document] = []
    for number, (_, _, found) in enumerate(islice(merged, min(query.limit, PAGE_MOST)), 1):
        page.append(row(view, found))
        if number % ROWS == 0:
            yield
    return {**head(view), "total": total, "tracked": len(view.live.limits), "limits": page}


def _order(query: LimitsQuery) -> Callable[[tuple[Any, str, Found]], Any]:
    return (lambda entry: entry[1]) if query.sort == "name" else (lambda entry: entry[0])


def _sorted(entries: list[tuple[Any, str, Found]], query: LimitsQuery) -> list[tuple[Any, str, Found]]:
    return sorted(entries, key=_order(query), reverse=query.descending)
