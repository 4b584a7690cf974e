"""Costs that come after the request: questions and settlements, for each algorithm alike."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.algorithms import ALGORITHMS, EXACT, NEVER, Rate, ceiling_of, make_rate
from tests.algorithms.cases import (
    ASKED,
    DAY,
    LATEST,
    METERS,
    NOW,
    SECOND,
    SETTLEMENT,
    U32,
    YEAR,
    Counter,
    costs,
    jumps,
    rates,
)
from tests.algorithms.exact import Exact, exactly

History = tuple[Rate, list[tuple[int, int, int]]]
NAMES = list(ALGORITHMS)
HOUR = 3_600 * SECOND
START = NOW - NOW % HOUR + 7


@st.composite
def reports(draw, *, back=False):
    """A rate, and (now, cost, flags) of questions, weighted requests, settlements, releases and give-backs."""
    rate = draw(rates())
    now = NOW - draw(st.integers(0, rate.window))
    history = []
    for jump, cost in draw(st.lists(st.tuples(jumps(rate, back=back), costs(rate)), max_size=25)):
        now = min(max(now + jump, 0), LATEST)
        history.append((now, cost, draw(st.sampled_from([ASKED, SETTLEMENT]))))
    return rate, history


@given(reports())
def test_retry_after_is_when_a_question_passes(history):
    """A refused request passes once retry_after is over, and not one µs before; after a settlement, a question does."""
    rate, charges = history
    counter = Counter(rate)
    for now, cost, flags in charges:
        decision = counter.charge(cost, now, flags)
        need = 0 if flags == SETTLEMENT else cost
        if decision.retry_after == NEVER:
            assert max(need, 1) > rate.burst
        elif decision.retry_after:
            assert counter.look(need, now + decision.retry_after, ASKED).allowed
            assert not counter.look(need, now + decision.retry_after - 1, ASKED).allowed


@given(reports())
def test_a_state_may_go_after_reset_after(history):
    """A store that drops each state after reset_after decides as one that keeps it for ever, debts too."""
    rate, charges = history
    keeping, forgetting = Counter(rate), Counter(rate, forgetful=True)
    for charge in charges:
        assert keeping.charge(*order(charge)) == forgetting.charge(*order(charge))


def order(charge):
    now, cost, flags = charge
    return cost, now, flags


@given(reports(back=True))
def test_a_decision_adds_up(history):
    """A question passes if 1 is left; a settlement is recorded in any case, up to the ceiling; a release passes."""
    rate, charges = history
    counter, most = Counter(rate), ceiling_of(rate)
    for now, cost, flags in charges:
        decision = counter.charge(cost, now, flags)
        after = counter.look(0, now, SETTLEMENT)
        assert after.allowed
        assert 0 <= decision.remaining <= rate.burst
        assert decision.allowed == (decision.retry_after == 0)
        if cost < 0:
            assert decision.allowed
        elif flags == ASKED:
            assert decision.allowed == (decision.before + max(cost, 1) <= rate.burst)
        elif cost == 0:
            assert decision.allowed
            assert after.before == decision.before
        else:
            assert decision.allowed == (decision.before + cost <= rate.burst)
            assert after.before == max(decision.before, min(decision.before + cost, most))


@given(reports(back=True))
def test_a_step_changes_no_state_in_place(history):
    """Every state of a history decides the same afterwards as when it was new."""
    rate, charges = history
    step = ALGORITHMS[rate.algorithm].step
    state: Any = None
    seen = []
    for now, cost, flags in charges:
        after, decision = step(state, rate, cost, now, flags)
        seen.append((state, cost, now, flags, decision))
        state = after
    for state, cost, now, flags, decision in reversed(seen):
        assert step(state, rate, cost, now, flags)[1] == decision


@pytest.mark.scenario("costs and limits that are zero, too large, or the largest a number can hold")
@given(reports(back=True))
def test_every_intermediate_is_an_exact_double(history):
    """No number on the way to a decision reaches 2**53, whatever debt settlements have left."""
    rate, charges = history
    counter = Counter(exactly(rate))
    for now, cost, flags in charges:
        decision = counter.charge(Exact(cost), Exact(now), flags)
        assert max(decision.reset_after, decision.retry_after) + now < EXACT


@given(rates())
def test_a_ceiling_leaves_room(rate):
    """As much as the limit; in a window twice that, in a bucket below a billion a day of refill or 3 bursts more."""
    assert ceiling_of(rate) >= rate.burst
    if rate.algorithm not in METERS:
        assert ceiling_of(rate) >= 2 * rate.burst
    elif rate.burst * rate.window <= (1 << 48) * rate.quota and rate.burst < 1 << 30:
        leak, scale = rate.numbers[:2]
        assert ceiling_of(rate) >= min(4 * rate.burst, rate.burst + leak * DAY // scale)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("used", "passes"), [(0, True), (4, True), (5, False), (6, False)])
@pytest.mark.parametrize("cost", [0, 1])
def test_a_question_needs_one_unit(name, used, passes, cost):
    """On a fresh counter, at L - 1, at L and past it: what asks passes while 1 is left, and a 0 takes nothing."""
    counter = Counter(make_rate(name, 5, HOUR))
    counter.charge(used, START, SETTLEMENT)
    decision = counter.charge(cost, START, ASKED)
    assert (decision.allowed, decision.before) == (passes, used)
    taken = cost if passes else (cost if name == "fixed_window" else 0)
    assert counter.look(0, START, SETTLEMENT).before == used + taken


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cost", [3, 6, 10**9, U32])
def test_a_settlement_is_recorded_whatever_is_left(name, cost):
    """More than the rest, than the limit, and the most that Envoy sends: two in a row, up to the ceiling."""
    rate = make_rate(name, 5, HOUR)
    counter = Counter(rate)
    counter.charge(4, START, SETTLEMENT)
    first, second = counter.charge(cost, START, SETTLEMENT), counter.charge(cost, START, SETTLEMENT)
    assert [first.allowed, second.allowed] == [False, False]
    assert second.before == min(4 + cost, ceiling_of(rate))
    assert counter.look(0, START, SETTLEMENT).before == min(4 + 2 * cost, ceiling_of(rate))
    assert second.remaining == 0


@pytest.mark.parametrize("name", METERS)
def test_one_absurd_report_shuts_a_bucket_for_a_day(name):
    """A billion against 5 an hour: the next question passes after a day and the time of one unit; a week if that is
    the window."""
    for window, longest in ((HOUR, DAY), (7 * DAY, 7 * DAY)):
        counter = Counter(make_rate(name, 5, window))
        wait = counter.charge(10**9, START, SETTLEMENT).retry_after
        assert longest <= wait <= longest + window // 5


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_of_zero_admits_no_question(name):
    """A suspended caller is denied, as upstream's peek of 0 is not."""
    counter = Counter(make_rate(name, 0, HOUR))
    assert counter.look(0, START).allowed
    refused = counter.look(0, START, ASKED)
    assert (refused.allowed, refused.retry_after) == (False, NEVER)
    assert counter.charge(30, START, SETTLEMENT).retry_after == NEVER


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_of_50_lets_2_of_12_answers_of_30_pass(name):
    """Each answer is asked for and then reported; give-backs of what was never taken change nothing."""
    counter = Counter(make_rate(name, 50, HOUR))
    passed = 0
    for _ in range(12):
        if counter.charge(0, START, ASKED).allowed:
            passed += 1
            counter.charge(30, START, SETTLEMENT)
    assert passed == 2
    assert counter.charge(-U32, START, ASKED).allowed
    assert counter.look(50, START, ASKED).allowed


