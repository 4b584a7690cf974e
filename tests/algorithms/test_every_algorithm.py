"""What holds for each algorithm alike."""

from typing import Any

import pytest
from hypothesis import assume, example, given

from ratelimitd.algorithms import ALGORITHMS, BINDING, EXACT, NEVER, Rate, make_rate, take_step
from tests.algorithms.cases import NOW, SECOND, U32, YEAR, Counter, histories
from tests.algorithms.exact import Exact, exactly

History = tuple[Rate, list[tuple[int, int]]]
NAMES = list(ALGORITHMS)


@given(histories(back=True))
def test_the_step_is_the_one_of_the_table(history):
    """A charge by a rate is decided by the step in the row of its algorithm."""
    rate, charges = history
    state = listed = None
    for now, cost in charges:
        state, decision = take_step(state, rate, cost, now, 0)
        listed, expected = ALGORITHMS[rate.algorithm].step(listed, rate, cost, now, 0)
        assert decision == expected


@pytest.mark.scenario("costs and limits that are zero, too large, or the largest a number can hold")
@given(histories())
def test_retry_after_is_exact(history):
    """A denied cost passes once retry_after is over, and not one µs before."""
    rate, charges = history
    counter = Counter(rate)
    for now, cost in charges:
        decision = counter.charge(cost, now)
        if decision.allowed:
            assert decision.retry_after == 0
        elif cost > rate.burst:
            assert decision.retry_after == NEVER
        else:
            assert decision.retry_after > 0
            assert counter.look(cost, now + decision.retry_after).allowed
            assert not counter.look(cost, now + decision.retry_after - 1).allowed


@given(histories(back=True))
def test_retry_after_is_exact_behind_a_clock_that_stepped_back(history):
    """The same on a clock that steps back: after a small step the wait includes the time it takes to catch up."""
    rate, charges = history
    assume(rate.algorithm != "fixed_window")
    counter = Counter(rate)
    for now, cost in charges:
        decision = counter.charge(cost, now)
        if decision.retry_after > 0:
            assert counter.look(cost, now + decision.retry_after).allowed
            assert not counter.look(cost, now + decision.retry_after - 1).allowed


@pytest.mark.scenario("rates so slow or so fast that rounding could expire a key early or lose requests")
@given(histories())
def test_reset_after_is_when_the_state_means_nothing(history):
    """A store that drops each state after reset_after decides as one that keeps it for ever."""
    rate, charges = history
    keeping, forgetting = Counter(rate), Counter(rate, forgetful=True)
    for now, cost in charges:
        assert keeping.charge(cost, now) == forgetting.charge(cost, now)


@given(histories(back=True))
def test_a_decision_adds_up(history):
    """What remains can pass at once, one more cannot; a peek takes nothing; a give-back always passes."""
    rate, charges = history
    counter = Counter(rate)
    for now, cost in charges:
        decision = counter.charge(cost, now)
        assert 0 <= decision.remaining <= rate.burst
        assert decision.reset_after >= 0
        assert decision.before >= 0
        if cost < 0:
            assert decision.allowed
        if cost == 0:
            assert decision.allowed == (decision.before <= rate.burst)
        if cost > 0:
            assert decision.allowed == (decision.before + cost <= rate.burst)
        assert counter.look(decision.remaining, now).allowed or decision.remaining == 0
        assert not counter.look(decision.remaining + 1, now).allowed
        assert counter.charge(0, now) == counter.charge(0, now)


@given(histories(back=True))
def test_a_step_changes_no_state_in_place(history):
    """Every state of a history decides the same afterwards as when it was new, so a store can go back to it."""
    rate, charges = history
    step = ALGORITHMS[rate.algorithm].step
    state: Any = None
    seen = []
    for now, cost in charges:
        after, decision = step(state, rate, cost, now, BINDING)
        seen.append((state, cost, now, decision))
        state = after
    for state, cost, now, decision in reversed(seen):
        assert step(state, rate, cost, now, BINDING)[1] == decision


