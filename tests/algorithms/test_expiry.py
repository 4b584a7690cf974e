"""How long keys live in Redis, from one request in a quarter of an hour to a million a second."""

import pytest

from ratelimitd.algorithms import ALGORITHMS, counter_key, make_rate
from tests.algorithms.cases import NOW, SECOND, ask
from tests.contract.cases import allowed

pytestmark = pytest.mark.redis

LEAST = 500
"""ms that any key has left: of the second beyond its meaning, half is this machine's to lose."""

RATES = [(1, 1_000), (1, 60), (1, 1), (10, 1), (1_000, 1), (1_000_000, 1)]
"""Quota and window in seconds: from a thousandth a second to a million."""


@pytest.mark.scenario("rates so slow or so fast that rounding could expire a key early or lose requests")
@pytest.mark.parametrize(("quota", "seconds"), RATES)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_key_ends_before_it_means_nothing(empty, script, name, quota, seconds):
    """However short a reset is, rounding never ends a key before it: of 20 bursts at once one passes, and not 20."""
    family = ALGORITHMS[name].family
    rate = make_rate(name, min(quota, 10_000), seconds * SECOND, 1 if family == "meter" else None)
    asks = [ask((rate, b"k_", 1 if family == "meter" else rate.burst)) for _ in range(20)]
    passed = []
    for one in asks:  # a script call each, so that each finds what the last one left
        script.charge([one], NOW, clock=NOW)
        passed += allowed(one.outcomes)
    assert passed == [True] + [False] * 19
    (outcome,) = asks[-1].outcomes
    life = empty.pttl(counter_key(b"k_", rate, NOW))
    assert life >= LEAST
    assert life >= outcome.reset_after // 1_000
