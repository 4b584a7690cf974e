"""The lines of statsd and DogStatsD."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.statsd.wire import datagrams, dog_statsd, line, statsd, thinned


def same(name):
    return name, ()


def test_a_line_of_statsd_is_name_value_and_type():
    """As gostats writes it, which receivers parse."""
    assert line(statsd(())("a.b"), 7, b"|c") == b"a.b:7|c\n"


def test_tags_of_statsd_are_in_the_name():
    """Sorted by key, after the name; a tag without key or value is none; what ends a name is replaced."""
    write = statsd((("zone", "a.b:c|d"), ("env", "prod"), ("", "x"), ("y", "")))
    assert line(write("a.b"), 1, b"|g") == b"a.b.__env=prod.__zone=a_b_c_d:1|g\n"


def test_tags_of_dog_statsd_follow_the_type():
    """In the order of upstream: EXTRA_TAGS, then those that a rule makes; a rate is between type and tags."""
    write = dog_statsd((("zone", "z"), ("env", "prod")), lambda name: (name.upper(), [("route", "/a,b|c\nd")]))
    assert line(write("a.b"), 3, b"|ms", b"|@0.5") == b"A.B:3|ms|@0.5|#env:prod,zone:z,route:/a_b_c_d\n"
    assert line(dog_statsd((), same)("a.b"), 3, b"|c") == b"a.b:3|c\n"


def test_a_name_that_a_rule_makes_ends_nowhere_else():
    """A colon, a bar or a line feed in it would begin a value, a type or another metric."""
    write = dog_statsd((), lambda name: ("a:9|c\nb", ()))
    assert line(write("x"), 1, b"|c") == b"a_9_c_b:1|c\n"


@pytest.mark.parametrize(
    ("lines", "most", "parts"),
    [
        (b"aa\nbb\ncc\n", 5, [b"aa\nbb", b"cc"]),
        (b"aa\nbb\ncc\n", 6, [b"aa\nbb", b"cc"]),
        (b"aa\nbb\ncc\n", 100, [b"aa\nbb\ncc"]),
        (b"aaaaaaaa\nb\n", 3, [b"aaaaaaaa", b"b"]),
        (b"", 3, []),
    ],
)
def test_datagrams_have_whole_lines(lines, most, parts):
    """As many as fit, without the last line feed; a line that is too long is alone."""
    assert list(datagrams(lines, most)) == parts


@given(st.dictionaries(st.integers(0, 60_000), st.integers(0, 10**7)), st.integers(1, 1000))
def test_few_calls_are_sent_each_and_many_by_a_rate(times, most):
    """Every call without a rate up to ``most``; past it one of 2, 4, 8 …, which stands for as many as there were."""
    kept, rate = thinned(times.items(), most)
    calls, lines = sum(times.values()), sum(count for _, count in kept)
    assert [time for time, _ in kept] == sorted(times)
    if calls <= most:
        assert (dict(kept), rate) == (times, b"")
    else:
        step = 1 / float(rate.removeprefix(b"|@"))
        assert step == int(step)
        assert lines <= most + 1
        assert abs(lines * step - calls) <= step / 2
