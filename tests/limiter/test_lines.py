"""Waiting lines: who is next and when it asks, who gives way, and how long a wait is said to be. Pure; times are µs."""

import pytest

from ratelimitd.algorithms import NEVER, SECOND, concurrent_rate, make_rate
from ratelimitd.limiter import Line, Lines, Waiter, pause
from ratelimitd.limiter.lines import soonest
from ratelimitd.policy import Queue

MINUTE = 60 * SECOND
QUEUE = Queue(length=3, timeout=10 * SECOND)


def joined(lines, *names, key=b"k", client="c", flow=(b"k",), now=0):
    for name in names:
        lines.join(Waiter(name, client, flow), key, "d.k", now)


def served(lines, key=b"k", now=0):
    """All that wait for a counter, in the order in which they pass."""
    found = []
    while (line := lines.at(key)) is not None:
        first = line.first
        found.append(first.tag)
        line.passed(now)
        lines.leave(first, turn=True)
    return found


def test_one_flow_is_served_in_its_order():
    """Whichever clients they are of, and whoever left in between."""
    lines = Lines(9)
    joined(lines, "1", "2")
    joined(lines, "3", client="other")
    lines.leave(lines.at(b"k").first)
    joined(lines, "4")
    assert served(lines) == ["2", "3", "4"]
    assert len(lines) == 0


def test_flows_take_turns():
    """One after the other, each in its order; one that comes back goes to the end."""
    lines = Lines(9)
    joined(lines, "a1", "a2", "a3", flow=(b"k", b"a"))
    joined(lines, "b1", flow=(b"k", b"b"))
    joined(lines, "c1", "c2", flow=(b"k", b"c"))
    assert served(lines) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_keys_have_lines_of_their_own():
    """What becomes of one changes nothing for another."""
    lines = Lines(9)
    joined(lines, "1", "2")
    joined(lines, "other", key=b"o", flow=(b"o",))
    assert served(lines, b"o") == ["other"]
    assert served(lines) == ["1", "2"]


@pytest.mark.parametrize(
    ("most", "waiting", "client", "full", "out"),
    [
        (9, {"a": 2}, "a", False, None),
        (9, {"a": 3}, "a", True, None),
        (9, {"a": 3}, "b", True, "a2"),
        (9, {"a": 2, "b": 1}, "b", True, None),
        (9, {"a": 2, "b": 1}, "c", True, "a1"),
        (2, {"a": 2}, "a", True, None),
        (2, {"a": 2}, "b", True, "a1"),
        (2, {"a": 1, "b": 1}, "c", True, None),
    ],
)
def test_a_full_line_has_room_for_a_client_with_fewer_places(most, waiting, client, full, out):
    """At the cost of the newest of the client with most; a full process likewise."""
    lines = Lines(most)
    for name, number in waiting.items():
        joined(lines, *(f"{name}{place}" for place in range(number)), client=name)
    assert lines.is_full(b"k", QUEUE) is full
    if full:
        found = lines.giving_way(client, b"k", QUEUE)
        assert (found and found.tag) == out


def test_a_full_process_is_full_for_every_key():
    """Also for one that nothing waits for; the newest of the largest client gives way, wherever it waits."""
    lines = Lines(2)
    joined(lines, "1", client="greedy")
    joined(lines, "2", key=b"o", flow=(b"o",), client="greedy")
    assert lines.is_full(b"new", QUEUE)
    assert lines.giving_way("other", b"new", QUEUE).tag == "2"


def test_the_first_of_a_line_asks_when_its_denial_ends():
    """Sooner if it is told of a free place; told while it asks, it asks once more. The next one asks at once."""
    line = Line(b"k", "d.k", 0)
    told = {"by_holds": False, "shared": False, "chance": 0.5}
    line.denied(0, 7 * SECOND, **told)
    assert line.due == 7 * SECOND
    line.wake(SECOND)
    assert line.due == SECOND
    line.asking = True
    line.wake(2 * SECOND)
    line.denied(3 * SECOND, 7 * SECOND, **told)
    assert (line.asking, line.due) == (False, 3 * SECOND)
    line.denied(3 * SECOND, 7 * SECOND, **told)
    assert line.due == 10 * SECOND
    line.passed(4 * SECOND)
    assert line.due == 4 * SECOND


@pytest.mark.parametrize(
    ("by_holds", "shared", "refusals", "low", "high"),
    [
        (False, False, 0, SECOND, SECOND),
        (False, False, 9, SECOND, SECOND),
        (False, True, 0, SECOND, SECOND),
        (False, True, 1, SECOND, SECOND + 2_000),
        (False, True, 99, SECOND, SECOND + 100_000),
        (True, False, 0, 750_000, SECOND),
        (True, True, 0, 37_500, 50_000),
        (True, True, 1, 75_000, 100_000),
        (True, True, 99, 750_000, SECOND),
    ],
)
def test_pauses_are_honest_bounded_and_apart(by_holds, shared, refusals, low, high):
    """A rate is asked again when it has room, and never sooner; a place of others with pauses up to a second."""
    found = [pause(SECOND, refusals, by_holds=by_holds, shared=shared, chance=chance) for chance in (0, 1)]
    assert found == [low, high]


@pytest.mark.parametrize(
    ("algorithm", "quota", "window", "ahead", "wait"),
    [
        ("token_bucket", 60, MINUTE, 0, 5 * SECOND),
        ("gcra", 60, MINUTE, 4, 9 * SECOND),
        ("leaky_bucket", 1, MINUTE, 2, 5 * SECOND + 2 * MINUTE),
        ("fixed_window", 3, MINUTE, 2, 5 * SECOND),
        ("fixed_window", 3, MINUTE, 3, 5 * SECOND + MINUTE),
        ("sliding_window", 3, MINUTE, 7, 5 * SECOND + 2 * MINUTE),
    ],
)
def test_a_rate_tells_when_the_last_of_a_line_passes(algorithm, quota, window, ahead, wait):
    """After the wait of the first: one by one of a bucket, a window's worth at once of the others."""
    assert soonest(make_rate(algorithm, quota, window), ahead, 5 * SECOND) == wait


def test_places_are_expected_as_fast_as_the_line_has_moved():
    """Two in ten seconds, so three more in fifteen; while none has moved, in the longest wait."""
    lines, rate = Lines(9), concurrent_rate(2, MINUTE)
    joined(lines, "1", "2", "3", "4")
    line = lines.at(b"k")
    assert line.expected(rate, 1, QUEUE.timeout, 9 * SECOND) == QUEUE.timeout
    for _ in range(2):
        line.passed(10 * SECOND)
        lines.leave(line.first, turn=True)
    assert line.expected(rate, 1, QUEUE.timeout, 10 * SECOND) == 15 * SECOND
    assert NEVER < 0
