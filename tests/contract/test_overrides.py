"""Limits that requests carry, as their bytes arrive, on every store."""

import pytest

from ratelimitd.algorithms import ALGORITHMS, Decision
from ratelimitd.limiter import Ask, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.policy_file import parse
from ratelimitd.proto import message
from ratelimitd.rls import Bounds
from ratelimitd.rls.decode import decode
from tests.algorithms.cases import NOW, SECOND
from tests.contract.cases import allowed, charge

Request = message("envoy.service.ratelimit.v3.RateLimitRequest")

HOUR = 3_600 * SECOND
START = NOW - NOW % HOUR
"""The beginning of a window of every length that divides an hour."""

WINDOWS = {"sliding_window_counter": 2}
"""Windows until the whole quota may be used again; 1 for all others."""

MINUTE, YEAR = 2, 6
QUOTA = 4


@pytest.fixture(params=sorted(ALGORITHMS))
def asked(request):
    """Makes an ask from the bytes of a request: two hits, with an override of these units."""
    policy = parse([("p.yaml", f"domain: d\ndefault_algorithm: {request.param}\n".encode())])
    planner = Planner(policy, key_maker(b"", safe=False), Tallies(), PlanOptions())

    def make(unit, multiplier=None):
        made = Request(domain="d", hits_addend=QUOTA)
        descriptor = made.descriptors.add()
        descriptor.entries.add(key="k", value="v")
        descriptor.limit.requests_per_unit, descriptor.limit.unit = QUOTA, unit
        if multiplier is not None:
            descriptor.limit.unit_multiplier.value = multiplier
        plan = planner.plan(decode(made.SerializeToString(), Bounds()))
        return Ask(plan, list(plan.costs))

    make.windows = WINDOWS.get(request.param, 1)
    return make


async def test_an_override_of_ten_minutes_is_enforced_as_ten_minutes(store, asked):
    """And apart from one that differs in its multiplier alone, of which 0 and none mean a single unit."""
    first, second, other, same = await charge(
        store, [asked(MINUTE, 10), asked(MINUTE, 10), asked(MINUTE), asked(MINUTE, 0)], START
    )
    assert allowed([first, second, other, same]) == [True, False, True, False]
    wait = asked.windows * 600 * SECOND
    assert (second.retry_after, same.retry_after) == (wait, asked.windows * 60 * SECOND)
    assert allowed(await charge(store, [asked(MINUTE, 10)], START + wait - 1)) == [False]
    assert allowed(await charge(store, [asked(MINUTE, 10)], START + wait)) == [True]


async def test_a_multiplier_of_any_size_is_enforced(store, asked):
    """2**32 - 1 years are decided like any window, by numbers that stay exact."""
    first, second = await charge(store, [asked(YEAR, (1 << 32) - 1) for _ in range(2)], START)
    assert allowed([first, second]) == [True, False]
    assert isinstance(second, Decision)
    assert 0 < second.retry_after <= 2 * 71 * 365 * 24 * HOUR
