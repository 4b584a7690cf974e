"""One gateway file for both twins, with the same limits for each algorithm, and the requests that are sent to it."""

import json
import random
import time

ALGORITHMS = ("fixed_window", "sliding_window", "sliding_window_counter", "token_bucket", "gcra", "leaky_bucket")
KEYS = {"premium": "key-of-premium", "standard": "key-of-standard"}
TRUSTED = ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"]
WINDOWS = {"hour": 3_600, "day": 86_400, "month": 2_592_000, "year": 31_536_000}
"""Seconds, aligned to the epoch."""
SECONDS_LEFT = 60


def unit():
    """A unit whose window does not end while the test runs."""
    now = time.time()
    return next(name for name, seconds in WINDOWS.items() if seconds - now % seconds > SECONDS_LEFT)


API_KEY = {"request_headers": {"header_name": "X-API-Key", "descriptor_key": "api_key", "skip_if_absent": True}}
CALLER = [API_KEY, {"remote_address": {}}]


def generic(key, value):
    return {"generic_key": {"descriptor_key": key, "descriptor_value": value}}


def routes(algorithm, span):
    """The routes of one algorithm, below /algorithm/."""
    of = generic("algorithm", algorithm)
    order, search = generic("operation", "order"), {"query_parameter_name": "q", "descriptor_key": "search"}
    beta = {"descriptor_value": "yes", "headers": [{"name": "x-beta", "string_match": {"prefix": "on"}}]}
    debug = {
        "descriptor_value": "yes",
        "descriptor_key": "debug",
        "query_parameters": [{"name": "debug", "string_match": {"exact": "1"}}],
    }

    def route(match, *limits):
        return {"match": match, "upstream": "app", "rate_limits": list(limits)}

    def limit(*actions, **more):
        return {"actions": [of, *actions], **more}

    base = f"/{algorithm}"
    return [
        route({"path": f"{base}/orders", "methods": ["POST", "PUT"]}, limit(order, *CALLER), limit(*CALLER)),
        route(
            {"prefix": f"{base}/search"}, limit(*CALLER), limit({"query_parameters": search}, hits_addend={"number": 5})
        ),
        route({"prefix": f"{base}/net"}, limit({"masked_remote_address": {"v4_prefix_mask_len": 24}})),
        route({"prefix": f"{base}/free"}),
        route(
            {"regex": f"{base}/v[0-9]+/.*"},
            limit({"request_headers": {"header_name": ":method", "descriptor_key": "method"}}),
            limit({"header_value_match": beta}),
            limit({"query_parameter_value_match": debug}),
        ),
        route(
            {"prefix": f"{base}/own"},
            limit(*CALLER, limit={"rate_limit": {"requests_per_unit": 3, "unit": span}}),
        ),
        route(
            {"prefix": f"{base}/", "hosts": ["tenant-*", "*.tenants.example"]},
            limit({"request_headers": {"header_name": ":authority", "descriptor_key": "tenant"}}),
        ),
        route(
            {"prefix": f"{base}/", "headers": [{"name": "x-canary", "present": True}]},
            limit({"source_cluster": {}}, {"destination_cluster": {}}),
        ),
        route({"prefix": f"{base}/peek"}, limit(*CALLER, hits_addend={"number": 0})),
        route({"prefix": f"{base}/refund"}, limit(*CALLER, hits_addend={"number": 2, "is_negative_hits": True})),
        route({"prefix": f"{base}/shadow"}, limit(generic("kind", "shadow")), limit(generic("kind", "free"))),
        route({"prefix": f"{base}/"}, limit(*CALLER)),
    ]


