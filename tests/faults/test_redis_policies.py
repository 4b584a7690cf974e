"""What a limit's own policy makes of an outage, over the breaker's flaps: nothing is written back, no share is lost."""

import time

import pytest

from ratelimitd.algorithms import Decision, make_rate
from ratelimitd.limiter import Ask, Charge, Engine, Failure, Fallback, LimitRequest, Plan, Rule
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import Limit, OnStoreFailure
from ratelimitd.stores import MemoryStore
from tests.algorithms.cases import YEAR
from tests.faults.load import PATIENCE, until

pytestmark = [pytest.mark.redis, pytest.mark.alone]

REPLICAS = 4
LIMIT = 100


def asked(policy, cost=1, limit=LIMIT):
    """A charge of a limit with this policy."""
    rate = make_rate("token_bucket", limit, YEAR)
    rule = Rule(Limit(rate, on_store_failure=policy), near=limit)
    charge = Charge(rule, b"%s%d_" % (policy.name.encode(), limit))
    return Ask(Plan((charge,), request=LimitRequest(b"d", ())), [cost])


class Process:
    """Store and fallback as one process has them."""

    def __init__(self, store):
        self.store = store
        self.counts = dict.fromkeys(OnStoreFailure, 0)
        self._engine = Engine(store, Counters(), [Fallback(MemoryStore(1 << 20), REPLICAS, self._count)])

    def _count(self, ask, index, *_):
        self.counts[ask.plan.charges[index].limit.on_store_failure] += 1

    async def outcome(self, one):
        """Take it through the guard and the store."""
        handed: list[Ask] = []

        def answered(ask, _):
            handed.append(ask)

        def failed(_, error):
            raise error

        self._engine.decide([one], time.time_ns() // 1000, answered, failed)
        await until(lambda: handed)
        return one.outcomes[0]

    async def allowed(self, make_ask, calls):
        """How many of so many pass."""
        found = [await self.outcome(make_ask()) for _ in range(calls)]
        return sum(isinstance(outcome, Decision) and outcome.allowed for outcome in found)

    async def held(self, policy, limit=LIMIT):
        """What Redis has counted."""
        seen = await self.outcome(asked(policy, 0, limit))
        assert isinstance(seen, Decision)
        return seen.before

    async def until_open(self):
        """Charge an unrelated limit until the breaker opens."""
        while not self.store.nodes[0].breaker.open:
            await self.outcome(asked(OnStoreFailure.ERROR, 1, 1_000_000))

    async def until_closed(self):
        """Wait until a probe passes."""
        await until(lambda: self.store.connected)


@pytest.fixture
async def process(make, server):
    """Connected, with a connection that is kept through all flaps."""
    store = make(server.address, stale_after=PATIENCE, budget=0.1)
    assert await store.connect()
    return Process(store)


async def test_each_limit_by_its_own_policy_over_flaps(process, server):
    """The breaker opens and closes three times: the same policy each time, and Redis goes on from its own counts."""
    for flap in range(3):
        before = {policy: await process.held(policy) for policy in OnStoreFailure}
        server.hang()
        await process.until_open()
        found = {policy: await process.outcome(asked(policy)) for policy in OnStoreFailure}
        assert isinstance(found[OnStoreFailure.ERROR], Failure)
        assert found[OnStoreFailure.ALLOW] == Decision(True, LIMIT, 0, 0, 0)
        assert isinstance(found[OnStoreFailure.DENY], Decision)
        assert not found[OnStoreFailure.DENY].allowed
        local = found[OnStoreFailure.LOCAL]
        assert isinstance(local, Decision)
        assert local.before == flap  # the share of this process goes on where it was at the last flap
        assert local.before + 1 + local.remaining == LIMIT // REPLICAS
        server.resume()
        await process.until_closed()
        assert before == {policy: await process.held(policy) for policy in OnStoreFailure}
        for policy in OnStoreFailure:
            await process.outcome(asked(policy))
    assert {policy: await process.held(policy) for policy in OnStoreFailure} == dict.fromkeys(OnStoreFailure, 3)
    assert process.store.breaker_opens == 3


async def test_over_admission_of_local_is_bounded(process, server):
    """However often Redis comes and goes, a limit with ``local`` lets one share more pass than it says, not one a flap.

    Four processes, each with its share, so let pass twice the limit at most.
    """
    passed = 0
    for _ in range(3):
        passed += await process.allowed(lambda: asked(OnStoreFailure.LOCAL), LIMIT)
        server.hang()
        await process.until_open()
        passed += await process.allowed(lambda: asked(OnStoreFailure.LOCAL), LIMIT)
        server.resume()
        await process.until_closed()
    assert passed == LIMIT + LIMIT // REPLICAS


async def test_a_share_is_at_least_one(process, server):
    """A limit smaller than the number of processes lets each one through with one."""
    server.hang()
    await process.until_open()
    assert await process.allowed(lambda: asked(OnStoreFailure.LOCAL, limit=3), 10) == 1
    server.resume()
    await process.until_closed()
    assert await process.held(OnStoreFailure.LOCAL, 3) == 0


@pytest.mark.scenario("Redis is out of memory")
async def test_full_memory_by_policy(process, server):
    """Without memory in Redis a denial stands whatever the policy; what would pass is decided by its policy."""
    for policy in OnStoreFailure:
        await process.outcome(asked(policy, limit=1))
    server.ask("CONFIG", "SET", "maxmemory", 1)
    for policy in OnStoreFailure:
        spent = await process.outcome(asked(policy, limit=1))
        assert isinstance(spent, Decision)
        assert not spent.allowed
    assert sum(process.counts.values()) == 0
    found = {policy: await process.outcome(asked(policy)) for policy in OnStoreFailure}
    allowed = {policy: outcome.allowed for policy, outcome in found.items() if isinstance(outcome, Decision)}
    assert allowed == {OnStoreFailure.ALLOW: True, OnStoreFailure.DENY: False, OnStoreFailure.LOCAL: True}
    assert process.counts == dict.fromkeys(OnStoreFailure, 1)
    assert process.store.connected
