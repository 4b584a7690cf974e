"""Ways: what equal requests share, and what they never do."""

import gc
import tracemalloc
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimitd.gateway.actions import DescriptorInput
from ratelimitd.gateway.client_address import trust
from ratelimitd.gateway.matching import JOINED
from ratelimitd.gateway.paths import target
from ratelimitd.gateway.proxy import Proxy
from ratelimitd.gateway.routing import Asked, Router
from ratelimitd.gateway.snapshot import Snapshot
from ratelimitd.gateway.spellings import plain_host
from ratelimitd.gateway.ways import KEPT, LIMIT_BYTES, MAX_KEY_BYTES, WAY_BYTES, WAYS_BYTES, Ways
from ratelimitd.http1 import this_hop, to_upstream
from ratelimitd.http1.model import Framed, Peer, Request, Summary
from ratelimitd.limiter import Engine, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore
from testkit.builds import interpreted_only

from .files import gateway, limits, request_of

POLICY = b"""\
domain: d
descriptors:
  - {key: remote_address, rate_limit: {unit: hour, requests_per_unit: 1000}}
  - {key: key, rate_limit: {unit: hour, requests_per_unit: 1000}}
  - {key: k, rate_limit: {unit: hour, requests_per_unit: 1000}}
"""

TWO = b"""\
domain: d
descriptors:
  - key: k
    rate_limits: [{unit: hour, requests_per_unit: 9}, {name: n, unit: day, requests_per_unit: 9}]
"""


def by(name):
    return {"request_headers": {"header_name": name, "descriptor_key": "k"}}


ACTIONS = [
    *(by(name) for name in ("X-API-Key", ":path", ":method", ":authority", ":scheme", "host", "X-Tenant", "Accept")),
    {"query_parameters": {"query_parameter_name": "a", "descriptor_key": "k"}},
    {"query_parameter_value_match": {"descriptor_value": "v", "query_parameters": [{"name": "b"}]}},
    {"header_value_match": {"descriptor_value": "v", "headers": [{"name": "X-Plan", "string_match": {"exact": "p"}}]}},
    {"header_value_match": {"descriptor_value": "v", "headers": [{"name": ":path", "string_match": {"prefix": "/a"}}]}},
    {"masked_remote_address": {"v4_prefix_mask_len": 24}},
    {"destination_cluster": {}},
    {"generic_key": {"descriptor_value": "v"}},
]
MATCHES = [
    {"prefix": "/a"},
    {"methods": ["POST"]},
    {"hosts": ["a.org"]},
    {"headers": [{"name": "X-Tenant", "exact": "t"}]},
    {"headers": [{"name": ":path", "contains": "b"}]},
    {},
]


def limits_of(actions):
    """The limits of a route: none, or one by address beside others."""
    return [limits(action) for action in (*actions, "remote_address")] if actions else []


GATEWAYS = st.lists(
    st.tuples(st.sampled_from(MATCHES), st.lists(st.sampled_from(ACTIONS), max_size=4)), min_size=1, max_size=3
).map(lambda routes: gateway(*({"match": match, "rate_limits": limits_of(actions)} for match, actions in routes)))
HEADERS = [
    *((name, value) for name in ("X-API-Key", "X-Tenant", "X-Plan", "Accept") for value in ("t", "p")),
    ("X-Forwarded-For", "198.51.100.6"),
    ("X-Forwarded-Host", "b.org"),
    ("Forwarded", "for=198.51.100.7"),
    ("Cookie", "c"),
]


PARTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from([b"GET", b"POST"]),
        "path": st.sampled_from([b"/a", b"/b", b"/a/b"]),
        "query": st.sampled_from([b"", b"a=1", b"a=2&b"]),
        "version": st.sampled_from([b"1.1", b"1.0"]),
        "headers": st.lists(st.sampled_from(HEADERS), max_size=4),
        "client": st.sampled_from(["198.51.100.7", "198.51.100.8"]),
        "host": st.sampled_from([b"a.org", b"A.org:80", b"b.org"]),
        "address": st.sampled_from(["10.0.0.1", "10.0.0.2", "192.0.2.1"]),
        "port": st.sampled_from([1, 2]),
        "scheme": st.sampled_from(["http", "https"]),
    }
)
"""The parts of a request, of few possible values each, so that two are often equal where it matters."""


