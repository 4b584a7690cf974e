"""Costs that come after the request: what section by section of docs/policies.md promises, on every kind of store."""

import pytest

from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.limiter import LimitRequest, OverLimitCache, PlanOptions
from tests.algorithms.cases import SECOND, U32
from tests.contract.asking import HOUR, START, Caller, each, limit, sent

NAMES = list(ALGORITHMS)
AUTO = [name for name in NAMES if name != "fixed_window"]
TOGETHER = pytest.mark.parametrize(
    ("top", "options"),
    [("all_or_nothing: true\n", PlanOptions()), ("", PlanOptions(all_or_nothing=True))],
    ids=["all_or_nothing", "stop_cache_key_increment"],
)


@pytest.mark.parametrize("name", NAMES)
async def test_a_budget_of_50_lets_2_of_12_answers_of_30_pass(counters, name):
    """With ``charge: after`` and with ``default_charge``; and, unless it is upstream's, with nothing said."""
    assert await Caller(counters, each(", charge: after")).answers(name) == 2
    other = "default_charge: after\ndescriptors:\n" + limit("other", name)
    assert await Caller(counters, other).answers("other") == 2
    assert await Caller(counters, "descriptors:\n" + limit("unsaid", name)).answers("unsaid") == 2


async def test_a_budget_that_does_not_count_what_it_rejects_decides_by_its_requests_too(counters):
    """fixed_window with ``count_rejected: false`` and nothing said."""
    caller = Caller(counters, "descriptors:\n" + limit("k", "fixed_window", ", count_rejected: false"))
    assert await caller.answers("k") == 2


@pytest.mark.parametrize("name", NAMES)
async def test_a_question_passes_while_one_is_left(counters, name):
    """An explicit 0 and one unit: on a fresh counter, at L - 1, at L, and past it; a 0 takes nothing."""
    caller = Caller(counters, each(", charge: after", 5))
    seen = []
    for cost in (4, 1, 1):
        seen.append([await caller.passes(name, 0) for _ in range(2)])
        await caller.passes(name, cost)
    seen.append([await caller.passes(name, 0), await caller.passes(name, None)])
    assert seen == [[True] * 2, [True] * 2, [False] * 2, [False] * 2]


@pytest.mark.parametrize("name", NAMES)
async def test_a_request_without_hits_of_its_own_asks_for_its_cost(counters, name):
    """Absent hits, and the hits_addend of the call: refused if that much is not left."""
    caller = Caller(counters, each(", charge: after", 5))
    asked = [(await caller.ask((name,), hits=hits)).over for hits in (3, 3, 2, 0)]
    assert asked == [False, True, name == "fixed_window", True]


@pytest.mark.scenario("costs and limits that are zero, too large, or the largest a number can hold")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cost", [6, 10**9, (1 << 64) - 1])
async def test_a_settlement_is_recorded_whatever_is_left(counters, name, cost):
    """More than the rest, than the limit, and the most that can be sent, twice in one call: OVER_LIMIT, and counted."""
    caller = Caller(counters, each(", charge: after", 5))
    assert await caller.passes(name, 4)
    answer = await caller.ask((name, cost), (name, cost))
    assert (answer.over, [status.over for status in answer.statuses]) == (True, [True, True])
    assert not await caller.passes(name, 0)
    after, cut = caller.after(name), min(cost, U32)
    assert (after.settlements, after.settled_hits) == (3, 4 + 2 * cut)
    assert after.over_run_hits == 2 * cut - 1
    if name == "fixed_window" or cost == 6:
        assert after.forgiven_hits == 0
    else:
        assert 0 < after.forgiven_hits < 2 * cut


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("own", "hits"), [(0, 0), (None, 0), (None, 3)])
async def test_recovery_comes_when_it_was_told(counters, name, own, hits):
    """A denied question or request passes in the second that its status names, and not in the one before."""
    caller = Caller(counters, each(", charge: after", 5))
    await caller.passes(name, 12)
    wait = (await caller.ask((name, own), hits=hits)).statuses[0].reset
    assert (await caller.ask((name, own), hits=hits, now=START + (wait - 1) * SECOND)).over
    assert not (await caller.ask((name, own), hits=hits, now=START + wait * SECOND)).over


@pytest.mark.parametrize("name", AUTO)
async def test_weighted_requests_cost_nothing_when_refused(counters, name):
    """On a limit that is never asked with 0, and with ``charge: before`` however it is asked."""
    for more in ("", ", charge: before"):
        caller = Caller(counters, "descriptors:\n" + limit(f"k{len(more)}", name, more))
        key = f"k{len(more)}"
        for _ in range(5 if more else 0):
            await caller.passes(key, 0)
        assert [await caller.passes(key, cost) for cost in (30, 30, 20, 1)] == [True, False, True, False]


