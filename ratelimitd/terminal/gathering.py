"""The documents that a view needs, in one or more questions."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from .asking import LiveError, Source, document
from .documents import parts, text
from .pages import Data
from .view import View

PAGE: Final = 100
"""Limits of one question: what /live/limits gives by default."""

MERGED_MOST: Final = 200
"""Limits of all replicas that a service merges (docs/live.md)."""

ONCE_MOST: Final = 10_000
"""Limits of ``--once``: those of the largest policies (docs/performance.md) take a hundred questions."""

KEYS_OF: Final = 10
"""Limits whose keys are shown together, those with the most hits: a question each."""

SUGGESTED: Final = 5
"""Names that an error lists."""

Query = Mapping[str, str]


async def gathered(source: Source, view: View, scope: Query, *, whole: bool = False) -> Data:
    """Ask for what a view shows. ``scope``: parameters of all questions; ``whole``: all limits. Raises LiveError."""
    overview = await document(source, "overview", scope)
    address = str(source.endpoint)
    if view.page == "limit":
        return Data(address, overview, details=(await document(source, "limit", {"id": view.opened, **scope}),))
    if view.page == "keys":
        busy = await document(source, "limits", {"sort": "rate", "order": "desc", "limit": str(KEYS_OF), **scope})
        details = [
            await document(source, "limit", {"id": str(row.get("id")), **scope})
            for row in parts(busy, "limits")
            if row.get("spark") is not None
        ]
        return Data(address, overview, busy, details)
    asked = {"sort": view.sort, "order": view.order, **({"search": view.search} if view.search else {}), **scope}
    most = MERGED_MOST if whole and scope else PAGE
    limits = await document(source, "limits", {"limit": str(most), **asked})
    if whole and not scope:
        limits = {**limits, "limits": [row async for row in _all(source, limits, asked)]}
    return Data(address, overview, limits)


async def _all(source: Source, first: dict[str, Any], asked: Query) -> AsyncIterator[Any]:
    """Yield the limits of the first page, and of those after it; one that moved between two questions once."""
    known: set[str] = set()
    rows = parts(first, "limits")
    offset = 0
    while rows and offset < ONCE_MOST:
        for row in rows:
            if (name := str(row.get("id"))) not in known:
                known.add(name)
                yield row
        offset += len(rows)
        more = len(rows) >= PAGE
        rows = (
            parts(await document(source, "limits", {"offset": str(offset), "limit": str(PAGE), **asked}), "limits")
            if more
            else []
        )


async def limit_named(source: Source, name: str, scope: Query) -> str:
    """Return the id of a limit. Raises LiveError if none has this name."""
    asked = {"search": name, "sort": "name", "order": "asc", **scope}
    first = await document(source, "limits", {"limit": str(MERGED_MOST if scope else PAGE), **asked})
    rows = parts(first, "limits") if scope else [row async for row in _all(source, first, asked)]
    for row in rows:
        if name == row.get("name"):
            return str(row.get("id"))
    if not rows:
        rows = parts(await document(source, "limits", scope), "limits")
    names = ", ".join(text(row, "name") for row in rows[:SUGGESTED])
    raise LiveError(
        f"no limit has the name {name!r}; there are: {names or 'none'}{', …' if len(rows) > SUGGESTED else ''}"
    )


def as_json(data: Data) -> dict[str, Any]:
    """Return the documents as ``--once --json`` prints them."""
    return {
        "version": 1,
        "address": data.address,
        "overview": data.overview,
        **({"limits": data.limits} if data.limits else {}),
        **({"details": list(data.details)} if data.details else {}),
    }
