"""The bound of a limit, checked with the calls that each algorithm admits and with excess calls."""

import pytest

from bench.bounds import Admitted, Failover, Law, Local, bound, over_admission, used
from ratelimitd.algorithms import ALGORITHMS, make_rate

SECOND = 1_000_000
DAY = 1_700_000_000.0
LAWS = {name: Law(name, 50, 1.0, 50) for name in ("token_bucket", "gcra", "sliding_window", "fixed_window")}


def admitted(law, seconds, begin=DAY, every=1000, forget=()):
    """Return the calls that an algorithm admits of one per ``every`` µs; it loses its state at the given seconds."""
    rate = make_rate(law.algorithm, law.quota, int(law.window * SECOND), None if law.burst == law.quota else law.burst)
    state, found, left = None, [], list(forget)
    start = int(begin * SECOND)
    window = None
    for now in range(start, start + int(seconds * SECOND), every):
        if left and now - start >= left[0] * SECOND:
            left.pop(0)
            state = None
        if law.algorithm == "fixed_window" and now // int(law.window * SECOND) != window:
            window, state = now // int(law.window * SECOND), None
        state, decision = ALGORITHMS[law.algorithm].step(state, rate, 1, now, 1)
        if decision.allowed:
            found.append(Admitted(now / SECOND, now / SECOND))
    return found


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_what_an_algorithm_admits_is_within_its_bound_and_nearly_all_of_it(law):
    """At twenty times the limit, no window exceeds its bound, and the whole limit is admitted."""
    calls = admitted(law, 4.0, begin=DAY + 0.3)
    assert over_admission(law, calls) == 0
    assert used(law, calls, DAY + 1, DAY + 4) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("planted", [1, 7])
def test_calls_too_many_are_seen(law, planted):
    """Calls beyond an exhausted limit are counted exactly, at any position."""
    calls = admitted(law, 3.0)
    full = calls[len(calls) // 2]
    assert over_admission(law, [*calls, *[full] * planted]) == planted


def test_a_limit_twice_as_high_is_seen():
    """Two stores that each admit the whole limit are over-admission."""
    calls = admitted(LAWS["token_bucket"], 2.0)
    assert over_admission(LAWS["token_bucket"], calls * 2) >= 49


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_counters_lost_once_cost_one_burst_at_most_and_only_at_that_time(law):
    """A lost counter is over-admission unless there is an allowance for that time."""
    calls = admitted(law, 3.0, begin=DAY + 0.05, forget=(1.3,))
    then = DAY + 0.05 + 1.3
    assert over_admission(law, calls) > 20
    assert over_admission(law, calls, [Failover(DAY - 5, DAY - 4)]) > 20
    assert over_admission(law, calls, [Failover(then - 0.1, then + 0.1)]) == 0


def test_counters_lost_twice_are_not_covered_by_one_failover():
    """Each failover allows exactly one burst."""
    law = LAWS["token_bucket"]
    calls = admitted(law, 3.0, forget=(1.0, 1.2))
    assert over_admission(law, calls, [Failover(DAY + 0.9, DAY + 1.3)]) > 20
    assert over_admission(law, calls, [Failover(DAY + 0.9, DAY + 1.1), Failover(DAY + 1.1, DAY + 1.3)]) == 0


def test_a_call_counts_only_where_it_certainly_was():
    """A long call may have been decided before or after the others, so it is not counted with them."""
    law = Law("token_bucket", 1, 1.0, 1)
    near = [Admitted(DAY, DAY), Admitted(DAY + 0.1, DAY + 0.1)]
    far = [Admitted(DAY, DAY), Admitted(DAY + 0.1, DAY + 1.1)]
    assert (over_admission(law, [*near, near[0]]), over_admission(law, far)) == (1, 0)


def test_processes_on_their_own_add_their_shares_while_the_store_is_away():
    """Four processes with a quarter each double the bound in that time only."""
    law, share = Law("token_bucket", 40, 1.0, 40), Law("token_bucket", 10, 1.0, 10)
    away = [Local(DAY + 10, DAY + 12, 4, share)]
    assert bound(law, away, DAY, DAY + 9) == 40 + 9 * 40
    assert bound(law, away, DAY + 10, DAY + 12) == 2 * (40 + 2 * 40)
    assert bound(law, away, DAY + 11, DAY + 13) == 40 + 2 * 40 + 40 + 40


def test_processes_that_lose_their_own_counts_are_seen():
    """A share that is reset whenever the circuit breaker opens is over-admission."""
    law, share = Law("token_bucket", 20, 1.0, 40), Law("token_bucket", 5, 1.0, 10)
    away = [Local(DAY, DAY + 6, 4, share)]
    kept = admitted(law, 6.0) + 4 * admitted(share, 6.0)
    lost = admitted(law, 6.0) + 4 * admitted(share, 6.0, forget=(1.0, 2.0, 3.0, 4.0, 5.0))
    assert over_admission(law, kept, away) == 0
    assert over_admission(law, lost, away) > 20


@pytest.mark.parametrize("algorithm", LAWS)
def test_a_limit_that_admits_half_shows_it(algorithm):
    """If every second call is missing, half of the limit is reported as used."""
    calls = admitted(LAWS[algorithm], 4.0)[::2]
    assert used(LAWS[algorithm], calls, DAY + 1, DAY + 4) == pytest.approx(0.5, abs=0.02)


def test_a_time_without_a_whole_window_says_nothing():
    """A time without a complete fixed window has no sustained rate."""
    with pytest.raises(ValueError, match="no complete window"):
        used(LAWS["fixed_window"], [], DAY + 0.1, DAY + 0.9)
