"""Documents of the live view, plausible and the same in each run: a shop whose evening brings a scraper."""

import hashlib
import math
import random

NOW = 1_796_061_600.0  # 2026-11-30 18:00:00 UTC
STEP = 10
STEPS = 360
LOOK = "curl -si localhost:8080/api/hello -H 'X-API-Key: api-key:premium'"

# name, domain, path, item, requests, unit, algorithm, burst, mode, hits a second, share denied, use, keys
ROWS = (
    ("shop.remote_address", "shop", ["remote_address"], "", 5, "second", "token_bucket", 10, "enforced", 412.0, 0.31, 1.0, 1840),
    ("shop.user.path_/checkout", "shop", ["user", "path_/checkout"], "", 10, "minute", "sliding_window", 10, "enforced", 6.4, 0.12, 1.0, 213),
    ("shop.api_key.tier_standard", "shop", ["api_key", "tier_standard"], "", 600, "minute", "token_bucket", 40, "enforced", 188.0, 0.04, 1.0, 96),
    ("shop.user.limit_daily", "shop", ["user"], "daily", 5000, "day", "fixed_window", 5000, "enforced", 96.0, 0.0, 0.86, 2911),
    ("shop.user", "shop", ["user"], "", 100, "minute", "gcra", 20, "enforced", 96.0, 0.002, 0.97, 2911),
    ("llm.tenant.model_large", "llm", ["tenant", "model_large"], "", 200_000, "minute", "token_bucket", 200_000, "enforced", 12_430.0, 0.018, 0.93, 34),
    ("llm.tenant.model_small", "llm", ["tenant", "model_small"], "", 1_000_000, "minute", "token_bucket", 1_000_000, "enforced", 3_210.0, 0.0, 0.41, 34),
    ("llm.tenant.concurrent", "llm", ["tenant"], "concurrent", 8, "minute", "fixed_window", 8, "enforced", 21.0, 0.0, 0.62, 34),
    ("shop.search", "shop", ["search"], "", 50, "second", "sliding_window_counter", 50, "shadow", 44.0, 0.09, 1.0, 1),
    ("partners.partner.webhook", "partners", ["partner", "webhook"], "", 30, "second", "leaky_bucket", 30, "quota", 8.2, 0.0, 0.27, 12),
    ("shop.login.remote_address", "shop", ["login", "remote_address"], "", 5, "minute", "sliding_window", 5, "enforced", 0.7, 0.23, 1.0, 61),
    ("partners.partner.batch", "partners", ["partner", "batch"], "", 20, "hour", "fixed_window", 20, "enforced", 0.0, 0.0, None, None),
)  # fmt: skip


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
        "id": limit_id(name), "name": name, "domain": domain, "path": path, "limit": item,
        "summary": f"{requests} per {unit}", "requests_per_unit": requests, "unit": unit, "unit_multiplier": 1,
        "window_seconds": float(per), "burst": burst, "algorithm": algorithm, "mode": mode, "on_store_failure": "local",
        "unlimited": False, "where": {"file": "policy.yaml", "line": 12 + 7 * seed}, "gone": False,
        "rates": {each: hour[each][-1] / STEP for each in names}, "totals": {each: sum(hour[each]) * 5 for each in names},
        "active_keys": keys, "use": use, "spark": {"step": 60, **minutes} if rate else None,
    }  # fmt: skip


def rows(count=0):
    """The rows of the shop, and so many further ones."""
    made = [row(values, seed) for seed, values in enumerate(ROWS, 1)]
    for n in range(count - len(made)):
        values = (f"tenants.tenant_{n:05d}", "tenants", [f"tenant_{n:05d}"], "", 10 + n, "second", "token_bucket", 10 + n,
                  "enforced", float(n % 7), 0.1, 0.5, 3)  # fmt: skip
        made.append({**made[0], **bare(values)})
    return made


def bare(values):
    name, domain, path, item, requests, unit, algorithm, burst, mode, *_ = values
    return {
        "id": limit_id(name), "name": name, "domain": domain, "path": path, "limit": item, "algorithm": algorithm,
        "summary": f"{requests} per {unit}", "requests_per_unit": requests, "burst": burst, "mode": mode, "spark": None,
    }  # fmt: skip


def all_hits():
    series = [history(values[9], values[10], values[8] == "shadow", seed, seed == 3) for seed, values in enumerate(ROWS, 1)]
    small = [each for each, values in zip(series, ROWS, strict=True) if values[9] < 1000]
    return {name: [sum(column) for column in zip(*(each[name] for each in small))] for name in series[0]}


NAMED = ("=search", "=login", "=large", "=/checkout")

KEYS = (
    ("remote_address=203.0.113.77", 5120, 4980, 10, 0), ("remote_address=198.51.100.4", 611, 44, 10, 0),
    ("remote_address=2001:db8::42", 388, 0, 7, 3), ("remote_address=192.0.2.90", 240, 0, 4, 6),
    ("remote_address=192.0.2.17", 131, 0, 2, 8), ("remote_address=203.0.113.5", 96, 0, 1, 9),
)  # fmt: skip


def hashed(text):
    """As without the token; a value that the policy names stays."""
    return ",".join([each if each.endswith(NAMED) else _hashed(*each.split("=", 1)) for each in text.split(",")])


def _hashed(key, value):
    return f"{key}=#{hashlib.blake2b(value.encode(), digest_size=5).hexdigest()}"


