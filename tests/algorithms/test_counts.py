"""Counters that the script only adds to: one number a key, an expiry that is seldom renewed, the order of charges."""

import pytest

from ratelimitd.algorithms import SATURATED, Decision, make_rate
from ratelimitd.limiter import Failure, FailureKind
from ratelimitd.stores.redis.packing import open_selections, pack
from ratelimitd.stores.redis.replies import check
from tests.algorithms.cases import ASKED, SECOND, ask

MINUTE, HOUR = 60 * SECOND, 3_600 * SECOND
RATE = make_rate("fixed_window", 3, MINUTE)
NOW = 7_200 * SECOND
"""A minute and an hour begin."""


def befores(*asks):
    """The count before each charge."""
    return [outcome.before for one in asks for outcome in one.outcomes if isinstance(outcome, Decision)]


@pytest.mark.redis
@pytest.mark.scenario("one hot key")
def test_a_hot_key_is_added_to_once(empty, script):
    """All charges of one key are one INCRBY; each is decided by the count that it would have found alone."""
    asks = [ask((RATE, b"k_", cost)) for cost in (1, 2, 1, 1)]
    empty.config_resetstat()
    script.charge(asks, NOW, jitter=0)
    assert befores(*asks) == [0, 1, 3, 4]
    assert [one.outcomes[0].allowed for one in asks] == [True, True, False, False]
    assert empty.info("commandstats")["cmdstat_incrby"]["calls"] == 1
    assert empty.get("k_7200") == b"5"


@pytest.mark.redis
@pytest.mark.scenario("the clocks of hosts differ")
@pytest.mark.parametrize(("life", "renewed"), [(59_000, True), (66_000, False)])
def test_a_counter_lives_for_a_window_after_each_charge(empty, script, life, renewed):
    """A host whose clock is behind finds it; an expiry that is far enough away is left as it is."""
    script.charge([ask((RATE, b"k_", 1))], NOW, jitter=0)
    assert 60_000 < empty.pttl("k_7200") <= 67_500
    empty.pexpire("k_7200", life)
    script.charge([ask((RATE, b"k_", 1))], NOW, jitter=0)
    assert (empty.pttl("k_7200") > 66_000) == renewed


@pytest.mark.redis
def test_charges_of_one_counter_keep_their_order(empty, script):
    """A counter that is given back too is charged in the order of the asks, not added to first."""
    asks = [ask((RATE, b"k_", 3)), ask((RATE, b"k_", -1)), ask((RATE, b"k_", 1), (RATE, b"other_", 1))]
    script.charge(asks, NOW)
    assert befores(*asks) == [0, 3, 2, 0]
    assert all(outcome.allowed for one in asks for outcome in one.outcomes)


@pytest.mark.redis
@pytest.mark.parametrize("windows", [(MINUTE, HOUR), (HOUR, MINUTE)])
def test_a_counter_of_two_windows_lives_for_the_last(empty, script, windows):
    """Two limits of which a window begins together may share a counter: its expiry is that of the last charge."""
    one = ask(*((make_rate("fixed_window", 3, window), b"k_", 1) for window in windows))
    script.charge([one], NOW, jitter=0)
    assert befores(one) == [0, 1]
    assert empty.keys() == [b"k_7200"]
    assert windows[1] // 1_000 - 1_000 < empty.pttl("k_7200") <= windows[1] // 1_000


@pytest.mark.redis
@pytest.mark.scenario("numbers that Lua would round, truncate or lose")
@pytest.mark.parametrize(
    ("count", "before", "after"),
    [((1 << 63) - 1, SATURATED, (1 << 63) - 1), (SATURATED - 1, SATURATED - 1, SATURATED), (-(1 << 62), 0, 5)],
)
def test_a_count_that_cannot_be_added_to(empty, script, count, before, after):
    """A count at the end of its range is decided on, and gets an expiry."""
    empty.set("k_7200", count)
    one = ask((RATE, b"k_", 5))
    script.charge([one], NOW)
    assert befores(one) == [before]
    assert empty.get("k_7200") == b"%d" % after
    assert empty.pttl("k_7200") > 0


@pytest.mark.redis
@pytest.mark.scenario("a key has no expiry")
@pytest.mark.parametrize(("digits", "before"), [("002", 2), ("-0", 0), ("-" + "9" * 30, 0), ("0" * 30 + "1", 1)])
@pytest.mark.parametrize("cost", [1, 9])
def test_digits_that_redis_takes_for_no_number(empty, script, digits, before, cost):
    """They are decided on and added to, as when the script decides, and get an expiry."""
    empty.set("k_7200", digits)
    one = ask((RATE, b"k_", cost))
    script.charge([one], NOW)
    assert befores(one) == [before]
    assert empty.get("k_7200") == b"%d" % (before + cost)
    assert empty.pttl("k_7200") > 0


