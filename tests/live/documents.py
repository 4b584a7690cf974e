"""Documents of the live view as hypothesis makes them, and as tests write them."""

from json import dumps

from hypothesis import strategies as st

from ratelimitd.live import NAMES

EPOCH = 1_800_000_000
"""A time that is the end of a step."""

counts = st.integers(0, 1_000_000)
tenths = st.integers(0, 10_000).map(lambda number: number / 10)
"""Rates: hits of a step by ten seconds."""
names = st.sampled_from(["a", "b", "c", "d"])


def four(numbers):
    return st.fixed_dictionaries(dict.fromkeys(NAMES, numbers))


def some(values):
    return st.none() | values


ends = st.sampled_from([EPOCH, EPOCH + 10, EPOCH + 20])
"""Ends of the last step: of replicas that close it at different moments."""

steps = st.lists(counts, min_size=12, max_size=12)
histories = st.fixed_dictionaries({"step": st.just(10), "end": ends, **dict.fromkeys(NAMES, steps)})
sparks = st.fixed_dictionaries(
    {"step": st.just(60), **dict.fromkeys(("allowed", "denied"), st.lists(counts, min_size=5, max_size=5))}
)
hits = st.fixed_dictionaries({"hits": counts, "denied": counts})

ROW = {
    "name": "shop.user",
    "domain": "shop",
    "path": ["user"],
    "limit": "",
    "summary": "100 per minute",
    "requests_per_unit": 100,
    "unit": "minute",
    "unit_multiplier": 1,
    "window_seconds": 60.0,
    "burst": 100,
    "algorithm": "token_bucket",
    "mode": "enforced",
    "on_store_failure": "error",
    "unlimited": False,
    "where": {"file": "policy.yaml", "line": 12},
}
rows = st.fixed_dictionaries(
    {
        **{name: st.just(value) for name, value in ROW.items()},
        "id": names,
        "rates": four(tenths),
        "totals": four(counts),
        "active_keys": some(counts),
        "use": some(st.sampled_from([0.0, 0.5, 1.0])),
        "spark": some(sparks),
    }
)
keys = st.fixed_dictionaries(
    {
        "key": names,
        "descriptor": st.none(),
        "minute": hits,
        "ten_minutes": hits,
        "hour": hits,
        "error": counts,
        "used": some(counts),
        "remaining": some(counts),
        "reset_after": some(tenths),
        "seen": st.integers(EPOCH, EPOCH + 3),
    }
)
denials = st.lists(
    st.fixed_dictionaries({"time": st.integers(EPOCH, EPOCH + 3), "id": names, "key": names, "count": counts}),
    max_size=3,
)


def distinct(each, by):
    return st.lists(each, max_size=4, unique_by=lambda value: value[by])


def document(**fields):
    return st.fixed_dictionaries({"version": st.just(1), "time": st.integers(EPOCH, EPOCH + 20), **fields})


def listed():
    """A few of the same words, each once."""
    return st.lists(names, unique=True, max_size=2)


components = st.lists(st.fixed_dictionaries({"component": names, "reason": names}), max_size=2, unique_by=str)
KINDS = {
    "overview": document(
        replica=st.just({"id": "0", "name": "pod-0", "started": EPOCH, "software": "0.9.0", "build": "compiled"}),
        authorized=st.booleans(),
        keys=st.sampled_from(["shown", "hashed"]),
        rates=four(tenths),
        decisions=st.fixed_dictionaries(dict.fromkeys(("ok", "over_limit", "failed"), tenths)),
        totals=four(counts),
        last=st.fixed_dictionaries({"end": ends, **dict.fromkeys(NAMES, counts)}),
        store=st.fixed_dictionaries(
            {
                "kind": st.just("memory"),
                "where": st.just("memory"),
                "state": st.sampled_from(["ok", "failing"]),
                "text": st.sampled_from(["", "calls fail"]),
                "breaker": st.sampled_from([None, "closed", "half_open", "open"]),
                **dict.fromkeys(("keys", "bytes", "max_bytes"), some(counts)),
            }
        ),
        policy=st.fixed_dictionaries(
            {"version": names, "generation": st.just(1), "warnings": listed(), "refused": listed()}
        ),
        health=st.fixed_dictionaries(
            {"healthy": st.booleans(), "ready": st.booleans(), "failing": components, "notes": components}
        ),
        live=st.fixed_dictionaries(dict.fromkeys(("max_bytes", "bytes", "limits", "keys", "gap"), counts)),
    ),
    "history": histories.flatmap(lambda history: document(**{name: st.just(value) for name, value in history.items()})),
    "limits": distinct(rows, "id").flatmap(lambda found: document(total=st.just(len(found)), limits=st.just(found))),
    "limit": document(
        limit=rows.map(lambda row: {**row, "id": "a"}),
        history=some(histories),
        keys=distinct(keys, "key"),
        keys_error=st.fixed_dictionaries({"share": st.sampled_from([0.008, 0.1]), "text": st.just("a share")}),
        denials=denials,
    ),
    "denials": document(denials=denials),
}
"""A strategy of each kind."""


