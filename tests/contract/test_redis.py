"""What Redis adds to the contract: keys that others can see, a script that can be lost."""

import pytest

from ratelimitd.algorithms import ALGORITHMS, Decision, counter_key, make_rate
from ratelimitd.limiter.seam import Failure, FailureKind
from tests.algorithms.cases import NOW, SECOND, ask
from tests.contract.cases import allowed, charge
from tests.limiter.test_new_overrides import CAP, FLOOD, MISTAKEN, ask_of, planner, warm

pytestmark = pytest.mark.redis

HOUR = 3_600 * SECOND
TEN = make_rate("token_bucket", 10, HOUR)
RATES = [make_rate(name, 100, HOUR) for name in ALGORITHMS]


@pytest.mark.scenario("a key has no expiry")
async def test_no_key_without_expiry(redis_store, server):
    """Every key expires, after charges of all kinds."""
    for atomic in (False, True):
        charges = [(rate, b"%s_" % rate.algorithm.encode(), cost) for rate in RATES for cost in (3, -1, 0, 200)]
        await charge(redis_store, [ask(*charges[::2], atomic=atomic), ask(*charges[1::2], atomic=atomic)])
        await charge(redis_store, [ask(one, atomic=atomic) for one in charges])
    with server.client() as client:
        lives = {key: client.ttl(key) for key in client.scan_iter()}
    assert len(lives) == len(RATES)
    assert all(life > 0 for life in lives.values()), lives


@pytest.mark.scenario("a key contains foreign data, or the state of another algorithm")
@pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.algorithm)
@pytest.mark.parametrize("foreign", ["list", "text"])
async def test_a_foreign_value_harms_its_charge_alone(redis_store, server, rate, foreign):
    """A foreign value under a key is a KEY failure of that charge; the value is kept, other charges are decided."""
    assert isinstance(rate, type(TEN))
    name = counter_key(b"theirs_", rate, NOW)
    with server.client() as client:
        client.rpush(name, "a") if foreign == "list" else client.set(name, "not a counter")
        before = client.dump(name)
        first, second = ask((rate, b"a_", 1), (rate, b"theirs_", 1)), ask((rate, b"b_", 1))
        await charge(redis_store, [first, second])
        assert client.dump(name) == before
    assert isinstance(first.outcomes[0], Decision)
    assert isinstance(first.outcomes[1], Failure)
    assert first.outcomes[1].kind is FailureKind.KEY
    assert isinstance(second.outcomes[0], Decision)
    assert redis_store.failures[FailureKind.KEY] == 1


@pytest.mark.scenario("a caller that invents keys")
async def test_overrides_with_invented_keys_make_no_more_keys_than_the_cap(redis_store, server):
    """Of 3,000 overrides with a key each, Redis holds as many counters as the cap says, and one shared."""
    guard, now = warm(until=NOW)
    by = planner()
    asks = [ask_of(by, descriptor) for descriptor in FLOOD]
    guard.before(asks, now)
    await charge(redis_store, asks, now)
    with server.client() as client:
        assert CAP < client.dbsize() <= CAP + 1 + MISTAKEN


async def test_a_lost_script_costs_no_decision(redis_store, server):
    """SCRIPT FLUSH again and again under load: every charge is decided, once, and the reloads are counted."""
    rate = make_rate("token_bucket", 10_000, 1_000 * HOUR)
    with server.client() as client:
        for _ in range(20):
            client.script_flush()
            assert all(allowed(await charge(redis_store, [ask((rate, b"k_", 1)) for _ in range(200)])))
    (seen,) = await charge(redis_store, [ask((rate, b"k_", 0))])
    assert isinstance(seen, Decision)
    assert seen.before == 20 * 200
    assert redis_store.script_reloads >= 20