def made_of(parts):
    """The request of these parts."""
    lines = [(name.encode(), value.encode()) for name, value in parts["headers"]]
    lines.append((b"X-Forwarded-For", parts["client"].encode()))
    names, path = [name.lower() for name, _ in lines], parts["path"]
    head = Framed(parts["method"], parts["version"], path, names, lines)
    head.query, head.authority = parts["query"], parts["host"]
    return Request(head, Peer(parts["address"], parts["port"]), parts["scheme"])


@st.composite
def requests(draw, most=12):
    """Requests that differ from one of them in a part at most, in their order."""
    first, other = draw(PARTS), draw(PARTS)
    parts = draw(st.lists(st.sampled_from([None, *first]), min_size=2, max_size=most))
    return [made_of(first if part is None else {**first, part: other[part]}) for part in parts]


def of_all(request, address, upstream):
    """The input of a route's limits, made of the whole request."""
    found = {}
    for name, value in request.headers:
        found.setdefault(name.lower(), []).append(value)
    found = {name: [b",".join(values)] if name in JOINED else values for name, values in found.items()}
    where = target(request.path, request.query or None)
    host = [plain_host(request.authority)]
    more = {b":path": [where.full], b":method": [request.method], b":scheme": [request.scheme.encode()]}
    return DescriptorInput({**found, **more, b":authority": host, b"host": host}, request.query, address, upstream)


@given(GATEWAYS, PARTS, st.sampled_from(["192.0.2.1", "198.51.100.7", ""]))
def test_what_is_read_of_a_request_holds_all_that_its_limits_need(made, parts, address):
    """Descriptors of what is read are those of the whole request."""
    request = made_of(parts)
    router, where = Router(made), target(request.path, request.query or None)
    asked = router.asked(request, where, address)
    routed = router.find(where.path, asked)
    if routed is not None:
        assert routed.descriptors(asked) == routed.describe(of_all(request, address, routed.route.upstream))


@given(GATEWAYS, requests(most=2))
@settings(max_examples=300)
def test_equal_requests_are_equal_in_all_that_a_way_has(made, some):
    """Descriptors and hop headers, each made for either request alone."""
    one, two = some
    router = Router(made)
    places = [target(each.path, each.query or None) for each in (one, two)]
    asked = [router.asked(each, at, each.peer.address) for each, at in zip((one, two), places)]
    routed = [router.find(at.path, each) for each, at in zip(asked, places)]
    if asked[0] != asked[1] or routed[0] is not routed[1] or routed[0] is None:
        return
    upstream = routed[0].route.upstream
    first, second = (routed[0].describe(of_all(each, each.peer.address, upstream)) for each in (one, two))
    assert first == second
    assert this_hop(one) == this_hop(two)


class Exchange:
    """Keeps what goes to the upstream."""

    over = False

    def respond(self, status, headers, body=b""):
        self.sent = status

    def forward(self, upstream, headers, **_):
        self.sent = headers


class Noting(MemoryStore):
    """Keeps the charges of the last ask."""

    asked = None

    def charge(self, asks, now, done):
        self.asked = [(charge.key, charge.flags, cost) for charge, cost in zip(asks[0].plan.charges, asks[0].costs)]
        super().charge(asks, now, done)


def planner_of(policy=POLICY):
    return Planner(parse([("p.yaml", policy)]), key_maker(b"", safe=True), Tallies(), PlanOptions())


def snapshot_of(made):
    return Snapshot(made, Router(made), {"app": None}, trust(["10.0.0.0/8"]), b"d", frozenset())


def handled(proxy, store, request):
    """Everything that becomes of a request."""
    store.asked, exchange = None, Exchange()
    proxy.handle(request, exchange)
    exchange.on_done(Summary(200, 0, 0, 0, 0, 1, None, False, ""))
    sent = exchange.sent
    if isinstance(sent, bytes):
        sent = [line for line in sent.split(b"\r\n") if not line.startswith(b"X-Request-Id")]
    return sent, store.asked