@given(histories())
def test_a_give_back_undoes_its_charge(history):
    """Charging and giving back the same at the same time leaves as much as before; giving back more, no more."""
    rate, charges = history
    counter = Counter(rate)
    for now, cost in charges:
        if 0 < cost <= counter.look(0, now).remaining:
            held = counter.look(0, now)
            counter.charge(cost, now)
            given_back = counter.charge(-cost, now)
            assert given_back.remaining == held.remaining
        counter.charge(cost, now)
    for _ in charges:
        counter.charge(-U32, charges[-1][0])
    if charges:
        assert counter.charge(-U32, charges[-1][0]).remaining == rate.burst


@pytest.mark.scenario("costs and limits that are zero, too large, or the largest a number can hold")
@given(histories(back=True))
@example(
    (
        make_rate("sliding_window_counter", U32, YEAR),
        [(YEAR * i // 2 + 1, cost) for i in range(2, 9) for cost in (U32, 1)],
    )
)
@example((make_rate("gcra", U32, YEAR), [(NOW, U32), (NOW + YEAR // 3, 1), (NOW + YEAR // 3, -U32)]))
def test_every_intermediate_is_an_exact_double(history):
    """No sum, difference or product on the way to a decision reaches 2**53, so that Lua decides the same."""
    rate, charges = history
    counter = Counter(rate)
    checked = exactly(rate)
    for now, cost in charges:
        counter.rate = checked
        decision = counter.charge(Exact(cost), Exact(now))
        assert max(decision.reset_after, decision.retry_after) + now < EXACT


@pytest.mark.scenario("costs and limits that are zero, too large, or the largest a number can hold")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("window", [SECOND, 60 * SECOND, YEAR, (1 << 51) // SECOND * SECOND])
@pytest.mark.parametrize("quota", [1, U32])
def test_extremes_admit_exactly_the_quota(name, window, quota):
    """From 1 to 2**32 - 1 requests, a second, a year or 71 years: as much as the limit passes, and no more."""
    if name == "sliding_window":
        quota = min(quota, 10_000)
    counter = Counter(make_rate(name, quota, window))
    start = NOW - NOW % window
    assert counter.look(U32, start).allowed == (quota == U32)
    assert counter.charge(quota, start).remaining == 0
    denied = counter.charge(1, start)
    assert not denied.allowed
    assert denied.before == quota
    assert counter.charge(-U32, start).allowed


@pytest.mark.scenario("costs and limits that are zero, too large, or the largest a number can hold")
@pytest.mark.parametrize("name", NAMES)
def test_a_quota_of_zero_denies_everything(name):
    """No cost passes, ever; only a peek does while nothing is held."""
    counter = Counter(make_rate(name, 0, SECOND))
    assert counter.charge(0, NOW).allowed
    for now in (NOW, NOW + 1, NOW + YEAR):
        decision = counter.charge(1, now)
        assert not decision.allowed
        assert decision.retry_after == NEVER
        assert decision.remaining == 0


@pytest.mark.scenario("a key contains foreign data, or the state of another algorithm")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("before", "after"), [(100, 3), (3, 100), (7, 1000)])
def test_state_survives_a_change_of_the_limit(name, before, after):
    """A state written under another quota is taken as it is, up to what the new one holds."""
    counter = Counter(make_rate(name, before, 60 * SECOND))
    start = NOW - NOW % (60 * SECOND)
    counter.charge(2, start)
    counter.rate = make_rate(name, after, 60 * SECOND)
    assert counter.look(0, start).remaining == after - 2
    counter.rate = make_rate(name, before, 60 * SECOND)
    counter.charge(before - 2, start)
    counter.rate = make_rate(name, after, 60 * SECOND)
    assert counter.look(0, start).remaining == max(after - before, 0)
    assert counter.look(1, start).allowed == (after > before)
