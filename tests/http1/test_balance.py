"""The choice of an endpoint. Pure: chance is an argument."""

import pytest

from ratelimitd.http1.balance import Balance, BalanceOptions
from ratelimitd.http1.circuit_breaker import Outcome

GOOD, STATUS, NEITHER = Outcome.GOOD, Outcome.STATUS, Outcome.NEITHER
BAD, UNANSWERED = Outcome.REFUSED, Outcome.UNANSWERED
OPTIONS = BalanceOptions(failures=2, eject_for=10, eject_for_at_most=25, statuses=frozenset((503,)))


def balance(endpoints, *chances, options=OPTIONS):
    drawn = iter(chances)
    return Balance(endpoints, options, lambda below: next(drawn) % below)


def eject(seats, index, now):
    for _ in range(2):
        seats.record(index, BAD, now, now)


def test_the_one_with_less_in_flight_of_two_is_chosen():
    """p2c by in-flight: of two drawn, the less busy one."""
    seats = balance(3, 0, 0, 0, 0, 0, 1)
    assert seats.pick(0) == 0  # draws 0 and 1, both idle
    assert seats.pick(0) == 1  # draws 0 and 1; 0 is busy
    assert seats.pick(0) == 2  # draws 0 and 2; 0 is busy
    assert [seats.in_flight(index) for index in range(3)] == [1, 1, 1]


def test_the_two_drawn_are_never_the_same():
    """The second of the two is another one, whatever is drawn."""
    seats = balance(2, 1, 0, 0, 0)
    assert seats.pick(0) == 1
    assert seats.pick(0) != 1


def test_failures_in_a_row_eject_for_a_while():
    """Passive ejection: after so many failures an endpoint is left out, longer each time up to a bound."""
    seats = balance(2)
    waits, now = [], 0.0
    for _ in range(4):
        eject(seats, 0, now)
        assert seats.pick(now) == 1
        waits.append(seats._seats[0].until - now)
        now = seats._seats[0].until
    assert waits == [10, 20, 25, 25]


@pytest.mark.parametrize(
    ("outcomes", "ejected"),
    [
        ((BAD, GOOD, BAD, NEITHER), False),
        ((BAD, NEITHER, BAD), True),
        ((UNANSWERED, UNANSWERED), True),
        ((STATUS, STATUS), True),
        ((STATUS, BAD), False),
        ((BAD, STATUS, BAD), False),
        ((STATUS, BAD, STATUS), True),
    ],
)
def test_failures_in_a_row_eject_by_their_origin(outcomes, ejected):
    """Statuses and missing responses are counted apart; a response of any status shows that something is there."""
    seats = balance(2)
    for outcome in outcomes:
        seats.record(0, outcome, 1, 1)
    assert ejected is seats.ejected(0, 1)


def test_no_response_counts_for_nothing_if_the_endpoint_answered_meanwhile():
    """A page that hangs does not eject an endpoint that answers for other pages."""
    seats = balance(2)
    seats.record(0, GOOD, 5, 5)
    for _ in range(9):
        seats.record(0, UNANSWERED, 60, 4)
    assert not seats.ejected(0, 60)


def test_an_endpoint_is_in_flight_until_it_is_released():
    """The outcome, which comes with the head, does not end a request: its body is still to come."""
    seats = balance(1)
    seats.pick(0)
    seats.record(0, GOOD, 0, 0)
    assert seats.in_flight(0) == 1
    seats.release(0)
    assert seats.in_flight(0) == 0


def test_all_are_asked_when_most_are_ejected():
    """With less than half of them healthy, all are; from then on ejections do not grow."""
    seats = balance(3, 0, 0, 0, 0, 0, 1)
    eject(seats, 0, 0)
    assert {seats.pick(0) for _ in range(2)} == {1, 2}
    eject(seats, 1, 0)
    assert seats.pick(0) == 0
    eject(seats, 2, 0)
    eject(seats, 2, 5)
    assert not seats.ejected(2, 10)


def test_with_half_of_them_ejected_the_others_are_asked():
    """Envoy's threshold: below 50 %, not at it."""
    seats = balance(2)
    eject(seats, 0, 0)
    assert [seats.pick(0) for _ in range(3)] == [1, 1, 1]


def test_without_ejection_all_are_asked():
    """``balance: false``."""
    seats = balance(2, options=None)
    eject(seats, 0, 0)
    assert not seats.ejected(0, 0)


def test_a_single_endpoint_is_never_ejected():
    """One endpoint is all there is; the breaker judges it."""
    seats = balance(1)
    eject(seats, 0, 0)
    assert seats.pick(0) == 0


def test_a_request_that_failed_goes_elsewhere():
    """To a healthy endpoint if there is one, also when all are asked, and otherwise to an ejected one."""
    seats = balance(3, 0, 0, 0, 0)
    assert seats.pick(0, avoid=0) == 1
    eject(seats, 0, 0)
    eject(seats, 1, 0)
    assert seats.pick(0, avoid=0) == 2
    eject(seats, 2, 0)
    assert seats.pick(0, avoid=0) != 0