@interpreted_only
@given(GATEWAYS, requests())
@settings(max_examples=100)
def test_requests_that_share_ways_get_what_they_would_get_alone(made, some):
    """Charges, headers to the upstream and log are those of a proxy that handles no other request before."""
    some = some * 3  # ways are kept at second sight
    stores, records = (Noting(), Noting()), ([], [])
    engines = [Engine(store, Counters()) for store in stores]
    proxies = [Proxy(engines[at], 15_000, lambda: 1.0, records[at].append) for at in range(2)]
    for engine in engines:
        engine.planner = planner_of()
    proxies[0].snapshot = snapshot_of(made)
    for request in some:
        proxies[1].snapshot = snapshot_of(made)
        shared, alone = (handled(proxy, store, request) for proxy, store in zip(proxies, stores))
        assert shared == alone
        shared, alone = (each[-1]._replace(request_id="") for each in records)
        assert shared == alone


def ways_of(*rate_limits):
    made = gateway({"rate_limits": list(rate_limits)})
    router = Router(made)
    return router, Ways(router)


def way_of(router, ways, planner=None, now=0, **request):
    request = request_of(**request)
    where = target(request.path, request.query or None)
    return ways.of(where.path, router.asked(request, where, request.peer.address), planner, now)


def test_a_way_is_kept_at_the_second_request():
    """Whatever the path; another caller has another one."""
    router, ways = ways_of(limits("remote_address"))
    assert way_of(router, ways) is not way_of(router, ways)
    assert way_of(router, ways, path="/other") is way_of(router, ways)
    assert way_of(router, ways, address="192.0.2.2") is not way_of(router, ways)
    assert len(ways) == 1


DIFFERENT = {
    "method": {"method": "POST"},
    "version": {"version": b"1.0"},
    "scheme": {"scheme": "https"},
    "authority": {"authority": "other.example"},
    "peer": {"peer": "10.0.0.1"},
    "address": {"address": "192.0.2.2"},
    "headers": {"headers": [("X-Api-Key", "other")]},
    "path": {"path": "/b"},
    "query": {"query": b"a=1"},
}


@pytest.mark.parametrize("field", Asked._fields)
def test_requests_that_differ_in_what_is_read_have_ways_of_their_own(field):
    """In each field alone."""
    parameter = {"query_parameters": {"query_parameter_name": "a", "descriptor_key": "k"}}
    router, ways = ways_of(limits("remote_address"), limits(by("X-API-Key")), limits(by(":path")), limits(parameter))

    def found(method="GET", peer="192.0.2.1", address="192.0.2.1", version=b"1.1", scheme="http", **more):
        request = request_of(method=method, address=peer, **more)
        request.version, request.scheme = version, scheme
        where = target(request.path, request.query or None)
        return ways.of(where.path, router.asked(request, where, address), None, 0)

    kept = [found() for _ in range(2)][1]
    assert found() is kept
    assert found(**DIFFERENT[field]) is not kept


def test_routes_of_one_name_have_ways_of_their_own():
    """A name is for metrics, and two routes may have it."""
    named = {"name": "r", "match": {"prefix": "/a"}, "rate_limits": [limits("remote_address")]}
    router = Router(gateway(named, {"name": "r"}))
    ways = Ways(router)
    found = [[way_of(router, ways, path=path).descriptors for path in ("/a", "/b")] for _ in range(3)]
    assert [list(map(len, each)) for each in found] == [[1, 0]] * 3


def test_ways_end_with_their_planner():
    """A policy that is no more active is not kept by them."""
    router, ways = ways_of(limits("remote_address"))
    old, new = planner_of(), planner_of()
    kept = [way_of(router, ways, old) for _ in range(2)][1]
    assert way_of(router, ways, old) is kept
    assert way_of(router, ways, new) is not kept
    assert len(ways) == 1


def test_keys_are_in_memory_for_a_minute_at_most():
    """API keys are a part of them, in clear."""
    router, ways = ways_of(limits(by("X-API-Key")))
    kept = [way_of(router, ways, now=0) for _ in range(2)][1]
    assert way_of(router, ways, now=KEPT) is kept
    assert way_of(router, ways, now=KEPT + 1) is not kept


