"""Counters of ``on_store_failure: local``: their keys are safe, whatever they are in Redis."""

from ratelimitd.limiter import (
    Ask,
    Engine,
    Failure,
    FailureKind,
    Fallback,
    LimitRequest,
    Planner,
    PlanOptions,
    Tallies,
    key_maker,
)
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import Descriptor
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore

NOW = 1_000_000_000_000
POLICY = b"""
domain: d
descriptors:
  - {key: tenant, on_store_failure: local, rate_limit: {unit: year, requests_per_unit: 1}}
  - key: tenant
    value: alice
    descriptors: [{key: hot, on_store_failure: local, rate_limit: {unit: year, requests_per_unit: 1}}]
"""


class Away:
    """A Redis that is not there."""

    def charge(self, asks, now, done):
        for ask in asks:
            ask.outcomes = [Failure(FailureKind.DISCONNECTED, "gone")] * len(ask.outcomes)
        done(asks)


def test_two_descriptors_with_one_name_in_redis_have_two_counters_in_memory():
    """A caller that chooses a value spends its own counter while Redis is away."""
    planner = Planner(parse([("p.yaml", POLICY)]), key_maker(b"", safe=False), Tallies(), PlanOptions())
    local = MemoryStore()
    engine, over = Engine(Away(), Counters(), [Fallback(local, 1, lambda *_: None)]), []
    for entries in (((b"tenant", b"alice_hot_x"),), ((b"tenant", b"alice"), (b"hot", b"x"))) * 2:
        plan = planner.plan(LimitRequest(b"d", (Descriptor(entries),)))
        assert plan.charges[0].key == b"d_tenant_alice_hot_x_"
        ask = Ask(plan, list(plan.costs))
        engine.decide([ask], NOW, lambda _, answer: over.append(answer.over), lambda _, error: over.append(error))
    assert over == [False, False, True, True]
    assert len(local) == 2
