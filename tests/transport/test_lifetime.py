"""A connection's phases, with times as arguments."""

from math import inf

import pytest

from ratelimitd.transport.lifetime import (
    DELIVERY_WAIT,
    IDLE_GRACE,
    LINGER,
    PONG_WAIT,
    PREFACE_WAIT,
    Action,
    Lifetime,
    LifetimeLimits,
    LifetimePhase,
    Observed,
)

LIMITS = LifetimeLimits(age=100, grace=10, idle=inf, stall=20)


SEEN = {
    "last_received": 0.0,
    "settings_received": True,
    "in_flight": 1,
    "pong": False,
    "blocked": False,
    "unread": False,
}
SEEN |= {"pong": False, "blocked": False, "unread": False, "progress": (0, 0)}


def seen(**named):
    return Observed(**{**SEEN, **named})


@pytest.mark.scenario("connections that never close, so that new pods receive no calls")
def test_an_old_connection_gets_a_notice_then_goaway_then_its_end():
    """At its age the notice, with the PONG the last GOAWAY, after the grace the end."""
    life = Lifetime(LIMITS, 1000)
    assert Action.NOTHING is life.step(seen(), 1099.9)
    assert Action.NOTICE is life.step(seen(), 1100)
    assert Action.NOTHING is life.step(seen(), 1100.5)
    assert Action.GOAWAY is life.step(seen(pong=True), 1100.6)
    assert Action.NOTHING is life.step(seen(pong=True), 1109)
    assert Action.ABORT is life.step(seen(), 1110)


def test_a_notice_that_is_not_acknowledged_has_its_time():
    """A caller that does not answer the PING is told its last call all the same."""
    life = Lifetime(LIMITS, 0)
    assert Action.NOTICE is life.drain(50, 10)
    assert Action.NOTHING is life.step(seen(), 50 + PONG_WAIT / 2)
    assert Action.GOAWAY is life.step(seen(), 50 + PONG_WAIT)


def test_leaving_twice_keeps_the_shorter_grace():
    """A stop during an aged connection's grace shortens it and sends no second notice."""
    life = Lifetime(LIMITS, 0)
    assert Action.NOTICE is life.drain(50, inf)
    assert Action.NOTHING is life.drain(51, 5)
    assert Action.NOTHING is life.drain(52, 60)
    life.step(seen(pong=True), 55)
    assert Action.ABORT is life.step(seen(), 56)


@pytest.mark.parametrize(("calls", "due"), [(0, Action.NOTICE), (1, Action.NOTHING)])
def test_an_idle_connection_is_one_without_calls(calls, due):
    """Silence is idle when no call is in flight."""
    life = Lifetime(LIMITS._replace(age=inf, idle=30), 0)
    assert Action.NOTHING is life.step(seen(in_flight=calls, last_received=10), 39)
    assert due is life.step(seen(in_flight=calls, last_received=10), 40)


def test_a_stalled_connection_is_ended():
    """What is left unread for the stall time, with nothing read meanwhile, ends it."""
    life = Lifetime(LIMITS._replace(age=inf), 0)
    assert Action.NOTHING is life.step(seen(blocked=True, progress=(1, 0)), 5)
    assert Action.NOTHING is life.step(seen(blocked=True, progress=(2, 0)), 24)
    assert Action.NOTHING is life.step(seen(blocked=True, progress=(2, 0)), 43)
    assert Action.ABORT is life.step(seen(blocked=True, progress=(2, 0)), 44)


def test_what_is_not_blocked_does_not_stall():
    """A silent stream is not a stalled one, and a stall starts when something begins to wait."""
    life = Lifetime(LIMITS._replace(age=inf), 0)
    assert Action.NOTHING is life.step(seen(), 1000)
    assert Action.NOTHING is life.step(seen(blocked=True), 1001)
    assert Action.ABORT is life.step(seen(blocked=True), 1020)


def test_a_closed_connection_lingers_a_moment():
    """A caller who does not close its side is not waited for."""
    life = Lifetime(LIMITS, 0)
    life.close(50)
    assert LifetimePhase.CLOSING is life.phase
    assert Action.NOTHING is life.step(seen(), 50 + LINGER / 2)
    assert Action.ABORT is life.step(seen(), 50 + LINGER)


def test_a_slow_reader_is_waited_for():
    """After all was said, whoever goes on reading may, and has a moment more when it has read all."""
    life = Lifetime(LIMITS, 0)
    life.close(50)
    for second in range(51, 60):
        assert Action.NOTHING is life.step(seen(unread=True, progress=(9, 1000 - second)), second)
    assert Action.NOTHING is life.step(seen(progress=(9, 0)), 60)
    assert Action.NOTHING is life.step(seen(progress=(9, 0)), 60 + LINGER / 2)
    assert Action.ABORT is life.step(seen(progress=(9, 0)), 60 + LINGER)


def test_a_slow_reader_has_no_more_than_the_grace():
    """What is left unread when the drain's time is up is lost; without a drain there is a bound as well."""
    drained, other = Lifetime(LIMITS, 0), Lifetime(LIMITS, 0)
    drained.drain(50, 5)
    drained.close(51)
    assert Action.NOTHING is drained.step(seen(unread=True, progress=(9, 8)), 54)
    assert Action.ABORT is drained.step(seen(unread=True, progress=(9, 7)), 55)
    other.close(51)
    assert Action.ABORT is other.step(seen(unread=True, progress=(9, 7)), 51 + DELIVERY_WAIT)


def test_a_caller_that_stops_reading_is_not_waited_for():
    """The stall time holds after all was said, too."""
    life = Lifetime(LIMITS, 0)
    life.close(50)
    assert Action.NOTHING is life.step(seen(unread=True, progress=(9, 8)), 51)
    assert Action.NOTHING is life.step(seen(unread=True, progress=(9, 8)), 70)
    assert Action.ABORT is life.step(seen(unread=True, progress=(9, 8)), 71)


def test_a_caller_that_does_not_greet_is_ended():
    """Without preface and SETTINGS a connection has its time; with them it has all it wants."""
    silent, greeted = Lifetime(LIMITS, 0), Lifetime(LIMITS, 0)
    assert Action.NOTHING is silent.step(seen(settings_received=False), PREFACE_WAIT - 1)
    assert Action.ABORT is silent.step(seen(settings_received=False, last_received=PREFACE_WAIT - 1), PREFACE_WAIT)
    assert Action.NOTHING is greeted.step(seen(), PREFACE_WAIT)


def test_an_idle_connection_does_not_leave_for_ever():
    """A call that never becomes whole holds no connection, even where calls in flight have all their time."""
    life = Lifetime(LIMITS._replace(age=inf, idle=30, grace=inf), 0)
    assert Action.NOTICE is life.step(seen(in_flight=0), 30)
    assert Action.GOAWAY is life.step(seen(in_flight=0), 30 + PONG_WAIT)
    assert Action.ABORT is life.step(seen(in_flight=0), 30 + IDLE_GRACE)
