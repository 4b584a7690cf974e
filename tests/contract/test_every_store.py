"""What every store promises, whatever it keeps its counts in."""

import pytest

from ratelimitd.algorithms import ALGORITHMS, Decision, make_rate
from ratelimitd.limiter.seam import Failure, FailureKind
from tests.algorithms.cases import NOW, SECOND, ask
from tests.contract.cases import allowed, charge

ALL = sorted(ALGORITHMS)
HOUR = 3_600 * SECOND
TEN = make_rate("token_bucket", 10, HOUR)
TWO = make_rate("token_bucket", 2, HOUR)
WINDOW = make_rate("fixed_window", 2, HOUR)
SETTLED = Decision(False, 0, 5, 5, 7)


@pytest.mark.parametrize("algorithm", ALL)
async def test_admits_exactly_the_limit(store, algorithm):
    """Of ten times the limit, asked for at once, exactly the limit passes, and it is the first ones."""
    rate = make_rate(algorithm, 50, HOUR)
    outcomes = allowed(await charge(store, [ask((rate, b"k_", 1)) for _ in range(500)]))
    assert outcomes == [True] * 50 + [False] * 450


@pytest.mark.parametrize("algorithm", ALL)
async def test_statuses(store, algorithm):
    """A decision reports what remains, the count before, and when a denied cost passes: at that time, not before."""
    rate = make_rate(algorithm, 3, HOUR)
    now = NOW - NOW % HOUR + 7
    outcomes = await charge(store, [ask((rate, b"k_", 2)), ask((rate, b"k_", 2))], now)
    first, second = (o for o in outcomes if isinstance(o, Decision))
    assert (first.allowed, first.remaining, first.before) == (True, 1, 0)
    assert (second.allowed, second.before) == (False, 2)
    late = now + second.retry_after
    assert allowed(await charge(store, [ask((rate, b"k_", 2))], late - 1)) == [False]
    assert allowed(await charge(store, [ask((rate, b"k_", 2))], late)) == [True]


async def test_settled_outcomes_are_left_alone(store):
    """What a guard settled is neither charged nor changed, also when it settled everything."""
    half, whole = ask((TEN, b"a_", 1), (TEN, b"b_", 1)), ask((TEN, b"a_", 1))
    half.outcomes[0] = whole.outcomes[0] = SETTLED
    await charge(store, [half, whole])
    assert half.outcomes[0] is whole.outcomes[0] is SETTLED
    assert isinstance(half.outcomes[1], Decision)
    seen = await charge(store, [ask((TEN, b"a_", 0), (TEN, b"b_", 0))])
    assert [o.before for o in seen if isinstance(o, Decision)] == [0, 1]


async def test_no_asks_and_asks_without_charges(store):
    """An ask without charges is done; no asks are no fault."""
    assert await charge(store, [ask(), ask(atomic=True)]) == []
    store.charge([], NOW, lambda _: None)


async def test_charges_of_one_key_see_each_other(store):
    """A key named twice, in one ask or in several, is charged twice and each sees the one before."""
    asks = [ask((TWO, b"k_", 1), (TWO, b"k_", 1), (TWO, b"k_", 1)), ask((TWO, b"k_", 1))]
    assert allowed(await charge(store, asks)) == [True, True, False, False]


@pytest.mark.scenario("a client keeps sending requests while it is over limit")
async def test_independent_charges_do_not_veto(store):
    """Without all-or-nothing a denied charge leaves the others charged."""
    await charge(store, [ask((TWO, b"two_", 2))])
    assert allowed(await charge(store, [ask((TEN, b"ten_", 1), (TWO, b"two_", 1))])) == [True, False]
    assert allowed(await charge(store, [ask((TEN, b"ten_", 10))])) == [False]


@pytest.mark.scenario("a client keeps sending requests while it is over limit")
async def test_atomic_charges_all_or_nothing(store):
    """A denied binding charge leaves every counter of its ask as it was, fixed windows' rejected hits too."""
    await charge(store, [ask((TWO, b"two_", 2)), ask((WINDOW, b"win_", 2))])
    denied = ask((TEN, b"ten_", 4), (TWO, b"two_", 1), (WINDOW, b"win_", 1), atomic=True)
    ten, two, window = await charge(store, [denied])
    assert isinstance(ten, Decision)
    assert isinstance(two, Decision)
    assert isinstance(window, Decision)
    assert (ten.allowed, ten.remaining, two.allowed, window.allowed) == (True, 10, False, False)
    seen = await charge(store, [ask((TEN, b"ten_", 0), (TWO, b"two_", 0), (WINDOW, b"win_", 0))])
    assert [o.before for o in seen if isinstance(o, Decision)] == [0, 2, 2]


