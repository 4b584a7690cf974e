import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimitd.limiter import Modes, PlanOptions
from ratelimitd.policy_file import parse
from ratelimitd.proto import message
from ratelimitd.rls import Bounds, EncodeOptions, ServiceOptions
from ratelimitd.rls.service import STORE_FAILED
from ratelimitd.stores.memory import MemoryStore
from ratelimitd.transport import GrpcStatus

from .conftest import Bench, Call, Request, Response

Descriptor = message("envoy.extensions.common.ratelimit.v3.RateLimitDescriptor")

POLICY = """
domain: d
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 2, name: users}}
  - {key: big, rate_limit: {unit: hour, requests_per_unit: 10}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: shadow, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: bucket, rate_limits: [{unit: hour, unit_multiplier: 6, requests_per_unit: 3, algorithm: token_bucket}]}
  - {key: open, rate_limits: [{unit: hour, requests_per_unit: 1}], on_store_failure: allow}
  - key: meta
    metadata: {team: edge, deep: {a: 1}}
    value_to_metric: true
    rate_limit: {unit: hour, requests_per_unit: 9}
"""


UINT32 = st.integers(0, 2**32 - 1)
OVERRIDES = st.tuples(UINT32, st.integers(-5, 9), UINT32)


def described(hits=None, negative=False, limit=None, **entries):
    built = Descriptor(is_negative_hits=negative)
    for key, value in entries.items():
        built.entries.add(key=key, value=value)
    if hits is not None:
        built.hits_addend.value = hits
    if limit is not None:
        built.limit.requests_per_unit, built.limit.unit, *multiplier = limit
        for each in multiplier:
            built.limit.unit_multiplier.value = each
    return built


async def test_statuses_are_in_order_and_number(bench):
    """One status for each descriptor, in the request's order, with the limit, what is left and the reset."""
    answer = bench(POLICY).ask({"big": "x"}, {"nothing": "x"}, {"free": "x"}, {"user": "x"})
    assert answer.overall_code == Response.OK
    big, nothing, free, user = answer.statuses
    assert (
        big.current_limit.requests_per_unit,
        big.current_limit.unit,
        big.limit_remaining,
    ) == (10, Response.RateLimit.HOUR, 9)
    assert 1 <= big.duration_until_reset.seconds <= 3600
    assert (
        nothing.HasField("current_limit"),
        nothing.limit_remaining,
        nothing.HasField("duration_until_reset"),
    ) == (False, 0, False)
    assert (free.HasField("current_limit"), free.limit_remaining) == (False, 4294967295)
    assert (user.current_limit.name, user.limit_remaining) == ("users", 1)


async def test_the_request_after_the_last_is_over(bench):
    """A limit of N admits N; the next is OVER_LIMIT with nothing left, in its status and overall."""
    made = bench(POLICY)
    assert [made.overall({"user": "a"}) for _ in range(3)] == ["OK", "OK", "OVER_LIMIT"]
    status = made.ask({"user": "a"}).statuses[0]
    assert (status.code, status.limit_remaining) == (Response.OVER_LIMIT, 0)


async def test_hits_per_descriptor_and_per_request(bench):
    """A descriptor's own hits win over the request's; 0 peeks; negative ones give back."""
    made = bench(POLICY)

    def left(**options):
        return made.ask(described(big="x", **options), hits=4).statuses[0].limit_remaining

    assert [left(), left(hits=0), left(hits=3), left(hits=2, negative=True)] == [6, 6, 3, 5]
    assert left(hits=(1 << 64) - 1, negative=True) == 10
    assert left(hits=(1 << 64) - 1) == 0


async def test_a_window_of_several_units_shows_no_false_one(bench):
    """unit_multiplier other than 1 shows unit UNKNOWN, or Envoy would print a window that is not there."""
    made = bench(POLICY)
    asked = [{"bucket": "x"}, described(limit=(3, 2, 10), other="x")]
    for status in made.ask(*asked).statuses:
        current = status.current_limit
        assert (current.requests_per_unit, current.unit) == (3, Response.RateLimit.UNKNOWN)
        assert not current.HasField("unit_multiplier")