@pytest.mark.redis
@pytest.mark.scenario("Redis is out of memory")
def test_a_count_without_memory(empty, script):
    """Out of memory, charges that would pass fail and those that are denied by the count that is there stay denied."""
    script.charge([ask((RATE, b"k_", 2))], NOW)
    empty.config_set("maxmemory", 1)
    try:
        one = ask((RATE, b"k_", 2), (RATE, b"k_", 4), (RATE, b"new_", 1), (RATE, b"new_", 4))
        script.charge([one], NOW)
    finally:
        empty.config_set("maxmemory", 0)
    assert [isinstance(outcome, Failure) for outcome in one.outcomes] == [False, False, True, False]
    assert one.outcomes[2].kind is FailureKind.OUT_OF_MEMORY
    assert empty.get("k_7200") == b"2"
    assert empty.keys() == [b"k_7200"]


def test_a_count_is_one_number():
    """Neither the rate nor a plan is sent for charges that are only added."""
    packed = pack(open_selections([ask((RATE, b"a_", 1)), ask((RATE, b"b_", 2)), ask((RATE, b"a_", 3))]), NOW)
    assert packed.keys == [b"a_7200", b"b_7200"]
    assert packed.arguments == ["", NOW, 0, "[[60000, 2],[4, 2],[],[]]"]


TEXT = b"OOM x"


@pytest.mark.parametrize(
    "reply",
    [[7, 0, 3], [7, -1, 3, TEXT, 5], [7, -1, -3, TEXT, -1, TEXT, SATURATED], [7, 5, -1, TEXT, 0]],
)
def test_replies_of_counts(reply):
    """Counts, and errors with the count that was found, are replies of the script."""
    assert check(reply, 2, 0) is None


@pytest.mark.parametrize(
    "reply",
    [
        [7, 0],
        [7, 0, 3, 4],
        [7, 0, 1 << 53],
        [7, 0, -1],
        [7, 0, -1, TEXT],
        [7, 0, -2, TEXT, 5],
        [7, 0, -3, TEXT, 5],
        [7, 0, -1, 5, TEXT],
        [7, 0, -1, TEXT, -2],
        [7, 0, -1, TEXT, 1 << 53],
        [7, 0, -1, TEXT, 5.0],
        [7, -1, -1, TEXT, 5, TEXT, 5],
        [7, -3, -1, TEXT, 5, TEXT, 5],
        [7, 0, 3, TEXT, 5],
        [7, 0, 3.5],
        [7, 0, b"3"],
        [7, 0, None],
        [-7, 0, 3],
    ],
)
def test_what_no_reply_of_counts_is(reply):
    """A number out of range, an error that nothing names or without its count: not the script's."""
    with pytest.raises((TypeError, ValueError)):
        check(reply, 2, 0)


@pytest.mark.redis
def test_a_counter_that_is_asked_is_read(empty, script):
    """A question or a peek takes one number, makes no counter, and finds what cannot be a count as a charge does."""
    asks = [ask((RATE, b"k_", 0)), ask((RATE, b"k_", 0, ASKED))]
    packed = pack(open_selections(asks), NOW)
    assert (packed.counts, packed.charges) == (1, 0)
    script.charge(asks, NOW)
    assert (befores(*asks), empty.keys()) == ([0, 0], [])
    script.charge([ask((RATE, b"k_", 3))], NOW)
    asks = [ask((RATE, b"k_", 0)), ask((RATE, b"k_", 0, ASKED)), ask((RATE, b"k_", 0), (RATE, b"k_", 2))]
    script.charge(asks, NOW)
    assert [[outcome.allowed for outcome in one.outcomes] for one in asks] == [[True], [False], [True, False]]
    assert empty.get("k_7200") == b"5"
    for value, kind in (("x", FailureKind.KEY), ("-7", None), ("9" * 30, None)):
        empty.set("bad_7200", value)
        one = ask((RATE, b"bad_", 0))
        script.charge([one], NOW)
        (outcome,) = one.outcomes
        assert (outcome.kind if isinstance(outcome, Failure) else None) is kind
    empty.delete("bad_7200")
    empty.lpush("bad_7200", "x")
    script.charge([foreign := ask((RATE, b"bad_", 0))], NOW)
    assert foreign.outcomes[0].kind is FailureKind.KEY