def limits(algorithm, span):
    """The policy of one algorithm."""

    def rate(quota, **more):
        return {"unit": span, "requests_per_unit": quota, "algorithm": algorithm, **more}

    def leaf(key, quota, value=None, **more):
        return {"key": key, **({"value": value} if value else {}), "rate_limit": rate(quota, **more)}

    callers = [
        leaf("api_key", 9, "premium"),
        leaf("api_key", 6, "standard"),
        leaf("remote_address", 4, name="by-address"),
    ]
    several = {"key": "tenant", "rate_limits": [rate(7, name="wide"), rate(3, name="narrow")]}
    return {
        "key": "algorithm",
        "value": algorithm,
        "descriptors": [
            *callers,
            {
                "key": "operation",
                "value": "order",
                "descriptors": [leaf("api_key", 3, "premium"), leaf("remote_address", 2)],
            },
            leaf("search", 12),
            leaf("masked_remote_address", 5),
            leaf("method", 8),
            leaf("header_match", 3, "yes"),
            leaf("debug", 2, "yes"),
            several,
            {"key": "source_cluster", "descriptors": [leaf("destination_cluster", 3)]},
            {**leaf("kind", 2, "shadow"), "shadow_mode": True},
            {"key": "kind", "value": "free", "rate_limit": {"unlimited": True}},
        ],
    }


def write(folder, upstream, *, all_or_nothing):
    """Write gateway.yaml and the policy.yaml that it names; returns their paths."""
    span = unit()
    policy = {
        "domain": "twin",
        "default_algorithm": "token_bucket",
        "all_or_nothing": all_or_nothing,
        "identity": {
            "key": "api_key",
            "otherwise": "remote_address",
            "tiers": {tier: [key] for tier, key in KEYS.items()},
        },
        "descriptors": [limits(algorithm, span) for algorithm in ALGORITHMS],
    }
    gateway = {
        "listen": "127.0.0.1:0",
        "name": "edge",
        "upstreams": {"app": {"url": f"http://{upstream}"}},
        "trusted_proxies": TRUSTED,
        "routes": [route for algorithm in ALGORITHMS for route in routes(algorithm, span)],
        "policies": "policy.yaml",
    }
    return written(folder, gateway, policy)


def written(folder, gateway, policy):
    """Write a gateway file and its policy; returns their paths."""
    for name, content in (("policy.yaml", policy), ("gateway.yaml", gateway)):
        (folder / name).write_text(json.dumps(content))
    return folder / "gateway.yaml", folder / "policy.yaml"


FAILURES = ("error", "allow", "deny", "local")


def write_failures(folder, upstream):
    """Write a limit for each thing that one does while its store is away, below /<what it does>/."""
    rate = {"unit": unit(), "requests_per_unit": 2, "algorithm": "token_bucket"}
    limits = [{"key": "on", "value": each, "on_store_failure": each, "rate_limit": rate} for each in FAILURES]
    routes = [{"match": {"path": f"/{each}"}, "rate_limits": [{"actions": [generic("on", each)]}]} for each in FAILURES]
    both = [{"actions": [generic("on", each)]} for each in ("allow", "deny")]
    gateway = {
        "listen": "127.0.0.1:0",
        "upstreams": {"app": {"url": f"http://{upstream}"}},
        "routes": [*routes, {"match": {"path": "/both"}, "rate_limits": both}],
        "policies": "policy.yaml",
    }
    return written(folder, gateway, {"domain": "twin", "descriptors": limits})


def requests(algorithm):
    """What is sent to each twin in turn: (method, target, headers, address to send from)."""
    made = [
        (method, f"/{algorithm}{target}", headers, sender)
        for method, target, headers, sender in (*_callers(), *_ways(), *_paths(), *_kinds(), *_elsewhere())
    ]
    random.Random(algorithm).shuffle(made)
    return made


TRUSTED_PEER, STRANGER = "127.0.0.1", "127.0.0.2"


def _key(key):
    return [("X-API-Key", key)]


def _from(*forwarded):
    return [("X-Forwarded-For", each) for each in forwarded]


def _callers():
    """Keys of two tiers until they are limited, invented ones, an empty one, and none."""
    for tier, count in (("premium", 12), ("standard", 8)):
        yield from (("GET", "/items", _key(KEYS[tier]), TRUSTED_PEER) for _ in range(count))
    yield from (("GET", "/items", _key(f"invented-{number}"), TRUSTED_PEER) for number in range(6))
    yield from (("GET", "/items", headers, STRANGER) for headers in (_key(""), [], [], _key("x" * 300)))


