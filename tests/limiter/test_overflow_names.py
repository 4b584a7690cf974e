"""The names of overflow counters: no request has them, and no two limits share one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratelimitd.algorithms import ALGORITHMS, counter_key, make_rate
from ratelimitd.limiter import key_maker
from ratelimitd.limiter.keys import overflow_key
from ratelimitd.policy import Limit

SECOND = 1_000_000
START = 1_000 * SECOND

_text = st.binary(max_size=6) | st.sampled_from([b"_", b":", b"1:a", b"{", b"rl1:overflow:fixed", b"x" * 300])
_names = st.text("a_:{0", max_size=3)
_algorithms = st.sampled_from(sorted(ALGORITHMS))
_limits = st.tuples(_algorithms, st.sampled_from([SECOND, 60 * SECOND]), _names)


def limit_of(algorithm, window, item):
    return Limit(make_rate(algorithm, 5, window), 5, item=item, upstream=not item and algorithm == "fixed_window")


@pytest.mark.scenario("a caller that chooses the name of a counter")
@given(_text, _text, _text, _limits, st.lists(st.tuples(_text, _text), max_size=3).map(tuple), _limits, st.booleans())
def test_no_request_can_name_an_overflow_counter(prefix, domain, place, limit, entries, other, safe):
    """Whatever bytes it holds, the counter of a request is another one, at any time."""
    made, own = limit_of(*limit), limit_of(*other)
    shared = overflow_key(prefix, domain, place, *limit)
    key = key_maker(prefix, safe=safe)(domain, own).key(entries)
    assert counter_key(shared, made.rate, START) != counter_key(key, own.rate, START)


@given(st.sampled_from([b"d", b"d_"]), st.sampled_from([b"2:ip", b"4:ip_1"]), _limits)
@example(b"d", b"4:ip_1", ("fixed_window", SECOND, ""))
def test_not_even_under_a_domain_that_was_named_for_it(domain, place, limit):
    """An overflow name, cut at each ``_`` into upstream's domain, keys and values, makes another counter."""
    made = limit_of(*limit)
    shared = overflow_key(b"", domain, place, *limit)
    cut, *parts = shared[:-1].split(b"_")
    upstream = limit_of("fixed_window", SECOND, "")
    entries = tuple(zip(parts[::2], [*parts[1::2], b""]))
    key = key_maker(b"", safe=False)(cut, upstream).key(entries)
    assert counter_key(shared, made.rate, START) != counter_key(key, upstream.rate, START)


@given(_text, _text, _limits, _text, _text, _limits)
@example(b"d", b"b", ("gcra", SECOND, "a"), b"d", b"ab", ("gcra", SECOND, ""))
@example(b"d", b"b", ("gcra", SECOND, ""), b"db", b"", ("gcra", SECOND, ""))
def test_overflow_names_tell_all_limits_apart(domain, place, limit, other_domain, other_place, other):
    """Two limits share one only when domain, place, algorithm, window and item are equal."""
    equal = (domain, place, limit) == (other_domain, other_place, other)
    shared = overflow_key(b"", domain, place, *limit)
    assert equal == (shared == overflow_key(b"", other_domain, other_place, *other))
    assert b"{" not in shared
    assert len(shared) < 340
