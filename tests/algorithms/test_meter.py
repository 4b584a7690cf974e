"""Token bucket, GCRA, leaky bucket."""

from fractions import Fraction

import pytest
from hypothesis import assume, given

from ratelimitd.algorithms import Rate, deviation, make_rate
from tests.algorithms.cases import METERS, NOW, SECOND, Counter, histories

History = tuple[Rate, list[tuple[int, int]]]


@pytest.mark.scenario("a burst at the edge of a window")
@given(histories(names=tuple(METERS)))
def test_no_interval_admits_more_than_burst_and_rate(history):
    """Between any two charges at most burst + quota * t / window passes, whatever was asked."""
    rate, charges = history
    counter = Counter(rate)
    passed = [(now, cost) for now, cost in charges if cost > 0 and counter.charge(cost, now).allowed]
    for first, (begin, _) in enumerate(passed):
        total = 0
        for end, cost in passed[first:]:
            total += cost
            assert total <= rate.burst + Fraction(rate.quota * (end - begin), rate.window)


@given(histories(names=tuple(METERS)))
def test_it_is_the_token_bucket_of_the_textbook(history):
    """Where the fraction is exact, decisions are those of a bucket that refills continuously, in fractions."""
    rate, charges = history
    assume(deviation(rate) == 0.0 and rate.quota and rate.numbers[0] * rate.window == rate.quota * rate.numbers[1])
    counter = Counter(rate)
    tokens, last = Fraction(rate.burst), 0
    for now, cost in charges:
        tokens = min(Fraction(rate.burst), tokens + Fraction(rate.quota * (now - last), rate.window))
        last = now
        decision = counter.charge(cost, now)
        assert decision.allowed == (cost <= 0 or cost <= tokens)
        if decision.allowed:
            tokens = min(Fraction(rate.burst), tokens - cost)
        assert decision.remaining == int(tokens)


@pytest.mark.scenario("rates so slow or so fast that rounding could expire a key early or lose requests")
def test_a_fast_rate_loses_nothing_to_microseconds():
    """600,000 a second admits 600,000 in a second of steady demand, where whole µs between requests would not."""
    counter = Counter(make_rate("token_bucket", 600_000, SECOND, 2))
    admitted = sum(counter.charge(1, NOW + us).allowed for us in range(100_000))
    assert admitted in (60_001, 60_002)


def test_burst_is_what_passes_at_once_from_idle():
    """With burst 5 at 1/s five pass at once, then one each second."""
    counter = Counter(make_rate("gcra", 1, SECOND, 5))
    assert [counter.charge(1, NOW).allowed for _ in range(6)] == [True] * 5 + [False]
    assert counter.charge(1, NOW + SECOND).allowed
    assert not counter.charge(1, NOW + SECOND).allowed


def test_a_part_of_a_request_counts_whole_under_another_scale():
    """A debt written in another scale is never taken for less than it was."""
    counter = Counter(make_rate("gcra", 7, 60 * SECOND))
    counter.charge(3, NOW)
    counter.charge(1, NOW + 1)
    counter.rate = make_rate("gcra", 100, 60 * SECOND)
    assert counter.look(0, NOW + 1).remaining == 96


def test_a_debt_above_a_lowered_burst_is_the_burst():
    """After the burst went from 10 to 3 a full debt is 3, and drains in the time that 3 take."""
    counter = Counter(make_rate("gcra", 1, SECOND, 10))
    counter.charge(10, NOW)
    counter.rate = make_rate("gcra", 1, SECOND, 3)
    held = counter.look(0, NOW)
    assert (held.before, held.remaining, held.reset_after) == (3, 0, 3 * SECOND)