async def test_atomic_charges_one_key_twice(store):
    """In an atomic ask a key named twice sees its own running count, and the veto undoes both."""
    assert allowed(await charge(store, [ask((TWO, b"k_", 1), (TWO, b"k_", 2), atomic=True)])) == [True, False]
    assert allowed(await charge(store, [ask((TWO, b"k_", 1), (TWO, b"k_", 1), atomic=True)])) == [True, True]


async def test_shadow_charges_never_veto(store):
    """A denied charge that is not binding lets the others of an atomic ask be charged."""
    await charge(store, [ask((TWO, b"two_", 2))])
    outcomes = await charge(store, [ask((TEN, b"ten_", 4), (TWO, b"two_", 1, False), atomic=True)])
    assert allowed(outcomes) == [True, False]
    (seen,) = await charge(store, [ask((TEN, b"ten_", 0))])
    assert isinstance(seen, Decision)
    assert seen.before == 4


@pytest.mark.parametrize(("settled", "binding", "charged"), [(SETTLED, True, 0), (SETTLED, False, 4)])
async def test_a_settled_denial_vetoes(store, settled, binding, charged):
    """A guard's denial of a binding charge vetoes an atomic ask, one of a shadow charge does not."""
    asked = ask((TEN, b"ten_", 4), (TWO, b"two_", 1, binding), atomic=True)
    asked.outcomes[1] = settled
    await charge(store, [asked])
    (seen,) = await charge(store, [ask((TEN, b"ten_", 0))])
    assert isinstance(seen, Decision)
    assert seen.before == charged


@pytest.mark.scenario("only some limits of a request can be decided")
async def test_a_settled_failure_does_not_veto(store):
    """A charge without a decision does not deny the request."""
    asked = ask((TEN, b"ten_", 4), (TWO, b"two_", 1), atomic=True)
    asked.outcomes[1] = Failure(FailureKind.TIMEOUT, "")
    await charge(store, [asked])
    (seen,) = await charge(store, [ask((TEN, b"ten_", 0))])
    assert isinstance(seen, Decision)
    assert seen.before == 4


@pytest.mark.scenario("costs and limits that are zero, too large, or the largest a number can hold")
@pytest.mark.parametrize("algorithm", ALL)
async def test_peeks_and_give_backs(store, algorithm):
    """A peek changes nothing; a give-back returns at most the current count."""
    rate = make_rate(algorithm, 5, HOUR)
    now = NOW - NOW % HOUR
    asks = [ask((rate, b"k_", cost)) for cost in (0, 4, 0, -1, 0, -100, 0, 5)]
    outcomes = await charge(store, asks, now)
    assert [o.before for o in outcomes if isinstance(o, Decision)] == [0, 0, 4, 4, 3, 3, 0, 0]
    assert all(allowed(outcomes))


@pytest.mark.scenario("a key contains foreign data, or the state of another algorithm")
async def test_two_algorithms_under_one_key(store):
    """A counter of another algorithm is a failure of that charge alone, named KEY."""
    log = make_rate("sliding_window", 5, HOUR)
    first, second, third = await charge(store, [ask((TEN, b"k_", 1)), ask((log, b"k_", 1)), ask((TEN, b"other_", 1))])
    assert isinstance(first, Decision)
    assert isinstance(second, Failure)
    assert second.kind is FailureKind.KEY
    assert isinstance(third, Decision)


async def test_more_charges_than_a_script_call(store):
    """An ask of a thousand charges is decided like any, all-or-nothing or not."""
    many = [(TWO, b"%d_" % i, 1) for i in range(1000)]
    assert allowed(await charge(store, [ask(*many), ask(*many, atomic=True)])) == [True] * 2000
    assert allowed(await charge(store, [ask(*many)])) == [False] * 1000
