"""The proxy's handler where a request cannot be decided, or not yet, and what it reports of one that is denied."""

from types import SimpleNamespace

import pytest

from ratelimitd.gateway.client_address import trust
from ratelimitd.gateway.proxy import Proxy
from ratelimitd.gateway.routing import Router
from ratelimitd.gateway.snapshot import Snapshot
from ratelimitd.http1 import Peer, Summary
from ratelimitd.limiter import Engine, Failure, FailureKind, Fallback, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore
from testkit.builds import interpreted_only

from .files import gateway, limits

pytestmark = interpreted_only

POLICY = b"domain: d\ndescriptors: [{key: remote_address, rate_limit: {unit: hour, requests_per_unit: 9}}]\n"
UNDECIDED = (503, b"1")


class Exchange:
    """Keeps its answers: (status, Retry-After)."""

    over = False

    def __init__(self):
        self.answers = []

    def respond(self, status, headers, body):
        self.answers.append((status, dict(headers).get(b"Retry-After")))

    def forward(self, upstream, lines, *, response_headers, response_timeout, withheld):
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
    exchange, _ = handled(engine, file)
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


async def test_an_error_in_a_request_that_waited_ends_neither_the_start_nor_the_others():
    """Each request that arrived before the first load is answered, whatever becomes of the one before it."""
    file = gateway({"rate_limits": []})
    proxy = Proxy(engine_of(MemoryStore()), 15_000, lambda: 1.0, lambda _: None)
    exchanges = [Exchange(), Exchange()]
    for exchange in exchanges:
        proxy.handle(request(), exchange)
    proxy.snapshot = Snapshot(file, Router(file), {"app": None}, trust(()), b"d", frozenset())
    await proxy.first_load()
    assert [exchange.answers for exchange in exchanges] == [[UNDECIDED], [UNDECIDED]]


def handled(engine, file, times=1):
    """Handle some equal requests; returns their exchange, and the record of the last one."""
    reported, exchange = [], Exchange()
    proxy = Proxy(engine, 15_000, lambda: 1.0, reported.append)
    proxy.snapshot = Snapshot(file, Router(file), {"app": None}, trust(()), b"d", frozenset())
    for _ in range(times):
        proxy.handle(request(), exchange)
        exchange.on_done(Summary(503, 0, 0, 0, 0, 1, None, False, ""))
    return exchange, reported[-1]


def engine_of(store, policy=POLICY, guards=()):
    engine = Engine(store, Counters(), guards)
    if policy is not None:
        engine.planner = Planner(parse([("p.yaml", policy)]), key_maker(b"", safe=True), Tallies(), PlanOptions())
    return engine


class Away(MemoryStore):
    def charge(self, asks, now, done):
        for ask in asks:
            ask.outcomes = [Failure(FailureKind.TIMEOUT, "no answer") for _ in ask.outcomes]
        done(asks)


DENYING = POLICY.replace(b"{key: remote_address,", b"{key: remote_address, on_store_failure: deny,")
NOTHING = POLICY.replace(b"requests_per_unit: 9", b"requests_per_unit: 0")


@pytest.mark.parametrize(
    ("policy", "store", "found"),
    [
        (NOTHING, MemoryStore, ("over_limit", "d.remote_address", "")),
        (
            DENYING,
            Away,
            ("store_failure", "d.remote_address", "store away (timeout), denied by on_store_failure: deny"),
        ),
        (POLICY, Away, ("store_failure", "", "store away (timeout), failed by on_store_failure: error")),
        (POLICY, Faulty, ("internal_error", "", "an internal error prevented a decision; see the log")),
        (None, MemoryStore, ("no_policy", "", "no policy is loaded yet")),
    ],
    ids=["over", "denied", "failed", "fault", "no policy"],
)
def test_the_record_says_why(policy, store, found):
    """Its reason, the limit of a denial, and an error unless the limit alone is the reason."""
    file = gateway({"rate_limits": [limits("remote_address")]})
    guards = [Fallback(MemoryStore(), 1, lambda *_: None)]
    _, record = handled(engine_of(store(), policy, guards), file)
    assert (record.reason, record.limit, record.error.removesuffix(" (limit d.remote_address)")) == found


async def test_before_the_first_file_the_reason_is_that_there_is_none():
    """The request is answered 503, and its record says why."""
    reported, exchange = [], Exchange()
    proxy = Proxy(engine_of(MemoryStore(), None), 15_000, lambda: 1.0, reported.append)
    await proxy.first_load()
    proxy.handle(request(), exchange)
    exchange.on_done(Summary(503, 0, 0, 0, 0, 1, None, False, ""))
    assert exchange.answers == [UNDECIDED]
    assert reported[-1].reason == "no_policy"


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
