"""What a client that waits for the edge of a window gets out of it, for each algorithm."""

import pytest

from ratelimitd.algorithms import ALGORITHMS, make_rate
from tests.algorithms.cases import SECOND, Counter

LIMIT = 100
MINUTE = 60 * SECOND
EDGE = 1_000_000 * MINUTE
JUST = SECOND // 1_000

PASSED = {
    "fixed_window": 2 * LIMIT,
    "sliding_window_counter": LIMIT,
    "sliding_window": LIMIT,
    "token_bucket": LIMIT,
    "gcra": LIMIT,
    "leaky_bucket": LIMIT,
}


def test_every_algorithm_is_told():
    """So that a new one has its number."""
    assert PASSED.keys() == ALGORITHMS.keys()


@pytest.mark.scenario("a burst at the edge of a window")
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_burst_at_the_edge_of_a_window(name):
    """Within 2 ms around an edge a fixed window lets twice its limit pass, every other algorithm the limit once."""
    counter = Counter(make_rate(name, LIMIT, MINUTE))
    times = [EDGE - JUST, EDGE + JUST]
    passed = [sum(counter.charge(1, now).allowed for _ in range(3 * LIMIT)) for now in times]
    assert (passed[0], sum(passed)) == (LIMIT, PASSED[name])


@pytest.mark.scenario("a burst at the edge of a window")
@pytest.mark.parametrize("name", [name for name in ALGORITHMS if ALGORITHMS[name].family != "window"])
def test_clients_do_not_all_start_anew_at_once(name):
    """Under a log or a meter two clients that used up their limits 20 s apart are whole again 20 s apart."""
    whole = []
    for begun in (EDGE + 10 * SECOND, EDGE + 30 * SECOND):
        counter = Counter(make_rate(name, LIMIT, MINUTE))
        assert counter.charge(LIMIT, begun).allowed
        whole.append(begun + counter.charge(LIMIT, begun).retry_after)
    assert whole[1] - whole[0] == 20 * SECOND
