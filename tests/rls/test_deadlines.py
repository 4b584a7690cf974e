"""How long a store may take: the budget, or what a caller's own deadline leaves of it."""

import asyncio

import pytest

from ratelimitd.rls import ServiceOptions
from ratelimitd.stores.memory import MemoryStore
from tests.rls.conftest import Bench, Call, Request

BUDGET = 15_000
MARGIN = 3_000
LEFT = [
    (None, BUDGET),
    (1_000_000, BUDGET),
    (18_000, BUDGET),
    (15_000, 12_000),
    (10_000, 8_000),
    (1_000, 800),
    (-1_000, -800),
]
"""µs that a caller leaves (None: it names no deadline), and those that a store has then."""


class Watched(MemoryStore):
    """Keeps the deadlines of what it is asked."""

    def __init__(self):
        super().__init__(1 << 20)
        self.deadlines = []

    def charge(self, asks, now, done):
        self.deadlines += [ask.deadline for ask in asks]
        super().charge(asks, now, done)


@pytest.mark.parametrize(("left", "budget"), LEFT)
async def test_a_store_has_the_budget_or_what_the_caller_leaves(monkeypatch, left, budget):
    """15 ms, or what the caller leaves less a fifth, at most 3 ms: an answer is under way before the caller is gone."""
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 100.0)
    store = Watched()
    bench = Bench(POLICY, store=store)
    assert (ServiceOptions().budget, ServiceOptions().margin) == (BUDGET, MARGIN)
    request = Request(domain="d")
    request.descriptors.add().entries.add(key="user", value="x")
    now = 100_000_000
    bench.service.should_rate_limit([Call(request.SerializeToString(), 0 if left is None else now + left)])
    assert [now + budget] == store.deadlines


POLICY = "domain: d\ndescriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: 5}}]\n"