async def test_a_window_of_several_units_is_told_where_envoy_reads_it(bench):
    """STATUS_UNIT_MULTIPLIER: unit and multiplier, of the policy's limits and of overrides; none for a single unit."""
    made = bench(POLICY, ServiceOptions(encode=EncodeOptions(multipliers=True)))
    asked = [{"bucket": "x"}, described(limit=(3, 2, 10), other="x"), {"user": "x"}]
    told = [status.current_limit for status in made.ask(*asked).statuses]
    units = [(each.unit, each.unit_multiplier.value, each.HasField("unit_multiplier")) for each in told]
    limit = Response.RateLimit
    assert units == [(limit.HOUR, 6, True), (limit.MINUTE, 10, True), (limit.HOUR, 0, False)]


async def test_an_override_limits_and_an_unusable_one_is_ignored(bench):
    """descriptor.limit sets the numbers; with unit UNKNOWN the policy's own limit applies and nothing breaks."""
    made = bench(POLICY)
    status = made.ask(described(user="x", limit=(50, 2))).statuses[0]
    assert (
        status.current_limit.requests_per_unit,
        status.current_limit.unit,
        status.limit_remaining,
    ) == (50, Response.RateLimit.MINUTE, 49)
    for unit in (0, 99):
        answer = made.ask(described(user=f"unit {unit}", limit=(50, unit)))
        assert answer.statuses[0].current_limit.requests_per_unit == 2


async def test_an_override_without_entries_is_counted(bench):
    """It limits its domain as a whole, as upstream counts it, apart from overrides with entries."""
    made = bench(POLICY)
    assert made.ask(described(limit=(1, 2), other="x")).overall_code == Response.OK
    assert [made.overall(described(limit=(2, 2))) for _ in range(3)] == ["OK", "OK", "OVER_LIMIT"]


@pytest.mark.scenario("malformed requests, and requests that match no policy")
async def test_a_descriptor_without_entries_is_ok(bench):
    """Envoy sends one when its only action was skipped; it has no limit."""
    answer = bench(POLICY).ask(described())
    assert (answer.overall_code, answer.statuses[0].code) == (Response.OK, Response.OK)


@pytest.mark.scenario("malformed requests, and requests that match no policy")
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (Request().SerializeToString(), "rate limit domain must not be empty"),
        (Request(domain="d").SerializeToString(), "rate limit descriptor list must not be empty"),
        (b"\xff\xff\xff", "the request is not a RateLimitRequest"),
    ],
)
async def test_what_cannot_be_decided_is_the_callers_error(bench, body, text):
    """An empty domain or list, or bytes that are no request, are INVALID_ARGUMENT, with upstream's text."""
    made = bench(POLICY)
    assert (GrpcStatus.INVALID_ARGUMENT, text) == made.send(body)
    assert made.counts.service_error == 1


@pytest.mark.scenario("messages that are too large")
async def test_descriptors_and_entries_are_bounded(bench):
    """One more than MAX_DESCRIPTORS or MAX_ENTRIES is refused with the name of the bound; the bound itself passes."""
    made = bench(POLICY, ServiceOptions(bounds=Bounds(descriptors=2, entries=3)))
    assert made.overall({"a": "1", "b": "2", "c": "3"}, {"user": "x"}) == "OK"
    status, text = made.ask({"user": "x"}, {"user": "y"}, {"user": "z"})
    assert (status, "MAX_DESCRIPTORS=2" in text) == (GrpcStatus.INVALID_ARGUMENT, True)
    status, text = made.ask(dict.fromkeys("abcd", "1"))
    assert (status, "MAX_ENTRIES=3" in text) == (GrpcStatus.INVALID_ARGUMENT, True)


async def test_without_a_policy_calls_are_unavailable(bench):
    """Until a first policy is loaded every call is UNAVAILABLE with upstream's text."""
    made = bench()
    assert made.ask({"user": "x"}) == (GrpcStatus.UNAVAILABLE, "no rate limit configuration loaded")


