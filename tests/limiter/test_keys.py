import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.algorithms import make_rate
from ratelimitd.limiter import key_maker
from ratelimitd.policy import Limit, Unit

SECOND = 1_000_000
UPSTREAM = Limit(make_rate("fixed_window", 10, SECOND), 10, Unit.SECOND)
OURS = Limit(make_rate("token_bucket", 10, SECOND), 10, Unit.SECOND, upstream=False)


def test_a_plain_fixed_window_keeps_upstreams_key():
    """Up to the start of the window the key is upstream's, byte for byte, prefix and empty values included."""
    maker = key_maker(b"prefix:", safe=False)
    assert maker(b"domain", UPSTREAM).key(((b"key", b"value"),)) == b"prefix:domain_key_value_"
    assert maker(b"domain", UPSTREAM).key(((b"key", b""), (b"sub", b"x"))) == b"prefix:domain_key__sub_x_"


def test_what_upstream_cannot_express_gets_a_key_of_ours():
    """Another algorithm, or FIXED_WINDOW_KEYS=safe, never shares upstream's key."""
    entries = ((b"key", b"value"),)
    plain = key_maker(b"", safe=False)(b"domain", UPSTREAM).key(entries)
    assert plain != key_maker(b"", safe=False)(b"domain", OURS).key(entries)
    assert plain != key_maker(b"", safe=True)(b"domain", UPSTREAM).key(entries)


_text = st.binary(max_size=6) | st.sampled_from([b"_", b":", b"1:a", b"{", b"{a}", b"x" * 300])
_entries = st.lists(st.tuples(_text, _text), max_size=3).map(tuple)


@pytest.mark.scenario("a caller that chooses the name of a counter")
@given(_text, _entries, _text, _entries)
def test_keys_of_ours_tell_all_descriptors_apart(domain, entries, other_domain, other_entries):
    """Two identities share a safe key only when they are equal, whatever bytes they hold."""
    maker = key_maker(b"", safe=True)
    equal = (domain, entries) == (other_domain, other_entries)
    assert equal == (maker(domain, OURS).key(entries) == maker(other_domain, OURS).key(other_entries))


_items = st.text("a1:_{#", max_size=4)


@given(_items, _entries, _items, _entries)
def test_an_items_name_cannot_pass_for_an_entry(item, entries, other_item, other_entries):
    """Limits of one descriptor, whatever their names hold, share a key only when name and entries are equal."""
    maker = key_maker(b"", safe=True)
    equal = (item, entries) == (other_item, other_entries)
    assert equal == (
        maker(b"d", OURS._replace(item=item)).key(entries)
        == maker(b"d", OURS._replace(item=other_item)).key(other_entries)
    )


@pytest.mark.scenario("messages that are too large")
@pytest.mark.scenario("a caller that chooses the name of a counter")
@given(_text, _entries)
def test_a_caller_can_choose_neither_slot_nor_length(domain, entries):
    """No safe key holds a brace, with which a caller could choose a cluster's slot, nor grows with the request."""
    key = key_maker(b"", safe=True)(domain, OURS).key(entries)
    assert b"{" not in key
    assert len(key) < 340


@pytest.mark.scenario("a key contains foreign data, or the state of another algorithm")
def test_items_windows_and_algorithms_have_counters_of_their_own():
    """Several limits of one descriptor never share a counter; a change of numbers alone keeps it."""
    maker = key_maker(b"", safe=True)

    def key(algorithm, quota, window, item):
        limit = Limit(make_rate(algorithm, quota, window), quota, Unit.SECOND, item=item)
        return maker(b"d", limit).key(((b"k", b"v"),))

    keys = [
        key("token_bucket", 10, SECOND, "0"),
        key("token_bucket", 10, 60 * SECOND, "0"),
        key("gcra", 10, SECOND, "0"),
        key("token_bucket", 10, SECOND, "1"),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == key("token_bucket", 99, SECOND, "0")


@pytest.mark.parametrize("safe", [True, False])
def test_an_unlimited_limit_has_no_key(safe):
    """There is no counter that a caller could name by mistake."""
    unlimited = Limit(None, 0, Unit.SECOND, upstream=False)
    with pytest.raises(ValueError, match="an unlimited limit has no counter"):
        key_maker(b"", safe=safe)(b"d", unlimited)
