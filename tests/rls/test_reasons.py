"""The reason of a denial in a response, where the settings or the method ask for it."""

import pytest
from google.protobuf import json_format

from ratelimitd.limiter import FailureKind, Fallback, Modes, PlanOptions, Reason, ReasonKind
from ratelimitd.policy import OnStoreFailure
from ratelimitd.rls import EncodeOptions, ServiceOptions
from ratelimitd.rls.reasons import header_value
from ratelimitd.rls.service import STORE_FAILED
from ratelimitd.stores.memory import MemoryStore
from ratelimitd.transport import GrpcStatus

from .conftest import Response

POLICY = """
domain: d
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 1, name: users}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: deny, on_store_failure: deny, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: allow, on_store_failure: allow, rate_limit: {unit: hour, requests_per_unit: 1}}
"""
OVER = {"kind": "over_limit", "limit": "d.user", "text": "over the limit d.user"}


def service(bench, **encode):
    return bench(POLICY, ServiceOptions(encode=EncodeOptions(**encode)))


def metadata(answer):
    return json_format.MessageToDict(answer.dynamic_metadata)


async def test_by_default_no_response_has_a_reason(bench):
    """A caller of Envoy's method learns no more than before."""
    made = service(bench)
    made.ask({"user": "x"})
    denied = made.ask({"user": "x"})
    assert (denied.overall_code, metadata(denied), list(denied.response_headers_to_add)) == (
        Response.OVER_LIMIT,
        {},
        [],
    )


async def test_the_metadata_has_the_reason_and_a_verdict_per_descriptor(bench):
    """Only with a denial; without RESPONSE_DYNAMIC_METADATA there is no value of the request in it."""
    made = service(bench, reason_metadata=True)
    assert metadata(made.ask({"user": "secret"})) == {}
    assert metadata(made.ask({"user": "secret"}, {"free": "secret"})) == {
        "reason": OVER,
        "descriptors": [{"code": "OVER_LIMIT", "limitName": "users", "reason": "over_limit"}, {"code": "OK"}],
    }


async def test_the_reason_joins_the_metadata_of_the_request(bench):
    """With RESPONSE_DYNAMIC_METADATA both are there, as upstream's pull request has them."""
    made = service(bench, dynamic_metadata=True, reason_metadata=True)
    made.ask({"user": "x"})
    assert metadata(made.ask({"user": "x"})) == {
        "domain": "d",
        "reason": OVER,
        "descriptors": [{"entries": ["user=x"], "code": "OVER_LIMIT", "limitName": "users", "reason": "over_limit"}],
    }


async def test_a_header_has_the_reason(bench):
    """Under the name of the setting, beside the other headers, and only with a denial."""
    made = service(bench, reason_header="x-why", limit_headers=("l", "m", "r"))
    answers = [made.ask({"user": "x"}) for _ in range(2)]
    found = [[(each.key, each.value) for each in answer.response_headers_to_add] for answer in answers]
    assert [name for name, _ in found[0]] == ["l", "m", "r"]
    assert found[1][3:] == [("x-why", 'over_limit;limit="d.user"')]


@pytest.mark.parametrize(
    ("reason", "value"),
    [
        (Reason(ReasonKind.NEW_KEYS, 'd.a"b\\c'), r'new_keys;limit="d.a\"b\\c"'),
        (Reason(ReasonKind.OVER_LIMIT, "d.é\r\nX: 1"), r'over_limit;limit="d.\\xe9\\r\\nX: 1"'),
        (
            Reason(ReasonKind.STORE_FAILURE, "d.x", FailureKind.TIMEOUT, OnStoreFailure.LOCAL),
            'store_failure;limit="d.x";failure="timeout";on_store_failure="local"',
        ),
    ],
)
def test_a_header_is_a_structured_field(reason, value):
    """Whatever bytes a policy has, the value is printable ASCII and its strings are quoted."""
    assert header_value(reason) == value


async def test_what_passes_without_its_counter_says_so(bench, failing_store):
    """An allowed request has a reason as well, if on_store_failure allowed it."""
    guards = [Fallback(MemoryStore(), 1, lambda *_: None)]
    options = ServiceOptions(encode=EncodeOptions(reason_metadata=True))
    made = bench(POLICY, options, store=failing_store, guards=guards)
    allowed, denied = metadata(made.ask({"allow": "x"})), metadata(made.ask({"deny": "x"}, {"allow": "x"}))
    assert allowed["reason"]["text"] == "store away (timeout), allowed by on_store_failure: allow (limit d.allow)"
    assert [each["reason"] for each in denied["descriptors"]] == ["store_failure", "store_failure"]
    assert denied["reason"]["on_store_failure"] == "deny"


async def test_what_shadow_mode_lets_pass_has_its_reason(bench):
    """The text says that it passed nevertheless."""
    modes = Modes(shadow=True)
    options = ServiceOptions(encode=EncodeOptions(reason_metadata=True))
    made = bench(POLICY, options, modes=modes, plan_options=PlanOptions(modes=modes))
    made.ask({"user": "x"})
    answer = made.ask({"user": "x"})
    assert (answer.overall_code, metadata(answer)["reason"]["text"]) == (
        Response.OK,
        "over the limit d.user; SHADOW_MODE let it pass",
    )


async def test_the_method_of_check_always_has_the_reason(bench, failing_store):
    """It is the same engine, so both methods count together; a failure says which policy decided."""
    made = service(bench)
    made.ask({"user": "x"})
    made.service = made.service.with_reason()
    assert metadata(made.ask({"user": "x"}))["reason"] == OVER
    assert made.counts.total_requests["ShouldRateLimit"] == 2
    failing = bench(POLICY, store=failing_store)
    failing.service = failing.service.with_reason()
    assert failing.ask({"user": "x"}) == (
        GrpcStatus.UNAVAILABLE,
        f"store away (timeout), failed by on_store_failure: error (limit d.user): {STORE_FAILED}",
    )


async def test_metadata_says_that_the_policy_lacks_a_domain(bench):
    """Where the reason is asked for, and nowhere else."""
    for wanted, found in ((True, {"unknown_domain": True}), (False, {})):
        assert metadata(service(bench, reason_metadata=wanted).ask({"user": "x"}, domain="other")) == found


async def test_a_cost_that_can_never_pass_says_so(bench):
    """In the reason, and in the verdict of its descriptor."""
    made = service(bench, reason_metadata=True)
    never = "this cost can never pass: it exceeds the limit of 1"
    found = metadata(made.ask({"user": "x"}, hits=2))
    assert (found["reason"]["text"], found["descriptors"][0]["never"]) == (f"over the limit d.user; {never}", never)
