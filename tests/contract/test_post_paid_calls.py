"""Costs that come after the request: what each form of a call comes to, on every kind of store."""

import pytest

from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.limiter import OverLimitCache, PlanOptions
from ratelimitd.policy import Descriptor, Override, Unit
from tests.algorithms.cases import SECOND
from tests.contract.asking import START, Caller, each, limit, sent

NAMES = list(ALGORITHMS)
USED = (0, 4, 5, 9)
"""On limits of 5: a fresh counter, one below the limit, at it, and past it."""


@pytest.fixture(params=NAMES)
def name(request):
    """Each algorithm."""
    return request.param


async def used_up(caller, key, value, cost):
    """Record a cost on the counter of a value; 0 would ask."""
    if cost:
        await caller.ask(sent(key, cost, value=value, lease=b""))


@pytest.mark.parametrize(("hits", "takes"), [(0, 0), (None, 1)])
async def test_a_question_and_absent_hits_pass_while_one_is_left(counters, name, hits, takes):
    """Absent hits take the one that they ask for; a question takes nothing."""
    caller, found = Caller(counters, each(", charge: after", 5)), []
    for cost in USED:
        value = f"{hits}-{cost}"
        await used_up(caller, name, value, cost)
        passed = not (await caller.ask(sent(name, hits, value=value))).over
        found.append((passed, await caller.used(name, value=value)))
    last = None if takes else 4
    assert found == [(True, takes), (True, last), (False, None), (False, None)]


async def test_a_peek_passes_at_the_limit_and_absent_hits_do_not(counters, name):
    """With ``charge: before`` a 0 passes unless the count is above the limit, and takes nothing, however often."""
    caller, found = Caller(counters, each(", charge: before", 5)), []
    for cost in USED[:3]:
        await used_up(caller, name, f"{cost}", cost)
        peeks = [not (await caller.ask(sent(name, 0, value=f"{cost}"))).over for _ in range(4)]
        found.append((peeks, not (await caller.ask(sent(name, None, value=f"{cost}"))).over))
    assert found == [([True] * 4, True), ([True] * 4, True), ([True] * 4, False)]


async def test_questions_without_a_settlement_show(counters, name):
    """Five questions pass and two are settled, one of them late: three answers reported nothing."""
    caller = Caller(counters, each(", charge: after"))
    for _ in range(5):
        await caller.passes(name, 0)
    for cost in (7, 8):
        await caller.passes(name, cost)
    after = caller.after(name)
    assert (after.questions, after.settlements, after.settled_hits) == (5, 2, 15)


async def test_upstreams_window_takes_hits_in_the_order_of_the_call(counters):
    """fixed_window without ``charge``: a give-back of more than is used cuts only what came before it."""
    tree = "descriptors:\n" + limit("before", "fixed_window") + limit("behind", "fixed_window")
    caller = Caller(counters, tree)
    await caller.ask(sent("before", 20, negative=True), ("before", 30))
    await caller.ask(("behind", 30), sent("behind", 20, negative=True))
    assert [await caller.used(key) for key in ("before", "behind")] == [30, 10]


@pytest.mark.parametrize(
    ("top", "options"), [("all_or_nothing: true\n", PlanOptions()), ("", PlanOptions(all_or_nothing=True))]
)
async def test_a_remembered_denial_vetoes_no_settlement(counters, name, top, options):
    """Of one call, a question is denied from memory: the charge beside it is vetoed, the settlement is recorded."""
    tree = top + "descriptors:\n" + limit("full", name, ", charge: after", 5) + limit("free", name, ", charge: after")
    tree += limit("plain", name, ", charge: before")
    cache = OverLimitCache(1 << 20)
    caller = Caller(counters, tree, guards=[cache], options=options)
    await caller.ask(("full", 9))
    assert not await caller.passes("full", 0)
    assert len(cache) == 1
    answer = await caller.ask(("full", 0), ("plain", 7), ("free", 4), ("full", 3))
    assert [status.over for status in answer.statuses] == [True, False, False, True]
    assert [await caller.used(key) for key in ("plain", "free")] == [0, 4]
    assert caller.after("full").settled_hits == 12


def override(hits, multiplier):
    """A descriptor that brings its limit: 50 in so many minutes."""
    return Descriptor(((b"k", b"x"),), Override(50, Unit.MINUTE, multiplier), hits)


@pytest.mark.parametrize("said", ["default_charge: after\n", ""])
async def test_limits_that_requests_carry_are_settled(counters, name, said):
    """By ``default_charge`` of the domain, and by their own questions; each window has its own counter and debt."""
    caller, waits = Caller(counters, f"default_algorithm: {name}\n{said}"), []
    for multiplier in (1, 10):
        passed = 0
        for _ in range(12):
            if not (await caller.ask(override(0, multiplier))).over:
                passed += 1
                await caller.ask(override(30, multiplier))
        assert passed == 2
        wait = (await caller.ask(override(0, multiplier))).statuses[0].reset
        assert (await caller.ask(override(0, multiplier), now=START + (wait - 1) * SECOND)).over
        assert not (await caller.ask(override(0, multiplier), now=START + wait * SECOND)).over
        waits.append(wait)
    assert 9 * waits[0] < waits[1] <= 10 * waits[0]
