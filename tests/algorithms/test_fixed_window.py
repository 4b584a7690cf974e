"""Fixed window, as envoyproxy/ratelimit counts."""

from collections import defaultdict

import pytest
from hypothesis import given

from ratelimitd.algorithms import ALGORITHMS, EXACT, NEVER, Rate, make_rate
from tests.algorithms.cases import SECOND, U32, Counter, histories

History = tuple[Rate, list[tuple[int, int]]]
MINUTE = 60 * SECOND


@given(histories(names=("fixed_window",), back=True))
def test_counts_are_those_of_incrby(history):
    """Each window's count is the sum of its hits, including rejected ones by default; over the quota is denied."""
    rate, charges = history
    counter = Counter(rate)
    counts: dict[int, int] = defaultdict(int)
    for now, cost in charges:
        window = now // rate.window
        after = max(counts[window] + cost, 0)
        allowed = cost < 0 or after <= rate.quota
        assert counter.charge(cost, now).allowed == allowed
        if allowed or rate.count_rejected:
            counts[window] = after


@pytest.mark.parametrize("count_rejected", [True, False])
def test_a_window_admits_exactly_the_quota(count_rejected):
    """Of any number of single hits in one window exactly the quota passes, and in the next again."""
    counter = Counter(make_rate("fixed_window", 7, MINUTE, None, count_rejected))
    for start in (0, MINUTE, 2 * MINUTE):
        assert sum(counter.charge(1, start + i * SECOND).allowed for i in range(60)) == 7


@pytest.mark.scenario("a client keeps sending requests while it is over limit")
def test_rejected_hits_count_only_when_told():
    """After a rejected cost of 5 on a limit of 6 that holds 3, the limit holds 8, or 3 without count_rejected."""
    for count_rejected, held in ((True, 8), (False, 3)):
        counter = Counter(make_rate("fixed_window", 6, MINUTE, None, count_rejected))
        counter.charge(3, 0)
        assert not counter.charge(5, 0).allowed
        assert counter.look(0, 0).before == held


def test_huge_rejected_costs_saturate():
    """A count stops growing well below 2**53, and still denies."""
    rate = make_rate("fixed_window", 10, MINUTE)
    state, decision = ALGORITHMS["fixed_window"].step(EXACT // 2 - 5, rate, U32, 0, 1)
    assert state == EXACT // 2
    assert ALGORITHMS["fixed_window"].step(state, rate, U32, 0, 1) == (state, decision._replace(before=state))
    assert decision.retry_after == NEVER


def test_the_reset_is_the_end_of_the_window():
    """At 2222 s a minute's window has 58 s to go."""
    decision = Counter(make_rate("fixed_window", 1, MINUTE)).charge(1, 2222 * SECOND)
    assert decision.reset_after == 58 * SECOND