def unordered(value):
    """A value in which the order of lists does not matter, but of those of numbers."""
    if isinstance(value, dict):
        return {name: unordered(each) for name, each in value.items()}
    if isinstance(value, list) and not all(isinstance(each, int) for each in value):
        return sorted((unordered(each) for each in value), key=lambda each: dumps(each, sort_keys=True))
    return value


def empty_overview(**fields):
    """The overview of a replica without traffic."""
    return {
        "version": 1,
        "time": EPOCH + 3.5,
        "replica": {"id": "0", "name": "pod-0", "started": EPOCH, "software": "0.9.0", "build": "compiled"},
        "authorized": True,
        "keys": "shown",
        "rates": dict.fromkeys(NAMES, 0.0),
        "decisions": dict.fromkeys(("ok", "over_limit", "failed"), 0.0),
        "totals": dict.fromkeys(NAMES, 0),
        "last": {"end": EPOCH, **dict.fromkeys(NAMES, 0)},
        "store": {
            "kind": "memory", "where": "memory", "state": "ok", "text": "", "breaker": None,
            "keys": 0, "bytes": 0, "max_bytes": 1 << 20,
        },
        "policy": {
            "generation": 1, "version": "v1", "source": "policy.yaml", "files": 1, "domains": 1, "limits": 1,
            "loaded": EPOCH, "warnings": [], "refused": [], "overlay": None, "control_plane": None,
        },
        "health": {"healthy": True, "ready": True, "failing": [], "notes": []},
        "live": {"max_bytes": 1 << 23, "bytes": 0, "limits": 0, "keys": 0, "gap": 1},
        **fields,
    }  # fmt: skip


def row(**fields):
    """The row of a limit without traffic."""
    return {
        "id": "a", **ROW, "rates": dict.fromkeys(NAMES, 0.0), "totals": dict.fromkeys(NAMES, 0),
        "active_keys": None, "use": None, "spark": None, **fields,
    }  # fmt: skip


def key(**fields):
    """An entry of a key that had no hit."""
    none = {"hits": 0, "denied": 0}
    return {
        "key": "user=alice", "descriptor": "user=alice", "minute": none, "ten_minutes": none, "hour": none, "error": 0,
        "used": None, "remaining": None, "reset_after": None, "seen": EPOCH, **fields,
    }  # fmt: skip


def history(end=EPOCH, **fields):
    """A history of three steps without a hit."""
    return {"version": 1, "time": end, "step": 10, "end": end, **{name: [0, 0, 0] for name in NAMES}, **fields}


def limits(*found, total=None):
    return {"version": 1, "time": EPOCH, "total": len(found) if total is None else total, "limits": list(found)}


def limit(*keys, **fields):
    """The document of a limit."""
    error = {"share": 0.01, "text": "a key with more than 1.0 % of the recent hits is listed"}
    return {
        "version": 1, "time": EPOCH, "limit": row(), "history": None, "keys": list(keys), "keys_error": error,
        "denials": [], **fields,
    }  # fmt: skip