@TOGETHER
@pytest.mark.parametrize("name", NAMES)
async def test_a_settlement_reaches_a_full_and_a_free_limit(counters, top, options, name):
    """Of one call; also beside a question that is denied, whose other charges are vetoed."""
    tree = top + "descriptors:\n" + limit("full", name, ", charge: after", 5) + limit("free", name, ", charge: after")
    tree += limit("plain", "fixed_window", ", charge: before")
    caller = Caller(counters, tree, options=options)
    await caller.ask(("full", 9))
    answer = await caller.ask(("full", 3), ("free", 4))
    assert [status.over for status in answer.statuses] == [True, False]
    assert await caller.used("free") == 4
    answer = await caller.ask(("free", 5), ("full", 0), ("plain", 7), ("full", 2))
    assert answer.over
    assert await caller.used("free") == 9
    assert await caller.used("plain") == 0
    assert caller.after("full").settled_hits == 14


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("top", ["", "all_or_nothing: true\n"])
async def test_a_give_back_comes_before_the_charge_of_its_call(counters, name, order, top):
    """In either order, of more than is used: what the charge took stays. After the window nothing is left to take."""
    caller = Caller(counters, top + each(", charge: after", 50))
    await caller.passes(name, 5)
    back, settled = sent(name, 20, negative=True), sent(name, 30)
    assert not (await caller.ask(*(back, settled)[::order])).over
    assert await caller.used(name) == 30
    later = START + 3 * HOUR
    assert not (await caller.ask(back, now=later)).over
    assert await caller.used(name, now=later) == 0
    assert not (await caller.ask(*(back, settled)[::order], now=later)).over
    assert await caller.used(name, now=later) == 30


@pytest.mark.parametrize("name", NAMES)
async def test_a_remembered_denial_hides_no_settlement(counters, name):
    """A flood of questions is answered from memory, and what is reported meanwhile is recorded."""
    cache = OverLimitCache(1 << 20)
    caller = Caller(counters, each(", charge: after", 5), guards=[cache])
    await caller.passes(name, 5)
    assert [await caller.passes(name, 0) for _ in range(3)] == [False] * 3
    assert len(cache) == 1
    await caller.passes(name, 7)
    assert (len(cache), caller.after(name).settled_hits) == (1, 12)
    answer = await caller.ask(sent(name, 8, negative=True))
    assert (answer.over, len(cache), await caller.used(name)) == (False, 0, 4)


async def test_upstreams_key_and_count_stay(counters):
    """fixed_window records rejected costs, and lets a 0 pass at its limit, unless ``charge: after`` asks for one unit;
    both have envoyproxy/ratelimit's key, so they share a counter."""
    caller = Caller(counters, "descriptors:\n" + limit("k", "fixed_window"))
    other = Caller(counters, "descriptors:\n" + limit("k", "fixed_window", ", charge: after"))
    assert [await caller.passes("k", cost) for cost in (30, 20, 0)] == [True] * 3
    assert not await other.passes("k", 0)
    assert [await caller.passes("k", cost) for cost in (30, 0)] == [False] * 2
    assert not await other.passes("k", 0)
    for one in (caller, other):
        plan = one.engine.ask(b"", lambda _: LimitRequest(b"d", (sent("k", 0),))).plan
        assert [charge.key for charge in plan.charges] == [b"d_k_x_"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_lease_settles_whatever_the_policy_says(counters, name):
    """Hits are recorded also with ``charge: before``; 0 and none release it, which costs nothing and passes."""
    caller = Caller(counters, each(", charge: before", 5))
    assert not (await caller.ask(sent(name, 4, lease=b"id"))).over
    assert (await caller.ask(sent(name, 7, lease=b""))).over
    assert not await caller.passes(name, 1)
    assert [(await caller.ask(sent(name, hits, lease=b"id"))).over for hits in (0, None)] == [False, False]
    assert caller.after(name).settled_hits == 11


async def test_a_shadow_limit_is_settled_and_denies_nothing(counters):
    """Recorded, never enforced; a quota limit shows it in its own status."""
    after = "rate_limit: {unit: hour, requests_per_unit: 5, charge: after}"
    tree = f"descriptors:\n- {{key: s, shadow_mode: true, {after}}}\n- {{key: q, quota_mode: true, {after}}}\n"
    caller = Caller(counters, tree)
    answer = await caller.ask(("s", 9), ("q", 9))
    assert (answer.over, [status.over for status in answer.statuses]) == (False, [False, True])
    assert (await caller.ask(("q", 0))).over
    assert not (await caller.ask(("s", 0))).over
    assert (caller.after("s").settled_hits, caller.after("s").over_run_hits) == (9, 4)


async def test_a_suspended_caller_is_denied(counters):
    """A limit of 0 lets upstream's peek pass; a question needs one unit."""
    caller = Caller(counters, each(", charge: after", 0))
    assert [await caller.passes(name, 0) for name in NAMES] == [False] * len(NAMES)
