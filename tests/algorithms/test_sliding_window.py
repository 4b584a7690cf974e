"""The exact log."""

import pytest
from hypothesis import given

from ratelimitd.algorithms import ALGORITHMS, Rate, make_rate
from tests.algorithms.cases import NOW, SECOND, Counter, histories

History = tuple[Rate, list[tuple[int, int]]]


def taken(hits, back):
    """Hits without the newest ``back``."""
    return hits[: max(len(hits) - back, 0)]


@given(histories(names=("sliding_window",), largest=50))
def test_it_is_the_naive_list_of_timestamps(history):
    """Decisions are those of a list with one timestamp for each hit of the last window."""
    rate, charges = history
    counter = Counter(rate)
    hits: list[int] = []
    for now, cost in charges:
        hits = [at for at in hits if at > now - rate.window]
        before = len(hits)
        decision = counter.charge(cost, now)
        allowed = cost < 0 or before + cost <= rate.quota
        if allowed:
            hits = hits + [now] * cost if cost > 0 else taken(hits, -cost)
        assert (decision.allowed, decision.before) == (allowed, before)
        assert decision.remaining == rate.quota - len(hits)
        assert decision.reset_after == (hits[-1] + rate.window - now if hits else 0)


@pytest.mark.scenario("a client keeps sending requests while it is over limit")
def test_a_denial_and_a_peek_add_no_entry():
    """However many are denied, the log is the one of the charges that passed."""
    rate = make_rate("sliding_window", 2, SECOND)
    step = ALGORITHMS["sliding_window"].step
    full, _ = step(None, rate, 2, NOW, 1)
    assert step(full, rate, 1, NOW, 1)[0] is full
    assert step(full, rate, 0, NOW, 1)[0] is full


def test_a_charge_is_one_entry_whatever_its_cost():
    """A cost of 10,000 takes one entry."""
    state, _ = ALGORITHMS["sliding_window"].step(None, make_rate("sliding_window", 10_000, SECOND), 10_000, NOW, 1)
    assert state.high - state.low == 1


def test_a_busy_log_stays_as_long_as_its_window():
    """Entries that left the window are let go: after 20 windows of steady charges the lists are not 20 windows long."""
    counter = Counter(make_rate("sliding_window", 100, SECOND))
    for i in range(2_000):
        assert counter.charge(1, NOW + i * 10_000).allowed
    ((state, _),) = counter.states.values()
    assert len(state.times) < 400  # type: ignore[attr-defined]
