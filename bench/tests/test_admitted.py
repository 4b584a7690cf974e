"""Four real services, one counter and faults: a short check of admitted calls against the bound.

``python -m bench consistency`` does the same with every fault, topology and algorithm.
"""

import pytest

from bench.consistency import play
from bench.injections import SCENARIOS, Pace, stage
from bench.load import build
from testkit.errors import BenchError
from testkit.machine import cores

pytestmark = [pytest.mark.redis, pytest.mark.process, pytest.mark.slow, pytest.mark.alone]

PACE = Pace(before=0.8, fault=0.5, settle=1.2, after=1.2)
SHORT = {
    each.name: each
    for each in SCENARIOS
    if each.name in ("replies blackholed", "connections reset", "Redis killed, restarted empty")
    and each.law == "token_bucket"
}


@pytest.fixture(scope="module")
def ready():
    """Four services with one Redis; the budget is long because a test machine may be busy."""
    try:
        build()
        where = cores()
    except BenchError as error:
        pytest.skip(str(error))
    with stage("single", where, PACE, {"STORE_BUDGET": "250ms"}) as started:
        yield started


@pytest.mark.parametrize("name", SHORT)
def test_a_limit_holds(ready, name):
    """No window admits more than its bound; before and after the fault the limit is admitted for the most part.

    Nearly all of it, as the benchmark requires, needs a machine that does nothing else.
    """
    verdict = play(ready, SHORT[name])
    assert verdict.over_admission == 0
    assert verdict.admitted <= verdict.bound
    assert verdict.faults > 0
    assert min(verdict.before, verdict.after) > 0.5
