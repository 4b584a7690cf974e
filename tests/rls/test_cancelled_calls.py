"""Calls that their caller gave up while the store decided: nobody gets their lease, so they keep no hold."""

import pytest

from ratelimitd.rls import EncodeOptions, ServiceOptions
from ratelimitd.stores.memory import MemoryStore
from tests.rls.conftest import Call, Request, Response

PLACES = "domain: d\ndescriptors: [{key: user, rate_limit: {concurrent: 2}}]\n"


class Slow(MemoryStore):
    """Decides when it is told to."""

    def __init__(self):
        super().__init__(1 << 20)
        self.waiting = []

    def charge(self, asks, now, done):
        self.waiting.append((list(asks), now, done))

    def decide(self):
        waiting, self.waiting = self.waiting, []
        for asks, now, done in waiting:
            super().charge(asks, now, done)


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
@pytest.mark.parametrize("reasons", [False, True])
async def test_a_cancelled_call_keeps_no_hold(bench, reasons):
    """A client that resets its requests takes no places; a call that is still awaited keeps its own."""
    store = Slow()
    options = ServiceOptions(encode=EncodeOptions(reason_metadata=reasons))
    made = bench(PLACES, options, store=store)
    request = Request(domain="d")
    request.descriptors.add().entries.add(key="user", value="x")
    calls = [Call(request.SerializeToString()) for _ in range(3)]
    calls[0].cancelled = True
    for call in calls:
        made.service.should_rate_limit([call])
        store.decide()  # the question
        store.decide()  # its release
    last = Call(request.SerializeToString())
    made.service.should_rate_limit([last])
    store.decide()
    codes = [call.answer.overall_code for call in (*calls[1:], last)]
    assert codes == [Response.OK, Response.OK, Response.OVER_LIMIT]
