"""The proxy's handler where a request cannot be decided, or not yet."""

from types import SimpleNamespace

import pytest

from ratelimitd.gateway.client_address import trust
from ratelimitd.gateway.proxy import Proxy, Snapshot
from ratelimitd.gateway.routing import Router
from ratelimitd.http1 import Peer
from ratelimitd.limiter import Engine, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore

from .files import gateway, limits

POLICY = b"domain: d\ndescriptors: [{key: remote_address, rate_limit: {unit: hour, requests_per_unit: 9}}]\n"
UNDECIDED = (503, b"1")


class Exchange:
    """Keeps its answers: (status, Retry-After)."""

    over = False

    def __init__(self):
        self.answers = []

    def respond(self, status, headers, body):
        self.answers.append((status, dict(headers).get(b"Retry-After")))

    def forward(self, upstream, headers, *, response_headers, response_timeout):
        raise RuntimeError("a bug")


class Faulty(MemoryStore):
    def charge(self, asks, now, done):
        raise RuntimeError("a bug")


class FaultyPlanner(Planner):
    def plan(self, request):
        raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("make_planner", "store"),
    [(FaultyPlanner, MemoryStore), (Planner, Faulty), (Planner, MemoryStore)],
    ids=["planning", "store", "answering"],
)
def test_an_error_while_deciding_is_answered_once_like_a_store_that_is_away(make_planner, store):
    """Wherever it comes up, the client gets one 503 with Retry-After, as from a limit that cannot be reached."""
    file = gateway({"rate_limits": [limits("remote_address")]})
    counters = Counters()
    engine = Engine(store(), counters)
    engine.planner = make_planner(parse([("p.yaml", POLICY)]), key_maker(b"", safe=True), Tallies(), PlanOptions())
    proxy = Proxy(engine, 15_000, lambda: 1.0, lambda _: None)
    proxy.snapshot = Snapshot(file, Router(file), {"app": None}, trust(()), b"d", frozenset())
    exchange = Exchange()
    proxy.handle(request(), exchange)
    assert exchange.answers == [UNDECIDED]
    assert counters.service_error == 1


@pytest.mark.parametrize(("loaded", "gone", "answers"), [(True, False, [429]), (False, False, [503]), (True, True, [])])
async def test_a_request_before_the_first_load_waits_for_it(loaded, gone, answers):
    """It is decided by the first policy, or answered 503 if there is none; a client that left is not charged."""
    file = gateway({"rate_limits": [limits("remote_address")]})
    engine = Engine(MemoryStore(), Counters())
    policy = parse([("p.yaml", POLICY.replace(b"per_unit: 9", b"per_unit: 0"))])
    engine.planner = Planner(policy, key_maker(b"", safe=True), Tallies(), PlanOptions())
    proxy = Proxy(engine, 15_000, lambda: 1.0, lambda _: None)
    exchange = Exchange()
    proxy.handle(request(), exchange)
    assert exchange.answers == []
    exchange.over = gone
    if loaded:
        proxy.snapshot = Snapshot(file, Router(file), {"app": None}, trust(()), b"d", frozenset())
    await proxy.first_load()
    assert [status for status, _ in exchange.answers] == answers
    proxy.handle(request(), late := Exchange())
    assert len(late.answers) == 1


def request():
    return SimpleNamespace(
        method=b"GET",
        path=b"/",
        query=b"",
        version=b"1.1",
        headers=[],
        names=[],
        authority=b"example.org",
        length=0,
        websocket=False,
        peer=Peer("192.0.2.1", 1),
        scheme="http",
        tag=b"",
    )
