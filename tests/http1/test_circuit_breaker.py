"""The circuit breaker as a table of events. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.http1.circuit_breaker import BreakerOptions, CircuitBreaker, Outcome, State

GOOD, BAD, NEITHER = Outcome.GOOD, Outcome.BAD, Outcome.NEITHER
OPTIONS = BreakerOptions(consecutive=3, error_rate=0.4, minimum=4, window=8, open_for=4, open_for_at_most=12)
"""None is a default, so a case fails where an option is ignored."""

CASES = {
    "failures in a row open it": ([(0, BAD), (1, BAD), (2, BAD)], State.OPEN),
    "a success between starts the row anew": ([(0, BAD), (1, BAD), *[(1.5, GOOD)] * 6, (2, BAD)], State.CLOSED),
    "a share of failures opens it": ([(0, GOOD), (1, BAD), (2, GOOD), (2, GOOD), (3, BAD)], State.OPEN),
    "a share of too few says nothing": ([(0, GOOD), (1, BAD), (2, BAD)], State.CLOSED),
    "failures out of the window are forgotten": ([(0, BAD), (0, BAD), (9, GOOD), (9, BAD), (18, BAD)], State.CLOSED),
    "what is nobody's fault counts for nothing": ([(0, NEITHER)] * 9, State.CLOSED),
    "a row is not broken by what is nobody's fault": ([(0, BAD), (0, BAD), (1, NEITHER), (1, BAD)], State.OPEN),
}


@pytest.mark.parametrize("case", CASES)
def test_it_opens_by_row_and_by_share(case):
    """Consecutive failures, or a share of failures over a window, open it."""
    events, state = CASES[case]
    breaker = CircuitBreaker(OPTIONS)
    for now, outcome in events:
        assert breaker.admit(now)
        breaker.record(outcome, now, now)
    assert state is breaker.state


def opened(at=0.0, options=OPTIONS):
    breaker = CircuitBreaker(options)
    for _ in range(3):
        breaker.record(BAD, at, at)
    return breaker


@pytest.mark.parametrize(("now", "admitted", "wait"), [(0, False, 4), (3.9, False, 0.1), (4, True, 0)])
def test_open_admits_nobody_for_a_while(now, admitted, wait):
    """An open breaker says how long to wait, and then lets a probe through."""
    breaker = opened()
    assert wait == pytest.approx(breaker.retry_after(now))
    assert admitted is breaker.admit(now)


def test_half_open_lets_one_probe_through_at_a_time():
    """Half-open probes: the next one goes when the last one is back, and enough good ones close it."""
    breaker = opened()
    assert [breaker.admit(6) for _ in range(2)] == [True, False]
    breaker.record(GOOD, 7, 6)
    assert State.HALF_OPEN is breaker.state
    assert breaker.admit(7)
    breaker.record(GOOD, 8, 7)
    assert State.CLOSED is breaker.state


def test_probes_and_successes_are_as_many_as_the_options_say():
    """Three probes at once, and three good ones in a row close it."""
    breaker = opened(options=OPTIONS._replace(probes=3, successes=3))
    assert [breaker.admit(6) for _ in range(4)] == [True, True, True, False]
    states = []
    for _ in range(3):
        breaker.record(GOOD, 7, 6)
        states.append(breaker.state)
    assert states == [State.HALF_OPEN, State.HALF_OPEN, State.CLOSED]


def test_a_probe_that_tells_nothing_makes_room_for_another():
    """A client that leaves does not use up the probe."""
    breaker = opened()
    assert breaker.admit(6)
    breaker.record(NEITHER, 7, 6)
    assert State.HALF_OPEN is breaker.state
    assert breaker.admit(7)


def test_failed_probes_wait_longer_each_time_up_to_a_bound():
    """4, 8, then 12 seconds at most; closing starts anew."""
    breaker, now, waits = opened(), 0.0, []
    for _ in range(4):
        waits.append(breaker.retry_after(now))
        now += waits[-1]
        assert breaker.admit(now)
        breaker.record(BAD, now, now)
    assert waits == [4, 8, 12, 12]


def test_what_was_asked_before_it_opened_proves_nothing():
    """Late answers to old requests neither close it nor use up its probe."""
    breaker = opened(at=1.0)
    assert breaker.admit(6)
    breaker.record(GOOD, 7, 0.5)
    breaker.record(BAD, 7, 0.5)
    assert State.HALF_OPEN is breaker.state
    assert not breaker.admit(7)


def test_a_breaker_that_closed_has_forgotten():
    """After closing, one failure does not open it again."""
    breaker = opened()
    for now in (6.0, 7.0):
        breaker.admit(now)
        breaker.record(GOOD, now, now)
    breaker.record(BAD, 8, 8)
    assert State.CLOSED is breaker.state


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from([GOOD, BAD, NEITHER])), max_size=60))
def test_it_never_locks_up(events):
    """Whatever happened, waiting as long as it says always admits a probe."""
    breaker, now = CircuitBreaker(OPTIONS), 0.0
    for step, outcome in events:
        now += step
        if breaker.admit(now):
            breaker.record(outcome, now, now)
    assert breaker.admit(now + breaker.retry_after(now) + 0.001)