async def test_a_store_failure_is_unavailable(bench, failing_store):
    """A counter that cannot be reached fails the call with its kind, and is counted as upstream's redis_error.

    The store's own text, which has addresses, is for the log.
    """
    made = bench(POLICY, store=failing_store)
    assert made.ask({"user": "x"}) == (GrpcStatus.UNAVAILABLE, f"timeout: {STORE_FAILED}")
    assert made.counts.redis_error == 1


@pytest.mark.scenario("malformed requests, and requests that match no policy")
async def test_a_fault_of_ours_stays_with_the_call_that_met_it(bench, monkeypatch):
    """An exception while one call is planned makes that call UNAVAILABLE; the others of its batch are decided."""
    made = bench(POLICY)
    plan = made.engine.planner.plan

    def faulty(request):
        if request.domain == b"boom":
            raise RuntimeError("a bug")
        return plan(request)

    monkeypatch.setattr(made.engine.planner, "plan", faulty)
    calls = []
    for domain in ("d", "boom", "d"):
        request = Request(domain=domain)
        request.descriptors.add().CopyFrom(described(user="x"))
        calls.append(Call(request.SerializeToString()))
    made.service.should_rate_limit(calls)
    assert calls[0].answer.overall_code == Response.OK
    assert calls[1].answer == (GrpcStatus.UNAVAILABLE, "internal error")
    assert calls[2].answer.overall_code == Response.OK


@pytest.mark.parametrize("place", ["before", "charge", "after"])
async def test_a_fault_in_a_guard_or_a_store_leaves_nobody_waiting(bench, place):
    """Whichever part on a call's way raises, the call is answered, UNAVAILABLE, and so are those beside it."""

    class Faulty(MemoryStore):
        def charge(self, asks, now, done):
            if place == "charge":
                raise RuntimeError("a bug")
            super().charge(asks, now, done)

        def before(self, asks, now):
            if place == "before":
                raise RuntimeError("a bug")

        def after(self, asks, now):
            if place == "after":
                raise RuntimeError("a bug")

    faulty = Faulty(1 << 20)
    made = bench(POLICY, store=faulty, guards=[faulty])
    assert made.ask({"user": "x"}) == (GrpcStatus.UNAVAILABLE, "internal error")


async def test_every_call_is_counted_refused_ones_too(bench):
    """total_requests is what error rates are divided by, so a refused call is in it; /json is not, as upstream."""
    made = bench(POLICY)
    made.ask({"user": "x"})
    made.send(b"")
    assert made.counts.total_requests["ShouldRateLimit"] == 2
    made.service.serve([Call(b"")])
    assert made.counts.total_requests["ShouldRateLimit"] == 2


@pytest.mark.scenario("malformed requests, and requests that match no policy")
async def test_an_unknown_domain_passes_and_is_counted(bench):
    """A domain no policy has is OK for each descriptor; it is counted by name."""
    made = bench(POLICY)
    assert made.overall({"a": "b"}, {"c": "d"}, domain="other") == "OK"
    assert made.tallies.unknown_domains() == [("other", 2)]


@pytest.mark.scenario("malformed requests, and requests that match no policy")
async def test_values_that_are_not_utf8_are_decided_like_others(bench):
    """Bytes that are no UTF-8 count by themselves: two different ones are two users."""
    made = bench(POLICY)
    request = Request(domain="d")
    request.descriptors.add().CopyFrom(described(user="??"))

    def overall(value):
        return Response.Code.Name(made.send(request.SerializeToString().replace(b"??", value)).overall_code)

    assert [overall(b"\xe9\xff") for _ in range(3)] == ["OK", "OK", "OVER_LIMIT"]
    assert overall(b"\xe9\xfe") == "OK"


@pytest.mark.scenario("a policy changes while calls are in flight")
async def test_a_reload_changes_what_is_decided_and_keeps_counters(bench):
    """A new policy is in force for the next request, and counts go on where they were."""
    made = bench(POLICY)
    for _ in range(3):
        made.ask({"user": "a"})
    made.load(POLICY.replace("requests_per_unit: 2", "requests_per_unit: 100"))
    status = made.ask({"user": "a"}).statuses[0]
    assert (status.current_limit.requests_per_unit, status.limit_remaining) == (100, 96)


