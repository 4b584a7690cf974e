"""Patterns with ``*``."""

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratelimitd.policy.wildcards import Wildcards


def matches(pattern, text):
    wildcards: Wildcards[bool] = Wildcards()
    wildcards.add(pattern.encode(), target=True)
    return wildcards.find(text.encode()) is True


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("foo*", ["foo1", "foo"], ["bar", "afoo"]),
        ("bar*b", ["barab", "bar123b", "barb"], ["bara", "xbarb", "bar"]),
        ("foo*bar*baz", ["foo123bar456baz", "foobarbaz"], ["foo123baz", "bar456baz"]),
        ("ab*ba", ["abba", "abxba"], ["aba"]),
        ("*", ["", "x", "*"], []),
        ("a**b", ["ab", "axb"], ["a"]),
    ],
)
def test_a_star_is_any_number_of_characters(pattern, yes, no):
    """The examples of envoyproxy/ratelimit's tests, and the edges where ends may not overlap."""
    assert [text for text in yes + no if matches(pattern, text)] == yes


@given(
    st.lists(st.text("ab*", min_size=1, max_size=5).filter(lambda p: "*" in p), max_size=8), st.text("ab*", max_size=8)
)
@example(["*a", "a*"], "aa")
@example(["a*b", "*", "a*"], "ab")
@example(["b*", "*z", "a*", "*y"], "ay")
def test_the_first_pattern_in_order_that_matches_is_found(patterns, text):
    """The index by ends agrees with trying one pattern after the other."""
    wildcards: Wildcards[int] = Wildcards()
    for number, pattern in enumerate(patterns):
        wildcards.add(pattern.encode(), number)
    expected = next(
        (
            number
            for number, pattern in enumerate(patterns)
            if re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL)
        ),
        None,
    )
    assert wildcards.find(text.encode()) == expected


@pytest.mark.alone
def test_many_stars_cost_no_more_than_the_length_of_the_text():
    """A pattern that makes regular expressions backtrack for ever is settled in one pass."""
    started = time.process_time()
    assert not matches("*a*a*a*a*a*a*a*ac*b", "a" * 100_000 + "b")
    assert time.process_time() - started < 1


def test_many_patterns_are_found_by_their_ends():
    """Among 20,000 prefixes only the one that fits is tried, so the number of rules does not matter."""
    wildcards: Wildcards[int] = Wildcards()
    for number in range(20_000):
        wildcards.add(b"path_/api/%05d*" % number, number)
    assert len(wildcards._shapes) == 1
    assert wildcards.find(b"path_/api/19999/x") == 19_999


def test_the_pattern_added_last_can_be_forgotten():
    """What it matched is then matched by the next in order, or by nothing."""
    wildcards: Wildcards[int] = Wildcards()
    for number, pattern in enumerate((b"a*", b"*b", b"a*c")):
        wildcards.add(pattern, number)
    assert (len(wildcards), list(wildcards)) == (3, [(b"a*", 0), (b"*b", 1), (b"a*c", 2)])
    wildcards.forget_last()
    wildcards.forget_last()
    assert [wildcards.find(text) for text in (b"ac", b"xb", b"ab")] == [0, None, 0]
    wildcards.forget_last()
    assert (wildcards.find(b"ab"), len(wildcards)) == (None, 0)
