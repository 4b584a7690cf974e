"""The documents of one moment, as docs/live.md describes them."""

from heapq import nlargest

from ratelimitd.algorithms import NEVER

from .denials import Denial, Place
from .history import NAMES, History
from .keys import UNKNOWN, Key
from .rows import name_of, per_second, row, traffic
from .shown import SHARED_TEXT, Parts, descriptor_text, key_text
from .tracked import Tracked
from .view import Document, Sliced, View, found, head, limit_id
from .windows import HOUR, MINUTE, STEP, TEN_MINUTES

SECOND = 1_000_000

KEYS_SHOWN = 128
"""Keys of a document: all that a limit may have."""


def overview(view: View) -> Document:
    """Return what all limits have counted; the edge adds replica, store, policy and health."""
    live = view.live
    time, counts, decided = STEP, live.last, live.decided_last
    if live.step == 0:
        time, counts, decided = view.now - live.started, live.totals, live.decided
    ok, over, failed = [round(number / (max(SECOND, time) / SECOND), 3) for number in decided]
    return {
        **head(view),
        "rates": per_second(counts, time),
        "decisions": {"ok": ok, "over_limit": over, "failed": failed},
        "totals": live.totals._asdict(),
        "last": {"end": live.ends // SECOND, **live.last._asdict()},
        "live": {
            "max_bytes": live.budget.most,
            "bytes": live.budget.used,
            "limits": len(live.limits),
            "keys": live.keys,
            "gap": live.pace.gap,
        },
    }


def history(view: View) -> Document:
    """Return the last hour of all limits together."""
    return {**head(view), **_history(view, view.live.history)}


def _history(view: View, kept: History) -> Document:
    closed = view.live.step - 1
    columns = {name: kept.of(kind, closed) for kind, name in enumerate(NAMES)}
    return {"step": STEP // SECOND, "end": view.live.ends // SECOND, **columns}


def limit(view: View, id: str) -> Sliced[Document | None]:  # noqa: A002 -- the name of the field
    """Return all about one limit; None if there is none with this id."""
    which = yield from found(view, id)
    if which is None:
        return None
    tracked = view.live.limits.get(which.place)
    return {
        **head(view),
        "limit": row(view, which),
        "history": None if tracked is None else _history(view, tracked.history),
        "keys": [] if tracked is None else _keys(view, tracked),
        "keys_error": _keys_error(tracked),
        "denials": _denials(view, id=id, most=KEYS_SHOWN, after=0),
    }


def _keys(view: View, tracked: Tracked) -> list[Document]:
    listed = sorted(tracked.keys.listed.values(), key=lambda key: -key.count)
    return [_key(view, tracked, key) for key in listed[:KEYS_SHOWN]]


def _key(view: View, tracked: Tracked, key: Key) -> Document:
    step, rate = view.live.step, tracked.limit.rate
    known = key.remaining != UNKNOWN and rate is not None
    text, descriptor = _shown(view, key.parts)
    return {
        "key": text,
        "descriptor": descriptor,
        "shared": not key.parts,
        "minute": key.windows.sums(step, MINUTE)._asdict(),
        "ten_minutes": key.windows.sums(step, TEN_MINUTES)._asdict(),
        "hour": key.windows.sums(step, HOUR)._asdict(),
        "error": round(key.error / view.live.growth(view.now)),
        "used": max(0, rate.burst - key.remaining) if known and rate is not None else None,
        "remaining": key.remaining if known else None,
        "reset_after": max(0, key.reset_at - view.now) / SECOND if known else None,
        "seen": key.seen / SECOND,
    }


def _shown(view: View, parts: Parts) -> tuple[str, str | None]:
    if not parts:
        return SHARED_TEXT, None
    key = view.live.key
    return key_text(key, parts, view.plain, view.text), descriptor_text(parts, view.plain, view.text)


def _keys_error(tracked: Tracked | None) -> Document:
    if tracked is None or tracked.keys.sketch is None:
        return {"share": 0.0, "text": "all keys that were seen are listed"}
    share = 1 / max(1, len(tracked.keys.listed))
    return {
        "share": round(share, 4),
        "text": f"a key with more than {100 * share:.2g} % of the recent hits is listed; "
        "hits before it was listed are not counted",
    }


def denials(view: View, id: str | None = None, most: int = 100, after: int = 0) -> Document:  # noqa: A002
    """Return recent denials, newest first; those of one limit, and those with a higher serial than ``after``."""
    return {**head(view), "denials": _denials(view, id, most, after)}


def _denials(view: View, id: str | None, most: int, after: int) -> list[Document]:  # noqa: A002
    ids: dict[Place, str] = {}
    names: dict[Place, str] = {}
    listed: list[Document] = []
    for denial in view.live.denials.newest_first():
        if denial.serial <= after or len(listed) >= most:
            break
        if denial.place not in ids:
            ids[denial.place] = limit_id(*denial.place)
            names[denial.place] = name_of(denial.place)
        if id is None or ids[denial.place] == id:
            listed.append(_denial(view, denial, ids[denial.place], names[denial.place]))
    return listed


def _denial(view: View, denial: Denial, id: str, name: str) -> Document:  # noqa: A002
    text, descriptor = _shown(view, denial.parts)
    return {
        "time": denial.time / SECOND,
        "serial": denial.serial,
        "id": id,
        "limit": name,
        "summary": denial.summary,
        "burst": denial.burst,
        "domain": denial.place[0].decode(errors="replace"),
        "key": text,
        "descriptor": descriptor,
        "cost": denial.cost,
        "count": denial.count,
        "reset_after": None if denial.reset_after == NEVER else denial.reset_after / SECOND,
        "used": denial.used,
        "shadow": denial.shadow,
        "reason": denial.reason,
    }


def busiest(view: View, most: int = 100) -> Document:
    """Return the numbers that change of the limits with most hits in the last step."""
    step = view.live.step

    def hits(tracked: Tracked) -> int:
        if tracked.first == step:
            tracked.sync()
        counts = tracked.open if tracked.first == step else tracked.last
        return counts.allowed + counts.denied + counts.shadowed

    chosen = nlargest(most, view.live.limits.values(), key=hits)
    return {**head(view), "limits": [{"id": limit_id(*each.place), **traffic(view, each)} for each in chosen]}