def _ways():
    """Addresses behind trusted proxies, and what a stranger says of them."""
    yield from (("GET", "/a", _from("192.0.2.1"), TRUSTED_PEER) for _ in range(6))
    for forwarded in (
        ["192.0.2.9, 192.0.2.2"], ["192.0.2.2", "10.0.0.7"], ["192.0.2.2, 10.1.1.1, 10.2.2.2"], ["10.0.0.1, 10.0.0.2"],
        ["10.0.0.1"], ["192.0.2.2 , nonsense"], ["nonsense"], ["2001:db8::1"], ["2001:DB8:0:0::2"],
        ["2001:db8:0:1::1, fd00::1"], ["192.0.2.2,10.0.0.9"], ["  192.0.2.2  "], ["999.1.1.1"], ["192.0.2.02"],
    ):  # fmt: skip
        yield "GET", "/b", _from(*forwarded), TRUSTED_PEER
    yield from (("GET", "/a", _from("192.0.2.1"), STRANGER) for _ in range(2))
    yield "GET", "/a", _from("192.0.2.77"), STRANGER
    yield from (("GET", "/net/x", _from(f"198.51.100.{last}"), TRUSTED_PEER) for last in range(7))


def _paths():
    """One path in all the ways to write it, and those that are refused."""
    for path in (
        "/free/../orders", "//orders", "/./orders", "/%6frders", "/a/b/../../orders", "/orders/", "/orders%2F",
        "/orders%5c", "/%2e%2e/token", "/orders?x=1", "/Orders", "/orders;v=1", "/a%20b", "/../../etc",
        "/or%64ers?x=/../",
    ):  # fmt: skip
        yield "POST", path, _from("203.0.113.5"), TRUSTED_PEER
    yield from (("GET", f"/free/{number}", [], STRANGER) for number in range(3))


def _kinds():
    """Methods, queries, headers, hosts: present or absent."""
    for method in ("POST", "PUT", "GET", "DELETE"):
        yield from ((method, "/orders", _from("203.0.113.6"), TRUSTED_PEER) for _ in range(2))
    yield from (("POST", "/orders", _key(KEYS["premium"]), TRUSTED_PEER) for _ in range(3))
    for query in ("?q=a", "?q=a", "?q=%61&r=b", "?q=b", "?q=", "?p=a", "", "?Q=a", "?q=a%20b", "?q=a+b"):
        yield "GET", f"/search{query}", _from("203.0.113.7"), TRUSTED_PEER
    for method in ("GET", "HEAD", "OPTIONS", "PATCH"):
        yield from ((method, "/v1/x", [], TRUSTED_PEER) for _ in range(3))
    for headers in (
        [("X-Beta", "on")],
        [("x-beta", "on-2")],
        [("x-beta", "off")],
    ):
        yield "GET", "/v2/x", headers, TRUSTED_PEER
    yield from (
        ("GET", f"/v3/x{query}", [], TRUSTED_PEER) for query in ("?debug=1", "?debug=1&debu=0", "?debug=0", "?debug")
    )
    yield from (("GET", "/own", _key(KEYS["standard"]), TRUSTED_PEER) for _ in range(4))


def _elsewhere():
    """Hosts, canaries, shadows, looks and refunds, and what no route takes."""
    for host in (
        "tenant-a",
        "TENANT-A:8080",
        "a.tenants.example",
        "tenant-",
        "b.tenants.example:81",
        "tenants.example",
        "tenant-a",
        "tenant-a",
        "tenant-a",
    ):
        yield "GET", "/any", [("Host", host), *_from("203.0.113.8")], TRUSTED_PEER
    yield from (("GET", "/any", [("X-Canary", "")], TRUSTED_PEER) for _ in range(4))
    yield from (("GET", "/shadow", [], TRUSTED_PEER) for _ in range(4))
    yield from (("GET", "/peek", _from("203.0.113.9"), TRUSTED_PEER) for _ in range(2))
    yield from (("GET", "/any", _from("203.0.113.9"), TRUSTED_PEER) for _ in range(5))
    yield from (("GET", "/refund", _from("203.0.113.9"), TRUSTED_PEER) for _ in range(2))
    yield "GET", "", [], TRUSTED_PEER
    yield "GET", "x/y", [], TRUSTED_PEER
