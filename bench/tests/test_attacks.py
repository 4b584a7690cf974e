"""Bounds of the attacks benchmark for synthetic readings; the table of attacks itself."""

import json
import math

import pytest

from bench.attacks import COLUMNS, _data, _row, misses
from testkit.attacks import ATTACKS, Found, Reading

QUIET = Reading([0.0005] * 98 + [0.004] * 2)


def found(beside, alone=QUIET):
    return Found(alone, beside, alone, 2.0, 4_000, 0.1, 0.4, 1 << 20, {})


def reading(p50, p99, failed=()):
    return Reading([p50] * 98 + [p99] * 2, failed)


def test_others_that_see_nothing_are_no_miss():
    """The row has a cell for each column, and the data are JSON."""
    seen = found(QUIET)
    assert [*misses("burst", seen)] == []
    row = _row("burst", ATTACKS["burst"], seen)
    assert len(row) == len(COLUMNS)
    assert row[2:7] == ["2", "5.0%", "20%", "4.00", "1.0"]
    assert json.dumps(_data("burst", seen), allow_nan=False)


@pytest.mark.parametrize(
    ("name", "beside", "said"),
    [
        ("burst", reading(0.0031, 0.004), ["p50 3.10 ms, of 3.00 allowed"]),
        ("burst", reading(0.0029, 0.004), []),
        ("wide", reading(0.0049, 0.005), []),
        ("wide", reading(0.0051, 0.006), ["p50 5.10 ms, of 5.00 allowed"]),
        ("burst", reading(0.001, 0.021), ["p99 21.0 ms, of 20.0 allowed"]),
        ("burst", reading(0.001, 0.002, ["8"]), ["1 asks failed, such as with 8"]),
    ],
)
def test_what_exceeds_a_bound_is_a_miss(name, beside, said):
    """Medians, tails and failures each have their own."""
    assert [*misses(name, found(beside))] == said


def test_bounds_follow_what_others_see_without_the_attack():
    """On a slow machine twice the median and 1.5 times the tail are allowed, and no more."""
    slow = reading(0.004, 0.040)
    assert [*misses("burst", found(reading(0.0079, 0.059), slow))] == []
    assert len([*misses("burst", found(reading(0.0081, 0.061), slow))]) == 2


def test_no_answer_at_all_is_a_miss():
    """A median of nothing is no number, and must not pass for a small one."""
    seen = found(Reading([], ["timed out"]))
    assert len([*misses("burst", seen)]) == 3
    assert _data("burst", seen)["p50"] is None
    assert math.isnan(seen.beside.p99)


def test_every_attack_says_what_it_sends():
    """The notes below the table have a line for each."""
    assert [name for name, attack in ATTACKS.items() if not attack.about] == []
