"""Documents of the live view, plausible and the same in each run: a shop whose evening brings a scraper."""

import hashlib
import json
import math
import random
from pathlib import Path

NOW = 1_796_061_600.0  # 2026-11-30 18:00:00 UTC
STEP = 10
STEPS = 360
LOOK = "curl -si localhost:8080/api/hello -H 'X-API-Key: api-key:premium'"

SHOP = json.loads((Path(__file__).parent / "shop.json").read_text())
ROWS = SHOP["limits"]  # ... requests, unit, algorithm, burst, mode, hits a second, share denied, use, keys
KEYS = SHOP["keys"]  # descriptor, hits and denied in the minute, used, remaining
DENIED = SHOP["denials"]  # seconds ago, limit, descriptor, count, reset, used, shadow, reason, cost
REPLICAS = SHOP["replicas"]  # id, name, address, self, state, error, hits a second, version of the policy


def limit_id(name):
    return f"{sum(ord(c) * 31**i for i, c in enumerate(name)) % 16**16:016x}"


def history(rate, share, shadow=False, seed=1, store_failed=False):
    """An hour of steps: a day's swing, noise, and a scraper in its last third."""
    chance = random.Random(seed)
    series = {"allowed": [], "denied": [], "shadowed": [], "failed": []}
    for i in range(STEPS):
        swing = 0.72 + 0.2 * math.sin(i / 57.0) + 0.1 * math.sin(i / 11.0) + chance.uniform(-0.06, 0.06)
        flood = 1.0 if 236 < i < 262 else 0.75 if i > 318 else 0.12
        hits = rate * STEP * swing
        over = int(hits * share * flood * chance.uniform(0.7, 1.25))
        broken = int(hits * 0.35) if store_failed and 120 <= i < 124 else 0
        series["allowed"].append(max(0, int(hits) - over - broken))
        series["denied"].append(0 if shadow else over)
        series["shadowed"].append(over if shadow else 0)
        series["failed"].append(broken)
    return series


def row(values, seed=1):
    name, domain, path, item, requests, unit, algorithm, burst, mode, rate, share, use, keys = values
    hour = history(rate, share, mode == "shadow", seed)
    names = ("allowed", "denied", "shadowed", "failed")
    per = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}[unit]
    minutes = {each: [sum(hour[each][at : at + 6]) for at in range(0, STEPS, 6)] for each in ("allowed", "denied")}
    return {
        "id": limit_id(name),
        "name": name,
        "domain": domain,
        "path": path,
        "limit": item,
        "summary": f"{requests} per {unit}",
        "requests_per_unit": requests,
        "unit": unit,
        "unit_multiplier": 1,
        "window_seconds": float(per),
        "burst": burst,
        "algorithm": algorithm,
        "mode": mode,
        "on_store_failure": "local",
        "unlimited": False,
        "where": {"file": "policy.yaml", "line": 12 + 7 * seed},
        "gone": False,
        "rates": {each: hour[each][-1] / STEP for each in names},
        "totals": {each: sum(hour[each]) * 5 for each in names},
        "active_keys": keys,
        "use": use,
        "spark": {"step": 60, **minutes} if rate else None,
    }


def rows(count=0):
    """The rows of the shop, and so many further ones."""
    made = [row(values, seed) for seed, values in enumerate(ROWS, 1)]
    for n in range(count - len(made)):
        values = (
            f"tenants.tenant_{n:05d}",
            "tenants",
            [f"tenant_{n:05d}"],
            "",
            10 + n,
            "second",
            "token_bucket",
            10 + n,
            "enforced",
            float(n % 7),
            0.1,
            0.5,
            3,
        )
        made.append({**made[0], **bare(values)})
    return made


def bare(values):
    name, domain, path, item, requests, unit, algorithm, burst, mode, *_ = values
    return {
        "id": limit_id(name),
        "name": name,
        "domain": domain,
        "path": path,
        "limit": item,
        "algorithm": algorithm,
        "summary": f"{requests} per {unit}",
        "requests_per_unit": requests,
        "burst": burst,
        "mode": mode,
        "spark": None,
    }


def all_hits():
    series = [
        history(values[9], values[10], values[8] == "shadow", seed, seed == 3) for seed, values in enumerate(ROWS, 1)
    ]
    small = [each for each, values in zip(series, ROWS, strict=True) if values[9] < 1000]
    return {name: [sum(column) for column in zip(*(each[name] for each in small))] for name in series[0]}


NAMED = ("=search", "=login", "=large", "=/checkout")


def hashed(text):
    """As without the token; a value that the policy names stays."""
    return ",".join([each if each.endswith(NAMED) else _hashed(*each.split("=", 1)) for each in text.split(",")])