async def test_global_shadow_mode(bench):
    """SHADOW_MODE: overall OK, the status still says OVER_LIMIT, and it is counted."""
    modes = Modes(shadow=True)
    made = bench(POLICY, plan_options=PlanOptions(modes=modes), modes=modes)
    answers = [made.ask({"user": "a"}) for _ in range(3)]
    assert [answer.overall_code for answer in answers] == [Response.OK] * 3
    assert answers[2].statuses[0].code == Response.OVER_LIMIT
    assert made.counts.global_shadow_mode == 1


@pytest.mark.scenario("a client keeps sending requests while it is over limit")
async def test_all_or_nothing_charges_nobody_when_one_denies(bench):
    """Limits 15 and 14, both at 13, cost 2: the second is over, the first is not charged and still has 2 left."""
    policy = """
domain: d
descriptors:
  - {key: a, rate_limit: {unit: hour, requests_per_unit: 15}}
  - {key: b, rate_limit: {unit: hour, requests_per_unit: 14}}
"""
    made = bench(policy, plan_options=PlanOptions(all_or_nothing=True))
    made.ask({"a": "x"}, {"b": "x"}, hits=13)
    a, b = made.ask({"a": "x"}, {"b": "x"}, hits=2).statuses
    assert (a.code, a.limit_remaining) == (Response.OK, 2)
    assert (b.code, b.limit_remaining) == (Response.OVER_LIMIT, 0)


async def test_dynamic_metadata(bench):
    """RESPONSE_DYNAMIC_METADATA returns the request and the policy's metadata, as upstream builds them."""
    made = bench(POLICY, ServiceOptions(encode=EncodeOptions(dynamic_metadata=True)))
    answer = made.ask(
        described(hits=2, meta="x"),
        described(limit=(5, 3), user="y"),
        described(limit=(5, 2, 10), user="z"),
        described(limit=(0, 6), user="z"),
        described(limit=(4, 0), user="z"),
        hits=3,
    )
    assert json_format.MessageToDict(answer.dynamic_metadata) == {
        "domain": "d",
        "descriptors": [
            {"entries": ["meta=x"], "hitsAddend": 2.0},
            {"entries": ["user=y"], "limit": "requests_per_unit:5 unit:HOUR"},
            {"entries": ["user=z"], "limit": "requests_per_unit:5 unit:MINUTE unit_multiplier:{value:10}"},
            {"entries": ["user=z"], "limit": "unit:YEAR"},
            {"entries": ["user=z"], "limit": "requests_per_unit:4"},
        ],
        "hitsAddend": 3.0,
        "metadata": {"team": "edge", "deep": {"a": 1.0}},
    }


def test_parse_is_what_the_bench_uses():
    """The policy of these tests is valid as it stands."""
    assert len(parse([("p", POLICY.encode())]).domains[b"d"].root.children) == 7


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.scenario("malformed requests, and requests that match no policy")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_no_bytes_cause_more_than_an_error_of_their_own(bench, data):
    """Whatever bytes come, the answer is a valid response or INVALID_ARGUMENT; half of them are mutated requests."""
    request = Request(domain="d", hits_addend=data.draw(st.integers(0, 2**32 - 1)))
    for _ in range(data.draw(st.integers(1, 3))):
        built = request.descriptors.add()
        built.CopyFrom(
            described(
                hits=data.draw(st.none() | st.integers(0, 2**64 - 1)),
                negative=data.draw(st.booleans()),
                limit=data.draw(st.none() | st.tuples(UINT32, st.integers(-5, 9)) | OVERRIDES),
            )
        )
        for key in data.draw(st.lists(st.sampled_from(["user", "free", "bucket", "meta", ""]), max_size=2)):
            built.entries.add(key=key, value=data.draw(st.text(max_size=4)))
    body = bytearray(request.SerializeToString())
    if data.draw(st.booleans()):
        for _ in range(data.draw(st.integers(1, 4))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    answer = Bench(POLICY).send(bytes(body))
    if isinstance(answer, tuple):
        assert answer[0] == GrpcStatus.INVALID_ARGUMENT
    else:
        assert answer.overall_code in (Response.OK, Response.OVER_LIMIT)
