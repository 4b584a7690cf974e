"""Two Redis: one for limits a second (REDIS_PERSECOND)."""

import pytest

from ratelimitd.algorithms import make_rate
from ratelimitd.limiter import Charge, FailureKind, Rule
from ratelimitd.policy import OnStoreFailure
from testkit.redis_server import redis_server
from tests.algorithms.cases import SECOND, ask
from tests.contract.cases import allowed, charge
from tests.stores.test_redis_store import kinds

pytestmark = pytest.mark.redis

A_SECOND = make_rate("token_bucket", 10, SECOND)
A_MINUTE = make_rate("token_bucket", 10, 60 * SECOND)


@pytest.fixture
def servers():
    """The main one, and the one for limits a second."""
    with redis_server() as main, redis_server() as second:
        yield main, second


def settings(second):
    """What they say of the second one."""
    return {"REDIS_PERSECOND": "true", "REDIS_PERSECOND_URL": second.address}


def both(*, atomic=False):
    """A charge for each."""
    return ask((A_MINUTE, b"minute_", 1), (A_SECOND, b"second_", 1), atomic=atomic)


async def test_each_limit_in_its_own(make, servers):
    """A limit a second counts in the second Redis, every other one in the main one; all or nothing works over both."""
    main, second = servers
    store = make(main.address, env=settings(second))
    assert await store.connect()
    assert allowed(await charge(store, [both(), both(atomic=True)])) == [True] * 4
    for server, mine, other in ((main, "minute_", "second_"), (second, "second_", "minute_")):
        with server.client() as client:
            assert (client.exists(mine), client.exists(other)) == (1, 0)


@pytest.mark.scenario("only some limits of a request can be decided")
async def test_one_of_them_away(make, edges, servers):
    """While one Redis is unavailable its limits fail and the others are decided; the store is not connected then."""
    main, second = servers
    store = make(main.address, env=settings(second))
    assert await store.connect()
    second.kill()
    await edges.until(True, True, False)
    assert not store.connected
    asked = both()
    await charge(store, [asked])
    assert [*map(kind_of, asked.outcomes)] == [None, FailureKind.DISCONNECTED]


@pytest.mark.parametrize(
    ("policy", "charged"),
    [
        (OnStoreFailure.ERROR, 0),
        (OnStoreFailure.DENY, 0),
        (OnStoreFailure.ALLOW, 1),
        (OnStoreFailure.LOCAL, 1),
    ],
)
async def test_all_or_nothing_with_one_away(make, edges, servers, policy, charged):
    """What must pass together charges nothing when a part has failed and its limit's policy lets nothing pass."""
    main, second = servers
    store = make(main.address, env=settings(second))
    assert await store.connect()
    second.kill()
    await edges.until(True, True, False)
    asked = both(atomic=True)
    limit = asked.plan.charges[1].limit._replace(on_store_failure=policy)
    asked.plan = asked.plan._replace(charges=(asked.plan.charges[0], Charge(Rule(limit), asked.plan.charges[1].key)))
    await charge(store, [asked])
    with main.client() as client:
        assert charged == client.exists("minute_")
    assert charged == store.charged_in_part


def kind_of(outcome):
    """The kind of a failure; None for a decision."""
    (kind,) = kinds([outcome])  # type: ignore[list-item]
    return kind
