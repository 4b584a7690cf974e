"""What an answer in progress is worth, as settlements tell it."""

from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.algorithms import SECOND, Estimate, amount_bounds, make_rate

QUOTA = (1 << 32) - 1


def learned(costs, start=2_000, most=1 << 20):
    estimate = Estimate(start, most)
    for cost in costs:
        estimate.learn(cost)
    return estimate


def test_the_amount_is_that_of_an_answer_in_progress():
    """Of as many answers of 100 as of 1,000, those in progress cost 918 on average, not 550."""
    assert Estimate(2_000, 1 << 20).amount == 2_000
    assert abs(learned([100, 1_000] * 2_000).amount - 918) < 10
    assert abs(learned([7] * 50_000).amount - 7) <= 1


def test_one_answer_changes_little_and_many_change_it():
    """``start`` counts as eight answers; short ones that settle first after a pause are few of 4,096."""
    assert 1_900 < learned([100]).amount < 2_000
    assert learned([100] * 20_000).amount < 110
    before = learned([2_000] * 4_000)
    for _ in range(200):
        before.learn(10)
    assert before.amount > 1_990


def test_an_absurd_answer_counts_as_the_whole_limit():
    """Of a limit in millionths of a unit of money, a hundred units count as such."""
    assert learned([1 << 60] * 100, most=50).amount == 50
    assert abs(learned([100_000_000] * 20_000, most=1 << 32).amount - 100_000_000) < 10


@given(st.lists(st.integers(1, 1 << 63), max_size=50), st.integers(1, 1 << 40), st.integers(1, 1 << 40))
def test_an_amount_is_within_the_limit(costs, start, most):
    """Whatever is reported, for ever."""
    estimate = learned([*([1 << 63] * 4_200), *costs], start, most)
    assert 0 < estimate.amount <= most
    assert estimate.count < 4_096


@given(st.lists(st.integers(1, 1 << 40), max_size=50), st.integers(1, 1 << 40), st.integers(1, QUOTA))
def test_a_request_holds_half_of_the_limit_at_most(costs, start, most):
    """And so much that a counter has a bounded number of holds; within that it is the amount."""
    estimate = learned(costs, start, most)
    least, half = amount_bounds(make_rate("token_bucket", most, SECOND))
    assert estimate.held == sorted((least, estimate.amount, half))[1]
