"""Spans of calls, over the service with counters in memory: what is recorded, and what never fails a call."""

import asyncio

import pytest
from structlog.testing import capture_logs

from ratelimitd.limiter import Fallback, Modes, listen
from ratelimitd.observe.metrics import Counters
from ratelimitd.rls import DecisionLog, GrpcHealth, Logged, handlers
from ratelimitd.rls.traced import CallTracer
from ratelimitd.stores.memory import MemoryStore
from ratelimitd.tracing import Exporter, Kind, Sampler, Tracer
from ratelimitd.transport import GrpcStatus
from tests.rls.conftest import Bench, Call, Request, Slow

METHOD = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
W3C = {"traceparent": [f"00-{TRACE}-{SPAN}-01".encode()], "tracestate": [b"a=1"]}
POLICY = """
domain: d
descriptors:
  - {key: secret, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: user, rate_limits: [{unit: day, requests_per_unit: 9}, {unit: hour, requests_per_unit: 5}]}
  - {key: failing, rate_limit: {unit: day, requests_per_unit: 1}, on_store_failure: error}
"""


class TracedBench(Bench):
    """A traced service; ``spans`` are those that were recorded."""

    def __init__(self, *arguments, rate=1.0, port=8081, **options):
        super().__init__(*arguments, **options)
        exporter = Exporter("where", lambda spans, rest: "", lambda: None)
        self.spans = exporter._queue
        self.tracer = Tracer(Sampler(rate), exporter, "host")
        self.calls = CallTracer(self.tracer, self.engine, port)
        self.decisions = DecisionLog(self.engine, None)
        listen(self.engine, self.calls.decided)
        served = handlers(self.service, GrpcHealth(lambda: True, Counters().called))
        self.handlers = self.calls.handlers(served).unary

    def ask_traced(self, key, value="canary", metadata=W3C, deadline=0):
        request = Request(domain="d")
        request.descriptors.add().entries.add(key=key, value=value)
        return self.give(request.SerializeToString(), metadata, deadline)

    def give(self, body, metadata=W3C, deadline=0):
        call = Call(body, deadline)
        call.metadata = metadata
        self.handlers[f"/{METHOD}"]([call], 1 << 30)
        return call


@pytest.fixture
async def traced():
    """Makes traced benches."""
    return TracedBench


async def test_a_call_is_a_span_of_its_parents_trace(traced):
    """With the attributes of the semantic conventions, and the domain, the result and the limit."""
    made = traced(POLICY)
    made.ask_traced("secret")
    (span,) = made.spans
    assert (span.name, span.kind, span.failed) == (METHOD, Kind.SERVER, None)
    assert (span.context.trace_id, span.context.parent_id, span.context.state) == (TRACE, SPAN, "a=1")
    assert span.context.remote
    assert span.began <= span.ended
    assert span.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.response.status_code": "OK",
        "server.address": "host",
        "server.port": 8081,
        "ratelimitd.domain": "d",
        "ratelimitd.decision": "ok",
        "ratelimitd.limit": "d.secret",
    }


async def test_a_denial_is_no_error(traced):
    """It names the limit that denied, and why."""
    made = traced(POLICY)
    made.ask_traced("secret")
    made.ask_traced("secret")
    span = made.spans[-1]
    assert span.failed is None
    assert "error.type" not in span.attributes
    assert (
        span.attributes.items()
        >= {
            "ratelimitd.decision": "over_limit",
            "ratelimitd.limit": "d.secret",
            "ratelimitd.reason": "over_limit",
        }.items()
    )


async def test_of_several_limits_that_allow_the_nearest_is_named(traced):
    """The one with the fewest requests left; without a limit none is."""
    made = traced(POLICY)
    made.ask_traced("user")
    made.ask_traced("other")
    near, none = made.spans
    assert near.attributes["ratelimitd.limit"] == "d.user.limit_1"
    assert "ratelimitd.limit" not in none.attributes


async def test_shadow_mode_is_told(traced):
    """The request passes, and the limit that would have denied it is named."""
    made = traced(POLICY, modes=Modes(shadow=True))
    made.ask_traced("secret")
    made.ask_traced("secret")
    assert made.spans[-1].attributes.items() >= {"ratelimitd.decision": "ok", "ratelimitd.shadow_mode": True}.items()


async def test_unavailable_is_an_error(traced, failing_store):
    """With the failure of the store, and the text that the caller gets."""
    made = traced(POLICY, store=failing_store, guards=[Fallback(MemoryStore(1 << 20), 1, lambda *_: None)])
    call = made.ask_traced("failing")
    (span,) = made.spans
    assert call.answer == (GrpcStatus.UNAVAILABLE, span.failed)
    assert (
        span.attributes.items()
        >= {
            "rpc.response.status_code": "UNAVAILABLE",
            "error.type": "UNAVAILABLE",
            "ratelimitd.decision": "failed",
            "ratelimitd.failure": "timeout",
            "ratelimitd.on_store_failure": "error",
        }.items()
    )


async def test_an_invalid_request_is_no_error_of_the_server(traced):
    """INVALID_ARGUMENT is its caller's; there is no decision."""
    made = traced(POLICY)
    assert made.give(b"\xff").answer[0] is GrpcStatus.INVALID_ARGUMENT
    (span,) = made.spans
    assert span.failed is None
    assert span.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert not [name for name in span.attributes if name.startswith("ratelimitd.")]


