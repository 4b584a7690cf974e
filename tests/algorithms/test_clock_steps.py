"""Counters whose clock steps forward or back, without Redis."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.algorithms import ALGORITHMS, make_rate
from ratelimitd.algorithms.rate import SMALL_STEP
from tests.algorithms.cases import CLOCKED, NOW, SECOND, YEAR, Counter, rates

pytestmark = pytest.mark.scenario("the clock of Redis steps forward or back")

HOUR = 3_600 * SECOND
MINUTE = 60 * SECOND

LARGE = st.one_of(st.integers(SMALL_STEP + 1, SMALL_STEP + 3), st.integers(SMALL_STEP + 1, 10 * YEAR))
SMALL = st.one_of(st.integers(0, 3), st.integers(0, SMALL_STEP), st.just(SMALL_STEP))
PAUSES = st.lists(st.one_of(st.integers(0, 100_000), st.integers(0, HOUR)), min_size=1, max_size=4)


@st.composite
def used(draw):
    """A counter that holds something at NOW, and was last changed then."""
    rate = draw(rates(CLOCKED).filter(lambda rate: rate.quota > 0))
    counter = Counter(rate)
    for pause in sorted(draw(st.lists(st.integers(0, 2 * rate.window), max_size=5)), reverse=True):
        counter.charge(draw(st.integers(1, rate.burst)), NOW - pause)
    counter.charge(-1, NOW)  # or a full one would not be of NOW
    fill(counter, draw(st.integers(1, rate.burst)), NOW)
    return counter


def fill(counter, most, now):
    """Charge what passes, up to ``most``; how much that was."""
    cost = min(counter.look(0, now).remaining, most)
    if cost:
        counter.charge(cost, now)
    return cost


def filled(rate, now):
    """A counter of this rate that was filled at this moment."""
    counter = Counter(rate)
    counter.charge(rate.burst, now)
    return counter


def waits(counter, now):
    decision = counter.charge(1, now)
    assert not decision.allowed
    return decision


@given(used(), SMALL)
def test_a_small_step_back_is_waited_out(counter, back):
    """Up to a second behind no more and no less remains, waits are longer by the step, and forward all is as it was."""
    there = counter.look(1, NOW)
    here = counter.charge(0, NOW - back)
    assert here.remaining == counter.look(0, NOW).remaining
    denied = counter.look(1, NOW - back)
    assert denied.retry_after == (there.retry_after + back if there.retry_after else 0)
    assert counter.look(1, NOW) == there


@given(used(), LARGE)
def test_a_large_step_back_adds_and_takes_nothing(counter, back):
    """What was held is held after it: by the first decision, and by the state that a peek leaves."""
    held = counter.look(0, NOW)
    for _ in range(2):
        found = counter.charge(0, NOW - back)
        assert (found.allowed, found.remaining) == (held.allowed, held.remaining)
    assert fill(counter, counter.rate.burst, NOW - back) == held.remaining
    assert not counter.look(1, NOW - back).allowed


@given(used(), LARGE)
def test_after_a_large_step_back_a_key_opens_as_if_filled_just_then(counter, back):
    """No key is denied, or not at rest, for longer than one that was filled after the step."""
    now = NOW - back
    fill(counter, counter.rate.burst, NOW)
    fresh, moved = filled(counter.rate, now).charge(1, now), waits(counter, now)
    assert moved.retry_after <= fresh.retry_after
    assert moved.reset_after <= fresh.reset_after


@given(used(), LARGE, PAUSES)
def test_denied_charges_do_not_put_the_opening_off(counter, back, pauses):
    """A key hammered after a large step back opens at the time that its first denial named."""
    now = NOW - back
    fill(counter, counter.rate.burst, NOW)
    opens = now + waits(counter, now).retry_after
    for pause in pauses:
        now = min(now + pause, opens - 1)
        assert now + waits(counter, now).retry_after == opens
    assert counter.look(1, opens).allowed


@pytest.mark.parametrize("name", CLOCKED)
def test_an_hour_back_shuts_a_key_for_its_period(name):
    """A limit a minute, hammered each second: an hour back, and it opens within the minute, or as late as ever."""
    rate = make_rate(name, 10, MINUTE)
    counter = filled(rate, NOW)
    period = MINUTE + (MINUTE // 10 if name == "sliding_window_counter" else 0)
    start = NOW - HOUR
    opened = next(t for t in range(start, start + 2 * HOUR, SECOND) if counter.charge(1, t).allowed)
    assert opened - start <= period + SECOND


@given(rates(CLOCKED), st.lists(st.integers(-10 * YEAR, YEAR), max_size=6))
def test_a_jump_forward_costs_one_burst_and_the_way_back_nothing(rate, jumps):
    """However the clock jumps at one moment, at most a burst passes there, and another for each jump forward."""
    counter, now = Counter(rate), NOW
    passed = fill(counter, rate.burst, now)
    for jump in jumps:
        now = max(now + jump, 0)
        passed += fill(counter, rate.burst, now)
    assert passed <= rate.burst * (1 + sum(jump > 0 for jump in jumps))


@pytest.mark.parametrize("name", CLOCKED)
@pytest.mark.parametrize("cost", [0, 1])
def test_a_state_is_moved_only_past_the_small_step(name, cost):
    """A second behind, a peek and a denial return the very state that was; a µs more, one of now."""
    step: Any = ALGORITHMS[name].step
    rate = make_rate(name, 3, HOUR)
    state, _ = step(None, rate, 3, NOW, 1)
    assert step(state, rate, cost, NOW - SMALL_STEP, 1)[0] is state
    moved, _ = step(state, rate, cost, NOW - SMALL_STEP - 1, 1)
    assert moved is not state
    assert step(moved, rate, cost, NOW - SMALL_STEP - 1, 1)[0] is moved


def test_what_two_windows_held_counts_in_the_one_it_is_moved_to():
    """50 of 100 used, half of an earlier window's 40 among them, are 50 of the new window: now and until it ends."""
    counter = Counter(make_rate("sliding_window_counter", 100, HOUR))
    start = 1_000 * HOUR
    counter.charge(40, start - 1)
    counter.charge(30, start + HOUR // 2)
    for now in (start - 99 * HOUR, start - 98 * HOUR - 1):
        assert counter.charge(0, now).before == 50
    assert counter.charge(0, start - 98 * HOUR + HOUR // 2).before == 25


def test_a_log_is_moved_as_one_entry_of_what_is_live():
    """What a window, shortened before the step, still held is one entry, and leaves a window after the step."""
    counter = Counter(make_rate("sliding_window", 10, MINUTE))
    for at, cost in ((40, 1), (65, 2), (70, 4)):
        counter.charge(cost, NOW + at * SECOND)
    counter.rate = make_rate("sliding_window", 10, 20 * SECOND)
    now = NOW - HOUR
    assert counter.charge(0, now).before == 6
    ((state, _),) = counter.states.values()
    assert state.high - state.low == 1  # type: ignore[attr-defined]
    assert counter.charge(0, now + 20 * SECOND - 1).before == 6
    assert counter.charge(0, now + 20 * SECOND).before == 0


@pytest.mark.parametrize("name", CLOCKED)
def test_what_is_moved_is_no_more_than_a_lowered_limit(name):
    """A limit lowered from 10 to 3 before the step stays full after it, and decides the same twice."""
    counter = Counter(make_rate(name, 10, HOUR))
    start = 1_000 * HOUR
    counter.charge(5, start - 1)
    counter.charge(5, start)
    counter.rate = make_rate(name, 3, HOUR)
    first = counter.charge(1, start - 10 * HOUR)
    assert (first.allowed, first.remaining, first.retry_after > 0) == (False, 0, True)
    assert counter.charge(1, start - 10 * HOUR) == first
