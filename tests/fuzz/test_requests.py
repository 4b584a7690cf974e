"""Bytes that pretend to be a RateLimitRequest, through the whole service."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import strategies as st

from ratelimitd.limiter import Engine, Modes, OverLimitCache, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.limiter.seam import TOGETHER_MAX
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy_file import parse
from ratelimitd.proto import message
from ratelimitd.rls import Bounds, EncodeOptions, RateLimitService, ServiceOptions
from ratelimitd.rls.decision_log import log_decision
from ratelimitd.stores.memory import MemoryStore
from ratelimitd.transport import GrpcStatus
from tests.fuzz.runs import LEAST_SHARE, Seen, fuzz
from tests.fuzz.wire import batches

pytestmark = [pytest.mark.slow, pytest.mark.alone]

EXAMPLES = 400

Request = message("ratelimitd.wire.v1.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")
NO_REQUEST = "the request is not a RateLimitRequest"

RULES = """
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 3, name: users}, detailed_metric: true}
  - {key: user, value: a, rate_limit: {unit: second, requests_per_unit: 0}}
  - {key: path, value: "/a/*", share_threshold: true, rate_limit: {unit: year, requests_per_unit: 4294967295}}
  - key: many
    value_to_metric: true
    rate_limits:
      - {unit: second, requests_per_unit: 5, algorithm: token_bucket, burst: 7}
      - {unit: minute, requests_per_unit: 40, algorithm: sliding_window}
      - {unit: hour, unit_multiplier: 6, requests_per_unit: 100, algorithm: sliding_window_counter, shadow_mode: true}
      - {unit: day, requests_per_unit: 1000, algorithm: gcra, quota_mode: true}
      - {unit: month, requests_per_unit: 4294967295, algorithm: leaky_bucket, burst: 1}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: quota, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 2}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: told, metadata: {deep: [1, {a: null, b: [true, 1.5, é]}]}, rate_limit: {unit: week, requests_per_unit: 9}}
  - {key: swap, rate_limit: {unit: hour, requests_per_unit: 5, replaces: [{name: users}]}}
  - key: user
    value: b
    descriptors:
      - {key: path, rate_limit: {unit: minute, requests_per_unit: 2, algorithm: gcra}}
"""
IDENTITY = """
identity: {key: api_key, ipv6_prefix: 48, tiers: {gold: [secret], tin: [other]}}
descriptors:
  - {key: api_key, value: gold, rate_limit: {unit: minute, requests_per_unit: 5, algorithm: token_bucket}}
  - {key: remote_address, rate_limit: {unit: minute, requests_per_unit: 2}}
"""
LIMITS_OF_MANY = 5
POLICIES = {
    "plain": "domain: plain" + RULES,
    "together": "domain: together\nall_or_nothing: true\ndefault_algorithm: sliding_window_counter" + RULES,
    "odd": "domain: !!binary b2RkIP8=" + RULES,
    "who": "domain: who" + IDENTITY,
}
TALKATIVE = EncodeOptions(("limit", "remaining", "reset"), ietf_headers=True, dynamic_metadata=True)
OPTIONS = [
    (ServiceOptions(), PlanOptions()),
    (ServiceOptions(Bounds(64, 32), encode=TALKATIVE), PlanOptions(all_or_nothing=True)),
    (ServiceOptions(encode=TALKATIVE), PlanOptions(modes=Modes(quota=True))),
    (ServiceOptions(), PlanOptions(modes=Modes(shadow=True), identity_secret=b"s")),
]


class Call:
    """A call that keeps what it is answered."""

    deadline = 0
    answered = False

    def __init__(self, body):
        self.body = body
        self.answers = []

    def respond(self, body):
        self.answers.append(Response.FromString(body))

    def fail(self, status, text):
        self.answers.append((status, text))


def serve(policy, number, bodies):
    """Have a new service answer these requests, all at once; returns their calls and what it counted."""
    options, plan_options = OPTIONS[number]
    tallies, counts = Tallies(), Counters()
    engine = Engine(MemoryStore(1 << 20), counts, [OverLimitCache(1 << 14)], plan_options.modes)
    engine.planner = Planner(policy, key_maker(b"", safe=bool(number % 2)), tallies, plan_options)
    calls = [Call(body) for body in bodies]
    engine.listener = lambda ask, answer: log_decision(ask, answer, plan_options.modes, policy, {})
    RateLimitService(engine, tallies, counts.called, options).should_rate_limit(calls)
    return calls, counts


def decoded(body):
    """The request in these bytes, or nothing."""
    try:
        return Request.FromString(body)
    except DecodeError:
        return None


def can_be_decided(request):
    """Whether a request is to be answered, and not refused."""
    many = max((len(each.entries) for each in request.descriptors), default=0)
    return bool(request.domain) and 0 < len(request.descriptors) <= 64 and many <= 32


def check_answer(call):
    """See the one answer there must be; returns how far the call came."""
    (answer,) = call.answers
    request = decoded(call.body)
    if request is None:
        assert answer == (GrpcStatus.INVALID_ARGUMENT, NO_REQUEST)
        return ["calls"]
    if not can_be_decided(request):
        status, text = answer
        assert (status, bool(text), text != NO_REQUEST) == (GrpcStatus.INVALID_ARGUMENT, True, True)
        return ["calls", "parsed"]
    known = (Response.OK, Response.OVER_LIMIT)
    assert answer.overall_code in known
    assert len(answer.statuses) == len(request.descriptors)
    assert all(status.code in known for status in answer.statuses)
    limited = sum(status.HasField("current_limit") for status in answer.statuses)
    return [
        *("calls", "parsed", "decided"),
        "limited" if limited else "free",
        "over" if answer.overall_code == Response.OVER_LIMIT else "ok",
        "wide" if limited * LIMITS_OF_MANY > TOGETHER_MAX else "narrow",
    ]


@pytest.mark.scenario("malformed requests, and requests that match no policy")
async def test_any_bytes_are_answered_once_and_never_by_a_fault_of_ours(log):
    """Whatever a client sends, each call gets one valid response or INVALID_ARGUMENT, and nothing of ours fails.

    The statuses are as many as the descriptors, and no code is UNKNOWN, which would let the request pass.
    """
    policies = parse([(name, text.encode()) for name, text in POLICIES.items()])
    seen = Seen()

    def check(drawn):
        number, bodies = drawn
        calls, counts = serve(policies, number, bodies)
        for call in calls:
            seen.reached(*check_answer(call))
        refused = sum(isinstance(call.answers[0], tuple) for call in calls)
        assert (counts.service_error, counts.redis_error) == (refused, 0)
        assert counts.total_requests["ShouldRateLimit"] == len(calls)
        assert log.faults == []

    fuzz(st.tuples(st.integers(0, len(OPTIONS) - 1), batches), EXAMPLES, check)
    assert seen.share("parsed") >= LEAST_SHARE
    assert seen.share("limited") >= LEAST_SHARE / 2
    assert seen.counts["over"] > 0
    assert seen.counts["wide"] > 0
    assert log.lines >= seen.counts["decided"]
