"""make_rate, and look-ups in the table of algorithms."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.algorithms import ALGORITHMS, EXACT, RateError, counter_key, deviation, make_rate, window_start
from ratelimitd.algorithms.meter import fraction_below
from tests.algorithms.cases import METERS, SECOND, U32, YEAR, rates

BAD = [
    (("token_bukcet", 1, SECOND), "unknown algorithm 'token_bukcet': write one of fixed_window"),
    (("gcra", -1, SECOND), "write 0 to 4294967295"),
    (("gcra", U32 + 1, SECOND), "write 0 to 4294967295"),
    (("gcra", 1, 0), "write one above 0"),
    (("gcra", 1, (1 << 51) + 1), "up to 71 years"),
    (("fixed_window", 1, SECOND + 1), "whole seconds"),
    (("fixed_window", 1, SECOND, 2), "burst is for token_bucket, gcra and leaky_bucket"),
    (("sliding_window", 10_001, SECOND), "write sliding_window_counter"),
    (("gcra", 1, SECOND, None, False), "count_rejected: false is for fixed_window"),
    (("gcra", 1, SECOND, 0), "write 1 to 4294967295"),
    (("gcra", 1, SECOND, U32 + 1), "write 1 to 4294967295"),
    (("gcra", 0, SECOND, 5), "leave burst out"),
    (("gcra", 1, YEAR, 72), "write at most 71"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD)
def test_a_rate_that_cannot_be_says_what_to_write(arguments, says):
    """Every refused rate names its mend."""
    with pytest.raises(RateError, match=says.replace("(", r"\(")):
        make_rate(*arguments)  # type: ignore[arg-type]


def test_the_largest_burst_is_accepted():
    """What the error about a burst offers is itself fine."""
    assert make_rate("gcra", 1, YEAR, 71).burst == 71


def test_a_limit_of_0_may_have_a_burst_of_0():
    """It says what holds anyway."""
    assert make_rate("gcra", 0, SECOND, 0) == make_rate("gcra", 0, SECOND)


@pytest.mark.parametrize("name", METERS)
def test_the_three_meters_are_one(name):
    """token_bucket, gcra and leaky_bucket are three rows with one step and one fragment."""
    assert ALGORITHMS[name] is ALGORITHMS["token_bucket"]


@pytest.mark.scenario("rates so slow or so fast that rounding could expire a key early or lose requests")
@given(rates(names=tuple(METERS)))
def test_a_meter_is_never_faster_than_written(rate):
    """The enforced fraction is at most the written one, below it by under one in a million, and fits a double."""
    leak, scale, burst, full, drain, ceiling, emptied = rate.numbers  # type: ignore[attr-defined]
    assert full == burst * scale < EXACT
    off = deviation(rate)  # type: ignore[arg-type]
    assert 0 <= off < 1e-6
    if off == 0.0 and rate.quota:  # type: ignore[attr-defined]
        assert abs(Fraction(leak, scale) / Fraction(rate.quota, rate.window) - 1) < Fraction(1, EXACT)  # type: ignore[attr-defined]
    assert (drain - 1) * leak < full or drain == 0
    assert full <= ceiling < EXACT
    assert ceiling % scale == 0
    assert (emptied - 1) * leak < ceiling or emptied == 0


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 60))
def test_fraction_below_is_the_nearest(numerator, denominator, largest):
    """It is the greatest of all fractions up to the target with a small enough denominator."""
    target = Fraction(numerator, denominator)
    best = max(Fraction(numerator * d // denominator, d) for d in range(1, largest + 1))
    found = fraction_below(target.numerator, target.denominator, largest)
    assert Fraction(*found) == best
    assert found[1] <= largest


def test_an_inexact_rate_says_so():
    """deviation is 0.0 for everyday rates, not for 2**32 - 1 a year, and always for windows."""
    assert deviation(make_rate("gcra", 10, 60 * SECOND)) == 0.0
    assert deviation(make_rate("gcra", U32, SECOND)) == 0.0
    assert 0.0 < deviation(make_rate("gcra", U32, YEAR)) < 1e-6
    assert deviation(make_rate("gcra", 0, YEAR)) == 0.0
    assert deviation(make_rate("fixed_window", U32, YEAR)) == 0.0


@pytest.mark.parametrize(
    ("seconds", "now", "key"),
    [(1, 1234, b"domain_key_value_1234"), (3600, 1_000_000, b"domain_key_value_997200")],
)
def test_a_fixed_windows_counter_is_upstreams(seconds, now, key):
    """The key of a fixed window's counter is envoyproxy/ratelimit's, byte for byte."""
    rate = make_rate("fixed_window", 1, seconds * SECOND)
    assert counter_key(b"domain_key_value_", rate, now * SECOND + 999_999) == key
    assert window_start(rate, now * SECOND + 999_999) == int(key.rpartition(b"_")[2]) * SECOND


@pytest.mark.parametrize("name", [name for name, row in ALGORITHMS.items() if not row.keyed_by_window])
def test_other_counters_have_one_key(name):
    """Where windows share a counter the key is what was passed in."""
    assert counter_key(b"k", make_rate(name, 1, SECOND), 5 * SECOND) == b"k"
