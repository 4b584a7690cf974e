"""What the comparison of two checkouts makes of its measurements."""

import random

import pytest

from bench.compare import Case, interval, row


def test_the_bounds_hold_the_median_of_all():
    """Of many series, 95 % have the true median within their bounds, whatever the distribution."""
    draw = random.Random(1)
    held = 0
    for _ in range(1_000):
        low, high = interval([draw.expovariate(0.6931471805599453) for _ in range(20)])[1:]
        held += low <= 1.0 <= high
    assert 0.93 <= held / 1_000 <= 0.98


@pytest.mark.parametrize(("count", "bounds"), [(2, (0, 1)), (5, (0, 4)), (6, (0, 5)), (20, (5, 14))])
def test_bounds_are_ranks(count, bounds):
    """They are values that were measured; of few, the least and the most."""
    assert interval(range(count))[1:] == bounds


def test_a_row_compares_rounds_with_each_other():
    """The change is the median of the changes of rounds, so that a slow minute of the machine is none."""
    found = [[1e-5, 2e-5, 4e-5], [1.1e-5, 2.2e-5, 4.4e-5]]
    assert row(Case("memory", 1), found) == ["memory, 1 key", "20.0", "22.0", "+10.0%", "+10.0% to +10.0%"]
