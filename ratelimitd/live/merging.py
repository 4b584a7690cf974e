"""Documents of several replicas as one.

Numbers are added. Of what cannot be added, such as the number of a limit, the first document's is taken, which is that
of the replica that was asked; where the others differ, the document says so. A merged document can be merged again:
the order in which replicas answer, and who is merged first, make no difference but to what is the first's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from json import dumps
from math import fsum
from typing import Any, Final

from . import windows
from .documents import KEYS_SHOWN
from .history import NAMES
from .view import Document

STEP: Final = windows.STEP // 1_000_000
"""Seconds of a step of a history; its end is a multiple of it, Unix time."""

LATE: Final = 2 * STEP
"""Seconds by which the last step of a replica may be older: one whose clock is later is left behind, not waited for."""

CONFIGURED: Final = (
    "summary", "requests_per_unit", "unit", "unit_multiplier", "window_seconds", "burst", "algorithm", "mode",
    "on_store_failure", "unlimited",
)  # fmt: skip
"""What the policy says of a limit: all replicas with the same policy say the same."""

BREAKER: Final = (None, "closed", "half_open", "open")
"""States of a circuit breaker, the worst last."""


def merged(kind: str, documents: Sequence[Document]) -> Document:
    """Return one document of this kind for one or more, whose rows are in no certain order: see ``arranged``."""
    first, *rest = documents
    return KINDS[kind](documents) if rest else first


def _overview(documents: Sequence[Document]) -> Document:
    first, of = documents[0], partial(_each, documents)
    return {
        **_common(documents),
        "replica": first["replica"],
        "authorized": all(of("authorized")),
        "keys": "shown" if set(of("keys")) == {"shown"} else "hashed",
        "rates": _added(of("rates")),
        "decisions": _added(of("decisions")),
        "totals": _added(of("totals")),
        "last": {"end": _end(_each(of("last"), "end")), **_added([_without(each, "end") for each in of("last")])},
        "store": _store(of("store")),
        "policy": _policy(of("policy")),
        "health": _health(of("health")),
        "live": _live(of("live")),
    }


def _history(documents: Sequence[Document]) -> Document:
    return {**_common(documents), **_aligned(documents)}


def _limits(documents: Sequence[Document]) -> Document:
    rows = _grouped(chain.from_iterable(_each(documents, "limits")), "id", _row)
    return {**_common(documents), "total": max(*_each(documents, "total"), len(rows)), "limits": rows}


def _limit(documents: Sequence[Document]) -> Document:
    keys = _grouped(chain.from_iterable(_each(documents, "keys")), "key", _key)
    histories = [each for each in _each(documents, "history") if each is not None]
    return {
        **_common(documents),
        "limit": _row(_each(documents, "limit")),
        "history": _aligned(histories) if histories else None,
        "keys": keys,
        "keys_error": _keys_error(_each(documents, "keys_error")),
        "denials": _newest(documents),
    }


def _denials(documents: Sequence[Document]) -> Document:
    return {**_common(documents), "denials": _newest(documents)}


KINDS: Final[Mapping[str, Callable[[Sequence[Document]], Document]]] = {
    "overview": _overview,
    "history": _history,
    "limits": _limits,
    "limit": _limit,
    "denials": _denials,
}
"""How the documents of each kind are merged."""


def _common(documents: Sequence[Document]) -> Document:
    return {"version": documents[0]["version"], "time": max(_each(documents, "time"))}


def _each(documents: Iterable[Document], name: str) -> list[Any]:
    return [document[name] for document in documents]


def _without(document: Document, name: str) -> Document:
    return {key: value for key, value in document.items() if key != name}


def _added(each: Sequence[Mapping[str, float]]) -> Document:
    """Add numbers by name; rates are rounded, as their sum would depend on the order by its last digits."""
    return {name: _sum([numbers[name] for numbers in each]) for name in each[0]}


def _sum(numbers: Sequence[float]) -> float:
    return sum(numbers) if all(isinstance(number, int) for number in numbers) else round(fsum(numbers), 6)


def _end(ends: Sequence[int]) -> int:
    """Return the end of the last step that all have, but for those that are too late."""
    return max(min(ends), max(ends) - LATE)


def _aligned(histories: Sequence[Document]) -> Document:
    """Add histories step by step, up to the last step that all of them have."""
    end = _end(_each(histories, "end"))
    length = max(len(history[name]) for history in histories for name in NAMES)
    shifted = {
        name: [_shifted(history[name], (end - history["end"]) // STEP, length) for history in histories]
        for name in NAMES
    }
    return {
        "step": STEP,
        "end": end,
        **{name: [sum(step) for step in zip(*shifted[name], strict=True)] for name in NAMES},
    }


def _shifted(steps: Sequence[int], later: int, length: int) -> Sequence[int]:
    """Return the last ``length`` steps up to an end that is ``later`` steps later; 0 where there are none."""
    known = [*steps, *[0] * min(later, length)] if later >= 0 else steps[:later]
    return [*[0] * (length - len(known)), *known[-length:]] if length else []


def _store(stores: Sequence[Document]) -> Document:
    """Bytes and keys are added in memory, where each replica has its own; the server of Redis is the same."""
    memory = stores[0]["kind"] == "memory"
    return {
        **stores[0],
        "state": "failing" if "failing" in _each(stores, "state") else "ok",
        "text": next(iter(sorted(filter(None, _each(stores, "text")))), ""),
        "breaker": max(_each(stores, "breaker"), key=BREAKER.index),
        **{name: _known(sum if memory else max, _each(stores, name)) for name in ("keys", "bytes", "max_bytes")},
    }


def _known(combine: Callable[[list[Any]], Any], values: Iterable[Any]) -> Any:
    """Combine the values that are known; None if none is."""
    known = [value for value in values if value is not None]
    return combine(known) if known else None


def _policy(policies: Sequence[Document]) -> Document:
    versions = {version for each in policies for version in each.get("versions", (each["version"],))}
    return {
        **policies[0],
        "versions": sorted(versions),
        **{name: _union(_each(policies, name)) for name in ("warnings", "refused")},
    }


def _health(healths: Sequence[Document]) -> Document:
    return {
        "healthy": all(_each(healths, "healthy")),
        "ready": all(_each(healths, "ready")),
        **{name: _union(_each(healths, name)) for name in ("failing", "notes")},
    }


def _union(lists: Iterable[Sequence[Any]]) -> list[Any]:
    """Return what any of the lists has, once each, as in the first that has it."""
    found: dict[str, Any] = {}
    for each in chain.from_iterable(lists):
        found.setdefault(_text(each), each)
    return list(found.values())


def _text(value: Any) -> str:
    """Return a text that is the same for equal values."""
    return dumps(value, sort_keys=True)


def _live(lives: Sequence[Document]) -> Document:
    """A limit is the same on all replicas; a key may be counted on several."""
    added = {name: sum(_each(lives, name)) for name in ("max_bytes", "bytes", "keys")}
    return {**lives[0], **added, "limits": max(_each(lives, "limits")), "gap": max(_each(lives, "gap"))}


def _grouped(rows: Iterable[Document], by: str, merge: Callable[[list[Document]], Document]) -> list[Document]:
    groups: dict[str, list[Document]] = {}
    for row in rows:
        groups.setdefault(row[by], []).append(row)
    return [merge(group) for group in groups.values()]


def _row(rows: list[Document]) -> Document:
    """Merge the rows of a limit.

    A key that two replicas see is one, and neither knows of the other's: there are at least as many as on the replica
    that has most (``active_keys``), and at most as many as on all together (``active_keys_most``). ``replicas``: on how
    many the limit is. ``differs``: what the others say of it, if their policy is another.
    """
    said = {tuple(row[name] for name in CONFIGURED): row["summary"] for row in rows}
    told = {summary for row in rows for summary in row.get("differs", ())}
    differs = sorted(told | (set(said.values()) if len(said) > 1 else set()))
    base = next((row for row in rows if not row.get("gone")), rows[0])
    return {
        **base,
        "where": next((row["where"] for row in rows if row["where"] is not None), None),
        "rates": _added(_each(rows, "rates")),
        "totals": _added(_each(rows, "totals")),
        "active_keys": _known(max, _each(rows, "active_keys")),
        "active_keys_most": _known(sum, [row.get("active_keys_most", row["active_keys"]) for row in rows]),
        "use": _known(max, _each(rows, "use")),
        "spark": _known(_sparks, _each(rows, "spark")),
        "replicas": sum(row.get("replicas", 1) for row in rows),
        **({"differs": differs} if differs else {}),
    }


def _sparks(sparks: list[Document]) -> Document:
    """Add the small charts of a limit. They have no end: each is the last hour of its replica, in minutes."""
    numbers = {
        name: [sum(step) for step in zip(*_each(sparks, name), strict=False)] for name in sparks[0] if name != "step"
    }
    return {"step": sparks[0]["step"], **numbers}


def _key(keys: list[Document]) -> Document:
    """Merge the entries of a key; what its counter says is what the replica that saw it last was told."""
    latest = max(keys, key=_told)
    return {
        **latest,
        "descriptor": next((key["descriptor"] for key in keys if key["descriptor"] is not None), None),
        **{name: _added(_each(keys, name)) for name in ("minute", "ten_minutes", "hour")},
        "error": sum(_each(keys, "error")),
    }


def _told(key: Document) -> tuple[float, ...]:
    """Return the time and, for entries of the same time, the numbers of a key, None before any."""
    return (key["seen"], *(-1 if key[name] is None else key[name] for name in ("used", "remaining", "reset_after")))


def _keys_error(errors: Sequence[Document]) -> Document:
    """A key with a larger share of the hits of all has it on one replica at least, and is listed there."""
    share = max(_each(errors, "share"))
    if not share:
        return dict(errors[0])
    text = (
        f"a key with more than {100 * share:.2g} % of the recent hits is listed; hits on a replica that does not list "
        "it, or before it was listed, are not counted"
    )
    return {"share": share, "text": text}


def _newest(documents: Sequence[Document]) -> list[Document]:
    """Denials of the same key, limit and second on two replicas stay two: each was counted by its own replica."""
    denials = chain.from_iterable(_each(documents, "denials"))
    return sorted(denials, key=lambda denial: (-denial["time"], denial["id"], denial["key"], _text(denial)))


def _of(hits: Callable[[Mapping[str, float]], float]) -> Callable[[Document], Any]:
    return lambda row: (hits(row["rates"]), hits(row["totals"]))


ORDERS: Final[Mapping[str, Callable[[Document], Any]]] = {
    "denied": _of(lambda counts: counts["denied"]),
    "allowed": _of(lambda counts: counts["allowed"]),
    "rate": _of(lambda counts: counts["allowed"] + counts["denied"] + counts["shadowed"]),
    "use": lambda row: -1.0 if row["use"] is None else row["use"],
    "keys": lambda row: -1 if row["active_keys"] is None else row["active_keys"],
    "name": lambda row: row["name"],
}
"""What limits are sorted by, as in ``listing.SORTS``."""


def arranged(kind: str, document: Document, query: Mapping[str, str]) -> Document:
    """Sort and cut what was merged as the query of the page asks; the query is valid."""
    if kind == "limits":
        offset, most = int(query.get("offset", "0")), int(query.get("limit", "100"))
        return {**document, "limits": _sorted_limits(document["limits"], query)[offset : offset + most]}
    if kind == "denials":
        return {**document, "denials": document["denials"][: int(query.get("limit", "100"))]}
    if kind == "limit":
        busiest = sorted(
            document["keys"], key=lambda key: [-key[name]["hits"] for name in ("minute", "ten_minutes", "hour")]
        )
        return {**document, "keys": busiest[:KEYS_SHOWN], "denials": document["denials"][:KEYS_SHOWN]}
    return document


def _sorted_limits(rows: Sequence[Document], query: Mapping[str, str]) -> list[Document]:
    """Sort by the column; rows that are equal there stay in the order of the policy."""
    sort = query.get("sort", "denied")
    order = query.get("order", "asc" if sort == "name" else "desc")
    return sorted(rows, key=ORDERS[sort], reverse=order == "desc")
