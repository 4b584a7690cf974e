"""Documents as a service makes them (docs/live.md)."""

from hashlib import blake2b

from tests.live.documents import ROW

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202eevil[red]:smile:"
"""A key's value that would set the title, clear the screen and reverse the line, with markup of rich."""


def rates(allowed=0.0, denied=0.0, shadowed=0.0, failed=0.0):
    return {"allowed": allowed, "denied": denied, "shadowed": shadowed, "failed": failed}


def overview(**more):
    return {
        "version": 1,
        "time": 1_800_000_000.5,
        "replica": {
            "id": "3fa9c1d2", "name": "ratelimit-0", "started": 1_799_992_000, "software": "0.9.0", "build": "compiled",
        },
        "authorized": True,
        "keys": "shown",
        "rates": rates(1234.0, 12.5),
        "decisions": {"ok": 1200.0, "over_limit": 12.5, "failed": 0.0},
        "totals": rates(100_000, 400),
        "last": {"end": 1_800_000_000, **rates(12_340, 125)},
        "store": {
            "kind": "memory", "where": "", "state": "ok", "text": "", "breaker": None, "keys": 120, "bytes": 1 << 20,
            "max_bytes": 64 << 20,
        },
        "policy": {
            "generation": 1, "version": "0123456789abcdef", "source": "policy.yaml", "files": 1, "domains": 1,
            "limits": 3, "loaded": 1_799_992_000, "warnings": [], "refused": [], "overlay": None, "control_plane": None,
        },
        "health": {"healthy": True, "ready": True, "failing": [], "notes": []},
        "live": {"max_bytes": 8 << 20, "bytes": 12345, "limits": 3, "keys": 120, "gap": 1},
        **more,
    }  # fmt: skip


def limit(name="shop.user", **more):
    return {
        **ROW,
        "id": blake2b(name.encode(), digest_size=8).hexdigest(),
        "name": name,
        "rates": rates(3.0, 1.5),
        "totals": rates(300, 150),
        "active_keys": 12,
        "use": 0.83,
        "spark": {"step": 60, "allowed": [1] * 60, "denied": [0] * 59 + [2]},
        **more,
    }


def idle(name):
    return limit(name, rates=rates(), totals=rates(), active_keys=None, use=None, spark=None)


def limits(*rows):
    rows = rows or (limit(), limit("shop.path_/api", rates=rates(20, 0), use=0.2), idle("shop.plan"))
    return {"version": 1, "time": 1_800_000_000.5, "total": len(rows), "limits": list(rows)}


def counts(hits, denied):
    return {"hits": hits, "denied": denied}


def key(name="user=alice", hits=120, denied=20, **more):
    return {
        "key": name,
        "descriptor": name,
        "minute": counts(hits, denied),
        "ten_minutes": counts(hits * 5, denied * 5),
        "hour": counts(hits * 20, denied * 20),
        "error": 0,
        "used": 100,
        "remaining": 0,
        "reset_after": 41.0,
        "seen": 1_800_000_000,
        **more,
    }


def denial(name="user=alice", **more):
    return {
        "time": 1_800_000_000, "id": "x", "limit": "shop.user", "domain": "shop", "key": name, "descriptor": name,
        "cost": 1, "count": 3, "reset_after": 41.0, "used": 100, "shadow": False, "reason": "over_limit", **more,
    }  # fmt: skip


def detail(row=None, keys=None, denials=None):
    history = {"step": 10, "end": 1_800_000_000, **{name: [0] * 300 + [3] * 60 for name in rates()}}
    return {
        "version": 1,
        "time": 1_800_000_000.5,
        "limit": row or limit(),
        "history": history,
        "keys": [key(), key("user=bob", 7, 0, used=7, remaining=93)] if keys is None else keys,
        "keys_error": {"share": 0.008, "text": "..."},
        "denials": [denial()] if denials is None else denials,
    }


def decision(code="OVER_LIMIT", **more):
    descriptor = {
        "descriptor": "user=alice", "limit": "shop.user", "summary": "100 per minute", "remaining": 0,
        "reset_after": 41,
    }  # fmt: skip
    return {
        "time": 1_800_000_000.0, "code": code, "domain": "shop", "descriptors": [descriptor],
        "reason": None if code == "OK" else "over_limit", "limit": None if code == "OK" else "shop.user", **more,
    }  # fmt: skip