def _hashed(key, value):
    return f"{key}=#{hashlib.blake2b(value.encode(), digest_size=5).hexdigest()}"


def keys(plain, found=KEYS):
    return [
        {
            "key": text if plain else hashed(text),
            "descriptor": text if plain else None,
            "shared": False,
            "minute": {"hits": hits, "denied": denied},
            "ten_minutes": {"hits": hits * 7, "denied": denied * 5},
            "hour": {"hits": hits * 24, "denied": denied * 9},
            "error": 0 if at < 3 else 12,
            "used": used,
            "remaining": left,
            "reset_after": round(used / 5, 1),
            "seen": NOW - at,
        }
        for at, (text, hits, denied, used, left) in enumerate(found)
    ]


def denials(plain, found=DENIED):
    return [
        {
            "time": NOW - ago,
            "serial": 1000 - at,
            "id": limit_id(ROWS[limit][0]),
            "limit": ROWS[limit][0],
            "domain": ROWS[limit][1],
            "key": key if plain else hashed(key),
            "descriptor": key if plain else None,
            "cost": cost,
            "count": count,
            "summary": f"{ROWS[limit][4]} per {ROWS[limit][5]}",
            "burst": None if ROWS[limit][7] == ROWS[limit][4] else ROWS[limit][7],
            "reset_after": reset,
            "used": used,
            "shadow": shadow,
            "reason": reason,
        }
        for at, (ago, limit, key, count, reset, used, shadow, reason, cost) in enumerate(found)
    ]


def overview(plain):
    hits = all_hits()
    return {
        "version": 1,
        "time": NOW,
        "replica": {
            "id": "c3a91f04",
            "name": "ratelimitd-7d4f-x2x9k",
            "started": int(NOW) - 93_784,
            "software": "0.9.0",
            "build": "compiled",
        },
        "authorized": plain,
        "token": True,
        "keys": "shown" if plain else "hashed",
        "rates": {name: values[-1] / STEP for name, values in hits.items()},
        "decisions": {"ok": 612.4, "over_limit": 141.2, "failed": 0.0},
        "totals": {name: sum(values) * 26 for name, values in hits.items()},
        "last": {"end": int(NOW), **{name: values[-1] for name, values in hits.items()}},
        "store": {
            "kind": "redis",
            "where": "redis at redis.shop.svc:6379",
            "state": "ok",
            "text": "",
            "breaker": "closed",
            "keys": None,
            "bytes": None,
            "max_bytes": None,
        },
        "policy": {
            "generation": 4,
            "version": "9c1185a5c5e9fc54612808977ee8f548b2258d31a4a8f7f1",
            "source": "/etc/ratelimitd/policy.yaml",
            "files": 1,
            "domains": 3,
            "limits": len(ROWS),
            "loaded": NOW - 3_120,
            "warnings": [],
            "refused": [],
            "overlay": None,
            "control_plane": None,
        },
        "health": {"healthy": True, "ready": True, "failing": [], "notes": []},
        "live": {"max_bytes": 8_388_608, "bytes": 412_870, "limits": 11, "keys": 402, "gap": 4},
        "example": LOOK,
    }


def what_if(found, query):
    hour = history(412.0, 0.31)
    requests = int(query.get("requests_per_unit", found["requests_per_unit"]))
    algorithm = query.get("algorithm", found["algorithm"])
    kept = [int(n * max(0.0, 1 - 0.35 * (requests / found["requests_per_unit"] - 1))) for n in hour["denied"]]
    moved = [n + old - new for n, old, new in zip(hour["allowed"], hour["denied"], kept, strict=True)]
    return {
        "version": 1,
        "time": NOW,
        "limit": found,
        "step": STEP,
        "end": int(NOW),
        "keys": 17,
        "exact": False,
        "configured": {
            "summary": found["summary"],
            "algorithm": found["algorithm"],
            "allowed": hour["allowed"],
            "denied": hour["denied"],
        },
        "changed": {
            "summary": f"{requests} per {query.get('unit', found['unit'])}",
            "algorithm": algorithm,
            "allowed": moved,
            "denied": kept,
        },
        "note": "the hits of a step are spread evenly over it, and keys that are not listed are taken as one",
    }


def replicas(configured=True):
    return {
        "version": 1,
        "time": NOW,
        "configured": configured,
        "replicas": [
            {
                "id": each,
                "name": name,
                "address": address,
                "self": this,
                "state": how,
                "error": error,
                "policy_version": version,
                "rates": None
                if rate is None
                else {"allowed": rate, "denied": rate / 5, "shadowed": 0.0, "failed": 0.0},
            }
            for each, name, address, this, how, error, rate, version in REPLICAS
            if configured
        ],
    }
