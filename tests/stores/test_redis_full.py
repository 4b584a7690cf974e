"""A Redis without memory, and denials that would have written something."""

import pytest

from ratelimitd.algorithms import ALGORITHMS, Decision, make_rate
from ratelimitd.limiter.seam import FailureKind
from testkit.redis_server import redis_server
from tests.algorithms.cases import SECOND, SETTLEMENT, ask
from tests.contract.cases import allowed, charge
from tests.stores.test_redis_store import kinds

pytestmark = pytest.mark.redis

WINDOW = make_rate("fixed_window", 2, 3_600 * SECOND)


@pytest.mark.scenario("Redis is out of memory")
async def test_a_rejected_hit_that_cannot_be_counted_is_a_denial(make):
    """A fixed window counts rejected hits; if the count cannot be stored, the charge is denied anyway."""
    with redis_server() as server:
        store = make(server.address)
        await store.connect()
        assert allowed(await charge(store, [ask((WINDOW, b"k_", 2))])) == [True]
        server.ask("CONFIG", "SET", "maxmemory", 1)
        denied, other = await charge(store, [ask((WINDOW, b"k_", 1), (WINDOW, b"new_", 1))])
        server.ask("CONFIG", "SET", "maxmemory", 0)
        assert allowed([denied]) == [False]
        assert kinds([other]) == {FailureKind.OUT_OF_MEMORY}
        (seen,) = await charge(store, [ask((WINDOW, b"k_", 0))])
        assert isinstance(seen, Decision)
        assert seen.before == 2


@pytest.mark.scenario("Redis is out of memory")
async def test_a_denial_beside_a_charge_that_cannot_be_kept_stands(make):
    """Of two charges of one counter, the first would pass and fails; the second is denied, and that is known."""
    with redis_server() as server:
        store = make(server.address)
        await store.connect()
        server.ask("CONFIG", "SET", "maxmemory", 1)
        bucket = make_rate("token_bucket", 1, 3_600 * SECOND)
        failed, denied = await charge(store, [ask((bucket, b"k_", 1), (bucket, b"k_", 1))])
        assert kinds([failed]) == {FailureKind.OUT_OF_MEMORY}
        assert allowed([denied]) == [False]


@pytest.mark.scenario("Redis is out of memory")
@pytest.mark.parametrize("name", ALGORITHMS)
async def test_a_settlement_that_cannot_be_kept_is_none(make, name):
    """Past its limit too, where the status of one that is kept is a denial: it fails, so it waits for the memory.

    A full log replaces its newest entry, which needs none.
    """
    rate = make_rate(name, 2, 3_600 * SECOND)
    with redis_server() as server:
        store = make(server.address)
        await store.connect()
        assert allowed(await charge(store, [ask((rate, b"k_", 2, SETTLEMENT))])) == [True]
        server.ask("CONFIG", "SET", "maxmemory", 1)
        (settled,) = await charge(store, [ask((rate, b"k_", 5, SETTLEMENT))])
        server.ask("CONFIG", "SET", "maxmemory", 0)
        (seen,) = await charge(store, [ask((rate, b"k_", 0, SETTLEMENT))])
        assert isinstance(seen, Decision)
        kept = isinstance(settled, Decision)
        assert (kept, seen.before) == ((True, 7) if name == "sliding_window" else (False, 2))
        assert kept or kinds([settled]) == {FailureKind.OUT_OF_MEMORY}
