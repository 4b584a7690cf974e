"""The approximation, and the error it states."""

from collections import defaultdict
from fractions import Fraction

import pytest
from hypothesis import assume, example, given

from ratelimitd.algorithms import Rate, make_rate
from ratelimitd.config.values import UINT32_MAX
from tests.algorithms.cases import SECOND, Counter, histories

History = tuple[Rate, list[tuple[int, int]]]
MINUTE = 60 * SECOND


@pytest.mark.scenario("a burst at the edge of a window")
@given(histories(names=("sliding_window_counter",)))
def test_the_stated_error_holds(history):
    """No aligned window admits over the quota; a span that ends a fraction f into one at most quota * (1 + f)."""
    rate, charges = history
    counter = Counter(rate)
    passed = [(now, cost) for now, cost in charges if cost > 0 and counter.charge(cost, now).allowed]
    aligned: dict[int, int] = defaultdict(int)
    for end, cost in passed:
        aligned[end // rate.window] += cost
        assert aligned[end // rate.window] <= rate.quota
        span = sum(cost for at, cost in passed if end - rate.window < at <= end)
        assert span <= rate.quota * (1 + Fraction(end % rate.window, rate.window))


YEAR = 31_536_000 * SECOND


@given(histories(names=("sliding_window_counter",)))
@example(
    (
        make_rate("sliding_window_counter", UINT32_MAX, YEAR),
        [(1_764_018_900_123_456, 745_979), (1_767_091_287_220_142, 1)],
    )
)
def test_it_is_the_weighed_sum(history):
    """The estimate is current + previous * part in sight, rounded up; coarse ticks add under two in a million."""
    rate, charges = history
    assume(rate.quota)
    counter = Counter(rate)
    counts: dict[int, int] = defaultdict(int)
    for now, cost in charges:
        if cost < 0:
            continue
        window, into = divmod(now, rate.window)
        part = Fraction(rate.window - into, rate.window)
        exact = counts[window] + counts[window - 1] * part
        decision = counter.charge(cost, now)
        assert exact <= decision.before < exact + 1 + Fraction(counts[window - 1], 500_000)
        if decision.allowed:
            counts[window] += cost


def test_the_previous_window_fades():
    """A quarter into a window three quarters of the last one still count."""
    counter = Counter(make_rate("sliding_window_counter", 100, MINUTE))
    counter.charge(80, MINUTE - 1)
    assert counter.look(0, MINUTE + MINUTE // 4).before == 60
    assert counter.look(0, 2 * MINUTE).before == 0


def test_a_give_back_takes_from_the_current_window_first():
    """What the current window does not hold is taken from the previous one."""
    counter = Counter(make_rate("sliding_window_counter", 100, MINUTE))
    counter.charge(40, 0)
    counter.charge(10, MINUTE)
    assert counter.charge(-20, MINUTE).remaining == 70


def test_counts_above_a_lowered_quota_are_the_quota():
    """After the quota went from 100 to 10, half a window later the previous one weighs 5."""
    counter = Counter(make_rate("sliding_window_counter", 100, MINUTE))
    counter.charge(100, 0)
    counter.rate = make_rate("sliding_window_counter", 10, MINUTE)
    assert counter.look(0, 0).before == 10
    assert counter.look(0, MINUTE + MINUTE // 2).before == 5
