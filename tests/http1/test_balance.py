"""The choice of an endpoint. Pure: chance is an argument."""

from ratelimitd.http1.balance import Balance, BalanceOptions
from ratelimitd.http1.circuit_breaker import Outcome

GOOD, BAD, NEITHER = Outcome.GOOD, Outcome.BAD, Outcome.NEITHER
OPTIONS = BalanceOptions(failures=2, eject_for=10, eject_for_at_most=25)


def balance(endpoints, *chances):
    drawn = iter(chances)
    return Balance(endpoints, OPTIONS, lambda below: next(drawn) % below)


def eject(seats, index, now):
    for _ in range(2):
        seats._seats[index].in_flight += 1
        seats.done(index, BAD, now)


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


def test_a_success_starts_the_row_anew():
    """Failures that are not in a row eject nobody."""
    seats = balance(2)
    for outcome in (BAD, GOOD, BAD, NEITHER):
        seats._seats[0].in_flight += 1
        seats.done(0, outcome, 0)
    assert not seats.ejected(0, 0)


def test_none_healthy_is_none():
    """When all are ejected nobody is picked, and the first one back says when."""
    seats = balance(2)
    eject(seats, 0, 0)
    eject(seats, 1, 3)
    assert seats.pick(4) is None
    assert seats.retry_after(4) == 6
    assert seats.pick(10) == 0


def test_a_single_endpoint_is_never_ejected():
    """One endpoint is all there is; the breaker judges it."""
    seats = balance(1)
    eject(seats, 0, 0)
    assert seats.pick(0) == 0


def test_the_one_to_avoid_comes_last():
    """A retry goes elsewhere where there is an elsewhere."""
    seats = balance(2)
    assert seats.pick(0, avoid=0) == 1
    eject(seats, 1, 0)
    assert seats.pick(0, avoid=0) == 0