@pytest.mark.parametrize("name", NAMES)
def test_debts_are_kept_by_post_paid_charges_only(name):
    """A plain charge takes a counter for full at most, so that a limit that was lowered leaves nobody in debt."""
    rate = make_rate(name, 5, HOUR)
    counter = Counter(rate)
    counter.charge(20, START, SETTLEMENT)
    full = 5 if name in METERS or name == "sliding_window_counter" else 20
    assert counter.look(0, START).before == full
    assert counter.look(0, START, ASKED).before == 20


def test_rejected_costs_of_a_settlement_count_where_those_of_requests_do_not():
    """count_rejected: false is about requests."""
    counter = Counter(make_rate("fixed_window", 5, HOUR, count_rejected=False))
    counter.charge(9, START, ASKED)
    assert counter.look(0, START, ASKED).before == 0
    counter.charge(9, START, SETTLEMENT)
    assert counter.look(0, START, ASKED).before == 9


def test_the_log_stays_short():
    """Settlements past the limit add no entry: at most the limit and one exist, and the newest has the time."""
    rate = make_rate("sliding_window", 7, HOUR)
    state: Any = None
    for number in range(40):
        state, _ = ALGORITHMS[rate.algorithm].step(state, rate, 1, START + number, SETTLEMENT)
        assert state.high - state.low == min(number + 1, 7)
    assert (state.totals[-1], state.times[-1]) == (40, START + 39)


@pytest.mark.parametrize("name", METERS)
def test_a_debt_drains_at_the_rate(name):
    """Four hours of it take four hours, though the limit alone refills in one."""
    counter = Counter(make_rate(name, 5, HOUR))
    counter.charge(20, START, SETTLEMENT)
    held = [counter.look(0, START + hours * HOUR, SETTLEMENT).before for hours in range(5)]
    assert held == [20, 15, 10, 5, 0]


@pytest.mark.parametrize("name", NAMES)
def test_the_largest_numbers(name):
    """2**32 - 1 a second, a year and 71 years: a report of as much is recorded, and the next question is told when."""
    for window in (SECOND, YEAR, (1 << 51) // SECOND * SECOND):
        quota = 10_000 if name == "sliding_window" else U32
        counter = Counter(make_rate(name, quota, window))
        counter.charge(U32, START, SETTLEMENT)
        asked = counter.charge(0, START, ASKED)
        assert not asked.allowed
        assert counter.look(0, START + asked.retry_after, ASKED).allowed
