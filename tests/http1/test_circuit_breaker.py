"""The circuit breaker as a table of events. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.http1.circuit_breaker import BreakerOptions, CircuitBreaker, Outcome, State

GOOD, STATUS, NEITHER = Outcome.GOOD, Outcome.STATUS, Outcome.NEITHER
BAD, REFUSED, UNANSWERED = Outcome.UNREACHED, Outcome.REFUSED, Outcome.UNANSWERED
CLOSED_EARLY = Outcome.CLOSED_EARLY
OPTIONS = BreakerOptions(
    consecutive=3,
    error_rate=0.4,
    minimum=4,
    window=8,
    open_for=4,
    open_for_at_most=12,
    probes=1,
    successes=2,
    statuses=frozenset((503,)),
)
"""None is a default, so a case fails where an option is ignored."""

CASES = {
    "failures in a row open it": ([(0, BAD), (1, BAD), (2, BAD)], State.OPEN),
    "a success between starts the row anew": ([(0, BAD), (1, BAD), *[(1.5, GOOD)] * 6, (2, BAD)], State.CLOSED),
    "a share of failures opens it": ([(0, GOOD), (1, BAD), (2, GOOD), (2, GOOD), (3, BAD)], State.OPEN),
    "a share of too few says nothing": ([(0, GOOD), (1, BAD), (2, BAD)], State.CLOSED),
    "failures out of the window are forgotten": ([(0, BAD), (0, BAD), (9, GOOD), (9, BAD), (18, BAD)], State.CLOSED),
    "what is nobody's fault counts for nothing": ([(0, NEITHER)] * 9, State.CLOSED),
    "a row is not broken by what is nobody's fault": ([(0, BAD), (0, BAD), (1, NEITHER), (1, BAD)], State.OPEN),
    "refusals in a row open it": ([(0, REFUSED)] * 3, State.OPEN),
    "what a request may have caused makes it careful": ([(1, UNANSWERED)] * 3, State.HALF_OPEN),
    "statuses in a row open it": ([(0, STATUS)] * 3, State.OPEN),
    "a status shows that something is there": ([(0, BAD), (0, BAD), (0, STATUS), (9, BAD)], State.CLOSED),
    "no connection says nothing of statuses": ([(0, STATUS), (0, STATUS), (0, BAD), (0, STATUS)], State.OPEN),
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


def careful(options=OPTIONS):
    breaker = CircuitBreaker(options)
    for now in (1, 2, 3):
        breaker.record(UNANSWERED, now, now)
    return breaker


def test_a_probe_lapses():
    """A probe without an outcome after ``open_for`` makes room for one other; its late outcome takes no room away."""
    breaker = opened()
    assert breaker.admit(6)
    assert breaker.retry_after(7) == 3
    assert [breaker.admit(now) for now in (9.9, 10, 10)] == [False, True, False]
    breaker.record(NEITHER, 11, 6)
    assert not breaker.admit(11)
    breaker.record(NEITHER, 12, 10)
    assert [breaker.admit(12) for _ in range(2)] == [True, False]


def test_a_late_success_of_a_lapsed_probe_counts():
    """An upstream that always takes longer than ``open_for`` is closed again by its responses."""
    breaker = opened()
    assert [breaker.admit(now) for now in (6, 10)] == [True, True]
    breaker.record(GOOD, 13, 6)
    breaker.record(GOOD, 17, 10)
    assert State.CLOSED is breaker.state


def test_what_a_request_may_have_caused_never_shuts_the_upstream():
    """After such failures there is no wait: a probe at a time, however many fail, until a response closes it."""
    breaker = careful()
    for now in (3, 4, 5):
        assert [breaker.admit(now) for _ in range(2)] == [True, False]
        breaker.record(UNANSWERED, now + 0.5, now)
        assert State.HALF_OPEN is breaker.state
    for now in (6, 7):
        assert breaker.admit(now)
        breaker.record(GOOD, now, now)
    assert State.CLOSED is breaker.state


def test_pages_that_close_leave_room_for_all_others():
    """However many requests close their connection, all are admitted: they would be all of the probes."""
    breaker = CircuitBreaker(OPTIONS)
    for now in (1, 2, 3):
        breaker.record(CLOSED_EARLY, now, now)
    assert State.HALF_OPEN is breaker.state
    assert [breaker.admit(4) for _ in range(9)] == [True] * 9
    for _ in range(8):
        breaker.record(CLOSED_EARLY, 5, 4)
    assert (breaker.admit(5), breaker.retry_after(5)) == (True, 0)
    breaker.record(GOOD, 6, 5)
    breaker.record(GOOD, 6, 5)
    assert State.CLOSED is breaker.state


def test_silence_among_closes_bounds_the_probes():
    """An upstream that closes some connections and is silent on others is asked by a probe at a time."""
    breaker = CircuitBreaker(OPTIONS)
    for now in (1, 2, 3):
        breaker.record(CLOSED_EARLY, now, now)
    breaker.record(UNANSWERED, 5, 4)
    assert [breaker.admit(5) for _ in range(3)] == [True, False, False]


def test_the_response_that_closes_it_is_evidence_against_earlier_silence():
    """What was asked before the last probe was answered does not count when it times out."""
    breaker = careful()
    for now in (4, 5):
        assert breaker.admit(now)
        breaker.record(GOOD, now, now)
    for _ in range(9):
        breaker.record(UNANSWERED, 60, 4.5)
    assert State.CLOSED is breaker.state


def test_no_response_counts_for_nothing_if_another_request_was_answered_meanwhile():
    """Requests to a page that hangs, all sent before a response to another page came, are no evidence."""
    breaker = CircuitBreaker(OPTIONS)
    breaker.record(GOOD, 5, 4)
    for _ in range(9):
        breaker.record(UNANSWERED, 60, 3)
    assert State.CLOSED is breaker.state


def test_a_breaker_that_refusals_opened_lets_each_request_try():
    """It is open and has a wait, but a connection that is accepted closes it, at once."""
    breaker = CircuitBreaker(OPTIONS)
    for _ in range(3):
        breaker.record(REFUSED, 0, 0)
    assert [breaker.admit(1) for _ in range(9)] == [True] * 9
    breaker.record(REFUSED, 1, 1)
    assert (breaker.state, breaker.retry_after(1), breaker.opened_before(1)) == (State.OPEN, 3, True)
    breaker.reached()
    assert State.CLOSED is breaker.state


def test_a_refusal_of_long_ago_lets_nothing_try():
    """Where statuses or a lack of time opened it, a request waits, and a connection alone does not close it."""
    for last in (STATUS, BAD):
        breaker = CircuitBreaker(OPTIONS)
        breaker.record(REFUSED, 0, 0)
        for _ in range(3):
            breaker.record(last, 0, 0)
        breaker.reached()
        assert not breaker.admit(1)


def test_an_upstream_that_takes_no_connection_any_more_is_left_alone():
    """Refusals opened it; an attempt that then takes too long begins a wait."""
    breaker = CircuitBreaker(OPTIONS)
    for _ in range(3):
        breaker.record(REFUSED, 0, 0)
    breaker.record(BAD, 6, 1)
    assert not breaker.admit(7)


def test_by_default_a_wait_is_the_shortest_that_can_be_told():
    """One second each time, and a longer ``open_for`` of a file is not doubled."""
    for options, wait in ((BreakerOptions(), 1), (BreakerOptions(open_for=10), 10)):
        breaker = CircuitBreaker(options)
        for now in (0, 0, 0, 0, 0, 20, 40):
            breaker.admit(now)
            breaker.record(BAD, now, now)
        assert breaker.retry_after(40) == wait


def test_by_default_one_response_closes_it():
    """A page after a restart is followed by its assets, all at once."""
    breaker = opened(options=OPTIONS._replace(probes=5, successes=1))
    assert breaker.admit(6)
    breaker.record(GOOD, 6.1, 6)
    assert all(breaker.admit(6.1) for _ in range(20))
    assert (BreakerOptions().probes, BreakerOptions().successes) == (5, 1)


def test_by_default_a_share_of_failures_is_not_enough():
    """If others are answered, failures of one page, however many, do not open it."""
    breaker = CircuitBreaker(BreakerOptions())
    for now in range(100):
        for _ in range(4):
            breaker.record(UNANSWERED, now + 0.5, now + 0.5)
        breaker.record(GOOD, now + 0.6, now + 0.5)
    assert State.CLOSED is breaker.state


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5), st.sampled_from(list(Outcome))), max_size=60))
def test_it_never_locks_up(events):
    """Whatever happened, also late and out of order, waiting as long as it says always admits a probe."""
    breaker, now, late = CircuitBreaker(OPTIONS), 0.0, []
    for step, lasts, outcome in events:
        now += step
        if breaker.admit(now):
            late.append((now + lasts, now, outcome))
        for each in [each for each in late if each[0] <= now]:
            late.remove(each)
            breaker.record(each[2], now, each[1])
    assert breaker.admit(now + breaker.retry_after(now) + 0.001)