def test_ways_have_a_bound():
    """In number and in size of each; what is past them is made for each request."""
    router, ways = ways_of(limits(by("X-API-Key")))
    most = 0
    for number in range(WAYS_BYTES // (WAY_BYTES + LIMIT_BYTES) + 10):
        for _ in range(2):
            way_of(router, ways, headers=[("X-API-Key", str(number))])
        most = max(most, len(ways))
    assert len(ways) < 100 < most
    assert most * (WAY_BYTES + LIMIT_BYTES) <= WAYS_BYTES
    long = [("X-API-Key", "k" * MAX_KEY_BYTES)]
    assert len({id(way) for way in [way_of(router, ways, headers=long) for _ in range(3)]}) == 3


def test_a_way_takes_what_the_memory_counts():
    """With two descriptors of two charges each, a key of the largest size, its plan, and its hop headers."""
    router, ways = ways_of(limits(by("X-API-Key")), limits(by(":method")))
    engine = Engine(MemoryStore(), Counters())
    engine.planner = planner_of(TWO)

    def fill():
        for number in range(300):
            request = request_of(headers=[("X-API-Key", f"{number:0{MAX_KEY_BYTES - 20}}")])
            asked = router.asked(request, target(b"/"), "192.0.2.1")
            way = ways.of(b"/", asked, engine.planner, 0)
            assert len(way.ask(engine, b"d", 0).plan.charges) == 4
            way.hop(request)

    fill()
    assert len(ways) == 0
    gc.collect()
    tracemalloc.start()
    try:
        fill()
        gc.collect()
        size = tracemalloc.get_traced_memory()[0] / len(ways)
    finally:
        tracemalloc.stop()
    assert len(ways) == 300
    estimate = WAY_BYTES + MAX_KEY_BYTES + 2 * LIMIT_BYTES
    assert estimate / 2 < size < estimate


def test_a_plan_is_that_of_the_active_planner():
    """Of a request that has its way, and is asked again after a reload."""
    router, ways = ways_of(limits("remote_address"))
    engine = Engine(MemoryStore(), Counters())
    engine.planner = planner_of()
    way = way_of(router, ways)
    first, second = way.ask(engine, b"d", 1), way.ask(engine, b"d", 2)
    assert first.plan is second.plan
    assert (first.deadline, second.deadline) == (1, 2)
    engine.planner = planner_of(POLICY.replace(b"1000", b"7"))
    third = way.ask(engine, b"d", 3)
    assert third.plan.charges[0].limit.requests_per_unit == 7


def test_no_request_changes_the_costs_of_another():
    """A guard may change those of its ask."""
    router, ways = ways_of(limits("remote_address"))
    engine = Engine(MemoryStore(), Counters())
    engine.planner = planner_of()
    way = way_of(router, ways)
    for _ in range(3):
        ask = way.ask(engine, b"d", 0)
        assert (ask.costs, ask.outcomes) == ([1], [None])
        ask.costs[0], ask.outcomes[0] = 0, SimpleNamespace()


def test_headers_of_a_trusted_proxy_are_those_of_its_request():
    """What it says of a hop before is no part of the way."""
    hop = this_hop(request_of())
    for value in ("198.51.100.7", "198.51.100.8"):
        headers = [("X-Forwarded-For", value), ("Forwarded", f"for={value}")]
        sent = to_upstream(request_of(headers=headers), trusted=True, hop=hop)
        assert f"X-Forwarded-For: {value}, 192.0.2.1\r\n".encode() in sent
        assert f"\nForwarded: for={value}, for=192.0.2.1".encode() in sent


@pytest.mark.parametrize("trusted", [False, True])
def test_headers_of_a_hop_that_was_made_before_are_sent(trusted):
    """They are those that would be made."""
    request = request_of(headers=[("Cookie", "c")])
    hop = this_hop(request)
    assert to_upstream(request, trusted=trusted, hop=hop) == to_upstream(request, trusted=trusted)
