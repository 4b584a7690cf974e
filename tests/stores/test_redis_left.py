"""Holds that Redis takes for requests that have had another answer by then: they are released before their ttl."""

import asyncio

import pytest

from ratelimitd.app.post_paid import LateSettlements
from ratelimitd.limiter import Fallback, PostPaid
from ratelimitd.limiter.seam import FailureKind
from ratelimitd.stores import MemoryStore
from tests.contract.asking import Caller, sent
from tests.stores.conftest import PATIENCE
from tests.stores.test_redis_store import server  # noqa: F401 -- the fixture

pytestmark = [pytest.mark.redis, pytest.mark.scenario("Redis hangs, is slow, or is unreachable")]

TREE = """
descriptors:
- {key: p, on_store_failure: %s, rate_limit: {concurrent: 5}}
- {key: k, on_store_failure: %s, rate_limit: {unit: day, requests_per_unit: 50, reserve: {amount: 10}}}
"""
POLICIES = pytest.mark.parametrize("policy", ["error", "allow", "local"])


@pytest.fixture
async def hung(make, server):  # noqa: F811 -- the fixture
    """Makes a caller whose store has a budget of 20 ms, and what its process keeps."""

    async def made(policy):
        store = make(server.address, pool_size=1, budget=0.02, stale_after=PATIENCE, breaker_after=1_000)
        post_paid = PostPaid()
        assert await store.connect()
        late = LateSettlements(post_paid, store, asyncio.get_running_loop().call_later)
        told = []

        def left(charges, certain):
            told.append((len(charges), certain))
            late.left(charges, certain)

        store.left = left
        fallback = Fallback(MemoryStore(), 1, lambda *_: None, post_paid.keep)
        return Caller(store, TREE % (policy, policy), guards=[fallback], post_paid=post_paid), post_paid, told

    return made


async def asked(caller):
    """Ask five times each what has five places, and what fifty hits are held of; return the answers."""
    return await asyncio.gather(*[caller.ask((key, 0)) for key in "pppppkkkkk"])


async def freed(caller):
    """Wait until nothing is held."""
    async with asyncio.timeout(PATIENCE):
        while [await left_of(caller, key) for key in "pk"] != [5, 50]:
            await asyncio.sleep(0.001)


async def left_of(caller, key):
    """What remains, neither used nor held; None if the store does not say."""
    answer = await caller.ask(sent(key, 0), ours=True)
    return answer.statuses[0].remaining if answer.failure is None else None


@POLICIES
async def test_holds_of_late_replies_are_released(hung, server, policy):  # noqa: F811 -- the fixture
    """As soon as the reply says that they were taken, whatever the failure policy answered."""
    caller, post_paid, told = await hung(policy)
    server.hang()
    answers = await asked(caller)
    assert {answer.failure and answer.failure.kind for answer in answers} == {
        FailureKind.TIMEOUT if policy == "error" else None
    }
    server.resume()
    await freed(caller)
    assert sum(count for count, certain in told if certain) >= 10
    assert (len(post_paid), post_paid.dropped) == (0, 0)
    assert [answer.failure for answer in await asked(caller)] == [None] * 10


@POLICIES
async def test_holds_of_a_lost_connection_are_released(hung, server, policy):  # noqa: F811 -- as above
    """Those too that the server takes after the connection was lost, since the calls had arrived."""
    caller, _, told = await hung(policy)
    server.hang()
    await asked(caller)
    caller.store.nodes[0].drop("a test")
    assert (sum(count for count, _ in told), {certain for _, certain in told}) == (10, {False})
    server.resume()
    await freed(caller)


async def test_nothing_is_released_of_a_call_that_was_answered(hung):
    """Nor of a request that was denied; and its holds stay."""
    caller, post_paid, told = await hung("error")
    leases = [answer.lease for answer in await asked(caller)]
    assert all(leases)
    assert all(answer.over for answer in await asked(caller))
    assert (told, len(post_paid)) == ([], 0)
    assert [await left_of(caller, key) for key in "pk"] == [0, 0]