def keys(plain, found=KEYS):
    return [
        {"key": text if plain else hashed(text), "descriptor": text if plain else None, "shared": False,
         "minute": {"hits": hits, "denied": denied}, "ten_minutes": {"hits": hits * 7, "denied": denied * 5},
         "hour": {"hits": hits * 24, "denied": denied * 9}, "error": 0 if at < 3 else 12, "used": used, "remaining": left,
         "reset_after": round(used / 5, 1), "seen": NOW - at}
        for at, (text, hits, denied, used, left) in enumerate(found)
    ]  # fmt: skip


DENIED = (
    (0.6, 0, "remote_address=203.0.113.77", 83, 2.0, 10, False, "over_limit", 1),
    (1.6, 0, "remote_address=203.0.113.77", 85, 1.0, 10, False, "over_limit", 1),
    (2.1, 2, "api_key=standard·7f02b1", 6, 3.4, 40, False, "over_limit", 1),
    (3.4, 1, "user=mallory,path=/checkout", 2, 41.0, 10, False, "over_limit", 1),
    (4.0, 8, "route=search", 4, 1.0, 50, True, "over_limit", 1),
    (5.2, 5, "tenant=acme,model=large", 1, 26.0, 199_870, False, "over_limit", 4096),
    (9.8, 10, "route=login,remote_address=198.51.100.4", 1, 48.5, 5, False, "over_limit", 1),
    (31.5, 4, "user=bob", 1, 0.6, 20, False, "over_limit", 1),
    (74.0, 0, "remote_address=192.0.2.201", 1, 2.0, None, False, "new_keys", 1),
    (212.0, 10, "route=login,remote_address=192.0.2.8", 3, 55.0, 5, False, "over_limit", 1),
)


def denials(plain, found=DENIED):
    return [
        {"time": NOW - ago, "serial": 1000 - at, "id": limit_id(ROWS[limit][0]), "limit": ROWS[limit][0], "domain": ROWS[limit][1],
         "key": key if plain else hashed(key), "descriptor": key if plain else None, "cost": cost, "count": count,
         "summary": f"{ROWS[limit][4]} per {ROWS[limit][5]}", "reset_after": reset, "used": used, "shadow": shadow, "reason": reason}
        for at, (ago, limit, key, count, reset, used, shadow, reason, cost) in enumerate(found)
    ]  # fmt: skip


def overview(plain):
    hits = all_hits()
    return {
        "version": 1, "time": NOW,
        "replica": {"id": "c3a91f04", "name": "ratelimitd-7d4f-x2x9k", "started": int(NOW) - 93_784, "software": "0.1.0", "build": "compiled"},
        "authorized": plain, "keys": "shown" if plain else "hashed",
        "rates": {name: values[-1] / STEP for name, values in hits.items()},
        "decisions": {"ok": 612.4, "over_limit": 141.2, "failed": 0.0},
        "totals": {name: sum(values) * 26 for name, values in hits.items()},
        "last": {"end": int(NOW), **{name: values[-1] for name, values in hits.items()}},
        "store": {"kind": "redis", "where": "redis at redis.shop.svc:6379", "state": "ok", "text": "", "breaker": "closed",
                  "keys": None, "bytes": None, "max_bytes": None},
        "policy": {"generation": 4, "version": "9c1185a5c5e9fc54612808977ee8f548b2258d31a4a8f7f1", "source": "/etc/ratelimitd/policy.yaml", "files": 1,
                   "domains": 3, "limits": len(ROWS), "loaded": NOW - 3_120, "warnings": [], "refused": [], "overlay": None, "control_plane": None},
        "health": {"healthy": True, "ready": True, "failing": [], "notes": []},
        "live": {"max_bytes": 8_388_608, "bytes": 412_870, "limits": 11, "keys": 402, "gap": 4},
        "example": LOOK,
    }  # fmt: skip


def what_if(found, query):
    hour = history(412.0, 0.31)
    requests = int(query.get("requests_per_unit", found["requests_per_unit"]))
    algorithm = query.get("algorithm", found["algorithm"])
    kept = [int(n * max(0.0, 1 - 0.35 * (requests / found["requests_per_unit"] - 1))) for n in hour["denied"]]
    moved = [n + old - new for n, old, new in zip(hour["allowed"], hour["denied"], kept, strict=True)]
    return {
        "version": 1, "time": NOW, "limit": found, "step": STEP, "end": int(NOW), "keys": 17, "exact": False,
        "configured": {"summary": found["summary"], "algorithm": found["algorithm"], "allowed": hour["allowed"], "denied": hour["denied"]},
        "changed": {"summary": f"{requests} per {query.get('unit', found['unit'])}", "algorithm": algorithm, "allowed": moved, "denied": kept},
        "note": "the hits of a step are spread evenly over it, and keys that are not listed are taken as one",
    }  # fmt: skip


REPLICAS = (
    ("c3a91f04", "ratelimitd-7d4f-x2x9k", "10.4.1.17:6071", True, "ok", "", 612.0, "9c1185a5c5e9fc54"),
    ("1f77ab20", "ratelimitd-7d4f-l8s2q", "10.4.2.9:6071", False, "ok", "", 598.5, "9c1185a5c5e9fc54"),
    ("", "", "10.4.3.30:6071", False, "timeout", "no answer within 2 s", None, None),
)


def replicas(configured=True):
    return {"version": 1, "time": NOW, "configured": configured, "replicas": [
        {"id": each, "name": name, "address": address, "self": this, "state": how, "error": error, "policy_version": version,
         "rates": None if rate is None else {"allowed": rate, "denied": rate / 5, "shadowed": 0.0, "failed": 0.0}}
        for each, name, address, this, how, error, rate, version in REPLICAS if configured
    ]}  # fmt: skip