async def test_a_call_that_ended_before_its_answer(traced):
    """Its caller cancelled it, or its deadline passed, which is an error of the server."""
    made = traced(POLICY, store=(store := Slow()))
    late = int(asyncio.get_running_loop().time() * 1_000_000) - 1
    for deadline in (0, late):
        call = made.ask_traced("secret", deadline=deadline)
        call.cancelled = True
        store.decide()
    assert [span.attributes["rpc.response.status_code"] for span in made.spans] == ["CANCELLED", "DEADLINE_EXCEEDED"]
    assert [span.failed for span in made.spans] == [None, ""]


async def test_a_span_has_no_value_of_a_request(traced):
    """Not of an entry, not of a header; a domain that the policy does not have is shown in part."""
    made = traced(POLICY)
    for key in ("secret", "secret", "user", "nothing"):
        made.ask_traced(key, metadata={**W3C, "authorization": [b"canary"], "baggage": [b"k=canary"]})
    made.give(
        Request(domain="x" * 9_999, descriptors=[{"entries": [{"key": "a", "value": "canary"}]}]).SerializeToString()
    )
    assert len(made.spans) == 5
    assert "canary" not in str(list(made.spans))
    assert len(made.spans[-1].attributes["ratelimitd.domain"]) == 256


async def test_what_is_not_sampled_reaches_the_service_as_it_is(traced):
    """By the parent or by the rate: the call is not wrapped, and nothing is recorded."""
    made = traced(POLICY, rate=0.0)
    seen = []
    made.engine.listener = lambda ask, _: seen.append(ask.tag)
    calls = [made.ask_traced("user", metadata=metadata) for metadata in ({}, {"traceparent": [b"garbage"]})]
    assert seen == calls
    assert len(made.spans) == 0
    made.ask_traced("user")
    assert len(made.spans) == 1


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff" * 60, b"00-0-0-0", b"x" * 70_000], ids=["empty", "bytes", "zeros", "long"]
)
async def test_garbage_in_headers_costs_no_call(traced, garbage):
    """It is answered, in a trace of its own."""
    made = traced(POLICY)
    metadata = {name: [garbage] for name in ("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-sampled")}
    assert made.ask_traced("user", metadata=metadata).answer.overall_code == 1
    assert made.spans[0].context.parent_id == ""


async def test_an_error_of_tracing_costs_no_call(traced, monkeypatch):
    """It is logged once."""
    made = traced(POLICY)
    monkeypatch.setattr(made.tracer.exporter, "add", lambda span: 1 / 0)
    with capture_logs() as lines:
        assert [made.ask_traced("secret").answer.overall_code for _ in range(2)] == [1, 2]
    assert [line["event"] for line in lines] == ["a span cannot be made, and others may be missing"]


async def test_a_decision_that_cannot_be_told_costs_no_call(traced, monkeypatch):
    """The span has the rest."""
    made = traced(POLICY)
    monkeypatch.setattr("ratelimitd.tracing.tracer.decision", lambda *_: 1 / 0)
    assert made.ask_traced("secret").answer.overall_code == 1
    assert "ratelimitd.decision" not in made.spans[0].attributes


async def test_calls_that_wait_are_wrapped_once_they_are_taken(traced, monkeypatch):
    """The service is passed those that it leaves again, so what it does not look at costs nothing."""
    made = traced(POLICY)
    begun = []
    monkeypatch.setattr(made.tracer, "begin", lambda parent, begin=made.tracer.begin: begun.append(1) or begin(parent))
    request = Request(domain="d")
    request.descriptors.add().entries.add(key="user", value="x")
    calls = [Call(request.SerializeToString()) for _ in range(9)]
    for call in calls:
        call.metadata = {}
    taken, _ = made.handlers[f"/{METHOD}"](calls, 1)
    assert (taken, len(begun)) == (1, 1)


async def test_probes_are_not_traced(traced):
    """Health checks and reflection keep their handlers."""
    made = traced(POLICY)
    plain = handlers(made.service, GrpcHealth(lambda: True, Counters().called)).unary
    assert {name for name in plain if "RateLimitService" in name} == {
        f"/{METHOD}",
        "/ratelimitd.v1.RateLimitService/ShouldRateLimit",
    }
    assert made.handlers["/grpc.health.v1.Health/Check"].__func__ is plain["/grpc.health.v1.Health/Check"].__func__


async def test_a_unix_socket_has_no_port(traced):
    """The attribute is absent."""
    made = traced(POLICY, port=0)
    made.ask_traced("user")
    assert "server.port" not in made.spans[0].attributes


async def test_decisions_are_logged_beside(traced, monkeypatch):
    """The engine has one listener; while decisions are logged, spans have theirs too."""
    logged = []
    monkeypatch.setattr("ratelimitd.rls.decision_log.log_decision", lambda *arguments: logged.append(arguments))
    made = traced(POLICY)
    made.decisions.begin(Logged(), 60.0)
    made.ask_traced("secret")
    made.decisions.end()
    made.ask_traced("secret")
    assert len(logged) == 1
    assert [span.attributes["ratelimitd.decision"] for span in made.spans] == ["ok", "over_limit"]
