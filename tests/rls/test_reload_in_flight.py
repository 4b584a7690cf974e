"""A policy that changes while a call waits for its store."""

import pytest

from tests.rls.conftest import Call, Request, Response, Slow

pytestmark = pytest.mark.scenario("a policy changes while calls are in flight")

POLICY = "domain: d\ndescriptors: [{{key: user, rate_limit: {{unit: {unit}, requests_per_unit: {limit}}}}}]\n"


async def test_a_call_has_one_policy(bench):
    """It is decided and answered by the policy it came under, and the next one by the new one, on the same counter."""
    store = Slow()
    made = bench(POLICY.format(unit="HOUR", limit=5), store=store)
    request = Request(domain="d")
    request.descriptors.add().entries.add(key="user", value="x")
    before, after = Call(request.SerializeToString()), Call(request.SerializeToString())
    made.service.should_rate_limit([before])
    made.load(POLICY.format(unit="HOUR", limit=9))
    made.service.should_rate_limit([after])
    store.decide()
    shown = [call.answer.statuses[0] for call in (before, after)]
    assert [(each.current_limit.requests_per_unit, each.limit_remaining) for each in shown] == [(5, 4), (9, 7)]
    assert before.answer.overall_code == Response.OK


async def test_a_domain_that_went_meanwhile(bench):
    """A call whose limit is in no policy any more is answered all the same."""
    store = Slow()
    made = bench(POLICY.format(unit="HOUR", limit=5), store=store)
    request = Request(domain="d")
    request.descriptors.add().entries.add(key="user", value="x")
    call = Call(request.SerializeToString())
    made.service.should_rate_limit([call])
    made.load("domain: other\n")
    store.decide()
    assert call.answer.statuses[0].current_limit.requests_per_unit == 5
