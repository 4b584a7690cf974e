"""Limits without ``charge``: what requests tell about them, and what becomes of costs that were refused before."""

import pytest

from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.limiter import Failure, FailureKind, Fallback, LimitRequest, OverLimitCache, PostPaid
from ratelimitd.limiter.post_paid import AT_ONCE, IN_DOUBT
from ratelimitd.limiter.switches import FADES, LOOKED_AT, WITHIN, Switch, Switches
from ratelimitd.policy import Descriptor, Override, Unit
from ratelimitd.stores import MemoryStore
from tests.algorithms.cases import SECOND
from tests.contract.asking import HOUR, START, Caller, sent

BUDGET = "unit: hour, requests_per_unit: 50, algorithm: token_bucket"
ONE = f"descriptors:\n- {{key: k, rate_limit: {{{BUDGET}}}}}\n"


def caller(tree=ONE, **options):
    return Caller(MemoryStore(1 << 20), tree, **options)


def switched(asking):
    return [switch.name for switch in asking.post_paid.switched_on()]


async def zeros(asking, count, *, now=START, every=0, **options):
    for number in range(count):
        await asking.ask(("k", 0), now=now + number * every, **options)


@pytest.mark.parametrize(
    ("count", "every", "on"), [(2, 0, []), (3, 0, ["d.k"]), (3, WITHIN // 2, ["d.k"]), (9, WITHIN // 2 + 1, [])]
)
async def test_three_requests_with_0_within_a_minute_switch_a_limit(count, every, on):
    """Fewer do not, nor do as many over a longer time; it is said once."""
    asking, told = caller(), []
    asking.post_paid.switched = lambda switch: told.append((switch.name, switch.on))
    await zeros(asking, count, every=every)
    assert switched(asking) == on
    await zeros(asking, len(on) * 5)
    assert told == [(name, True) for name in on]


async def test_one_request_counts_once_and_our_own_not_at_all():
    """Three descriptors of one call are one request; what a tool of ours asks is no evidence."""
    asking = caller()
    await asking.ask(("k", 0), ("k", 0), ("k", 0), ("k", 0))
    await zeros(asking, 9, ours=True)
    await asking.ask(sent("k", 0, lease=b"id"), sent("k", 0, lease=b"id"))
    assert switched(asking) == []


async def test_what_our_own_tools_ask_is_not_forgotten():
    """Neither counted nor logged, nor recorded if the limit switches: no cost was spent."""
    asking, told = caller(), []
    asking.post_paid.forgot = told.append
    for number in range(2):
        await asking.ask(("k", 0), now=START + number)
        await asking.ask(("k", 60), now=START + number, ours=True)
    await asking.ask(("k", 0), now=START + 2)
    assert (switched(asking), (await asking.ask(("k", 0), now=START + 3)).over) == (["d.k"], False)
    asking.post_paid.fade(START + FADES + 3 * SECOND)
    await asking.ask(("k", 60), now=START + 2 * FADES, ours=True)
    assert (told, asking.after("k").forgotten_hits) == ([], 0)


@pytest.mark.parametrize("more", [", charge: before", ", charge: after"])
async def test_what_the_policy_says_is_not_switched(more):
    """``charge: before`` forbids it, and ``charge: after`` needs it not; upstream's window has none either."""
    asking = caller(ONE.replace("token_bucket", "token_bucket" + more))
    await zeros(asking, 5)
    window = caller(ONE.replace("token_bucket", "fixed_window"))
    await zeros(window, 5)
    assert (switched(asking), switched(window)) == ([], [])


async def test_a_switch_is_the_limits_not_the_keys():
    """Another value of the same descriptor is post-paid too, with a name of its own in metrics as well."""
    for flag in ("", "detailed_metric: true, ", "value_to_metric: true, "):
        asking = caller(ONE.replace("{key: k, ", "{key: k, " + flag))
        await zeros(asking, 3)
        await asking.ask(sent("k", 60, value="y"))
        assert (await asking.ask(sent("k", 0, value="y"))).over
        assert switched(asking) == ["d.k"]


@pytest.mark.parametrize(
    ("tree", "stays"),
    [
        (ONE, True),
        (ONE.replace("50", "70"), True),
        (ONE.replace("token_bucket", "gcra"), False),
        (ONE.replace("hour", "day"), False),
    ],
)
async def test_a_switch_survives_a_reload_of_the_same_limit(tree, stays):
    """Its place, name, algorithm and window make it the same; other numbers do not matter."""
    asking = caller()
    await zeros(asking, 3)
    asking.load(tree)
    await asking.ask(("k", 200))
    assert (await asking.ask(("k", 0), ours=True)).over is stays


async def test_a_switch_fades_an_hour_after_the_last_0():
    """Every 0 keeps it; then costs above what is left are refused again."""
    asking = caller()
    await zeros(asking, 3)
    last = START + FADES - 1
    await zeros(asking, 1, now=last)
    await asking.ask(("k", 1), now=last + FADES - 1)
    assert switched(asking) == ["d.k"]
    await asking.ask(("other", 1), now=last + FADES)
    assert switched(asking) == []
    later = last + 9 * FADES
    assert [await asking.passes("k", cost, now=later) for cost in (60, 50)] == [False, True]
    await zeros(asking, 1, now=later)
    assert switched(asking) == []


async def test_overrides_of_a_domain_switch_together():
    """Whatever their keys and units; ``default_charge`` is theirs too."""
    asking = caller("default_algorithm: gcra\n")

    def override(key, unit, hits):
        return Descriptor(((key.encode(), b"x"),), Override(50, unit), hits)

    for number, unit in enumerate((Unit.HOUR, Unit.DAY, Unit.MINUTE)):
        await asking.ask(override(f"k{number}", unit, 0))
    assert switched(asking) == ["d (overrides)"]
    await asking.ask(override("other", Unit.HOUR, 60))
    assert (await asking.ask(override("other", Unit.HOUR, 0))).over
    said = caller("default_algorithm: gcra\ndefault_charge: after\n")
    await said.ask(override("k", Unit.HOUR, 60))
    assert (await said.ask(override("k", Unit.HOUR, 0))).over


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "fixed_window"])
async def test_costs_refused_just_before_the_switch_are_recorded_with_it(name):
    """The second answer of 30 does not fit into 50; the third question finds it recorded, and none is forgotten."""
    asking, told = caller(ONE.replace("token_bucket", name)), []
    asking.post_paid.forgot = told.append
    assert await asking.answers("k") == 2
    assert (asking.post_paid.recorded, told) == (1, [])
    assert asking.after("k").forgotten_hits == 0


async def test_a_report_in_the_batch_of_the_switch_is_recorded_with_the_next():
    """It was planned before the question that switched the limit, and refused."""
    asking, answers = caller(), []
    await zeros(asking, 2)
    await asking.passes("k", 40)
    asks = [asking.engine.ask(b"", lambda _, hits=hits: LimitRequest(b"d", (sent("k", hits),))) for hits in (30, 0)]
    asking.engine.decide(asks, START, lambda _, answer: answers.append(answer.over), pytest.fail)
    assert (answers, switched(asking)) == ([True, False], ["d.k"])
    assert not await asking.passes("k", 0)
    assert (asking.post_paid.recorded, asking.after("k").settled_hits) == (1, 30)


async def test_costs_that_stay_refused_are_counted_and_told_once_a_limit():
    """Reports above 1 of a limit without ``charge``; after a minute in doubt, if it was asked with 0."""
    asking, told = caller(), []
    asking.post_paid.forgot = told.append
    await asking.passes("k", 50)
    assert [await asking.passes("k", cost) for cost in (1, None, 7, 8)] == [False] * 4
    assert (asking.after("k").forgotten_hits, told) == (15, ["d.k"])
    await zeros(asking, 1)
    await asking.passes("k", 9)
    assert asking.after("k").forgotten_hits == 15
    await asking.ask(("other",), now=START + WITHIN + 1)
    assert (asking.after("k").forgotten_hits, told) == (24, ["d.k"])


async def test_a_limit_that_says_charge_before_forgets_nothing():
    """Its refused costs are meant to cost nothing; upstream's window records every cost, unless it is vetoed."""
    asking = caller(ONE.replace("token_bucket", "gcra, charge: before"))
    await asking.passes("k", 60)
    assert not [tally for tally in asking.tallies if tally.after]
    full = f"- {{key: full, rate_limit: {{{BUDGET}, charge: before}}}}\n"
    window = ONE.replace("token_bucket", "fixed_window") + full
    alone, together = caller(window), caller("all_or_nothing: true\n" + window)
    for one in (alone, together):
        await one.ask(("full", 50))
        await one.ask(("k", 60), ("full", 1))
    assert not [tally for tally in alone.tallies if tally.after]
    assert together.after("k").forgotten_hits == 60


async def test_a_remembered_denial_forgets_what_upstreams_window_would_count():
    """LOCAL_CACHE_SIZE_IN_BYTES: a flood over the limit reaches no counter, nor does what it reports."""
    post_paid = PostPaid()
    cache = OverLimitCache(1 << 20, post_paid.refused)
    asking = caller(ONE.replace("token_bucket", "fixed_window"), guards=[cache], post_paid=post_paid)
    for cost in (50, 1, 9, None):
        await asking.ask(("k", cost))
    assert asking.after("k").forgotten_hits == 9


@pytest.mark.parametrize("mode", ["", "shadow_mode: true, ", "quota_mode: true, "])
async def test_a_remembered_denial_forgets_once(mode):
    """All or nothing too, whether it vetoes the request, is vetoed by another limit, or neither."""
    post_paid = PostPaid()
    cache = OverLimitCache(1 << 20, post_paid.refused)
    full = f"- {{key: full, rate_limit: {{{BUDGET}, charge: before}}}}\n"
    tree = ONE.replace("token_bucket", "fixed_window").replace("key: k,", f"key: k, {mode}") + full
    asking = caller("all_or_nothing: true\n" + tree, guards=[cache], post_paid=post_paid)
    await asking.ask(("full", 50))
    for cost in (50, 1):
        await asking.ask(("k", cost))
    assert len(cache) == 1
    await asking.ask(("k", 9))
    assert asking.after("k").forgotten_hits == 9
    await asking.ask(("k", 9), ("full", 1))
    assert asking.after("k").forgotten_hits == 18


async def test_costs_in_doubt_are_bounded():
    """The oldest of them are forgotten."""
    asking = caller()
    await zeros(asking, 1)
    await asking.passes("k", 50)
    for _ in range(IN_DOUBT + 2):
        await asking.ask(("k", 3))
    assert asking.after("k").forgotten_hits == 6


class Store(MemoryStore):
    """A store that is away when told so."""

    failure: Failure | None = None

    def charge(self, asks, now, done):
        if self.failure is None:
            super().charge(asks, now, done)
            return
        for ask in asks:
            ask.outcomes = [self.failure if each is None else each for each in ask.outcomes]
        done(asks)


AWAY = Failure(FailureKind.DISCONNECTED, "away")
AFTER = ONE.replace("token_bucket", "token_bucket, charge: after")


def failing(policy="error", most=10_000, tree=AFTER):
    post_paid, store = PostPaid(most), Store(1 << 20)
    fallback = Fallback(MemoryStore(1 << 20), 1, lambda *_: None, post_paid.keep)
    tree = tree.replace("key: k,", f"key: k, on_store_failure: {policy},")
    return Caller(store, tree, guards=[fallback], post_paid=post_paid), store, post_paid


@pytest.mark.parametrize("policy", ["error", "allow", "deny", "local"])
async def test_a_settlement_that_met_a_dead_store_is_recorded_when_it_is_back(policy):
    """Once, whatever the failure policy says meanwhile; ``local`` records it in this process too."""
    asking, store, post_paid = failing(policy)
    waits = []
    post_paid.waits = lambda: waits.append(len(post_paid))
    store.failure = AWAY
    for cost in (30, 30, 0, 1):
        await asking.ask(("k", cost))
    assert (await asking.ask(("k", 0))).over is (policy in ("deny", "local"))
    post_paid.charge_kept(store, START)
    assert (len(post_paid), waits[0]) == (3, 1)
    store.failure = None
    for _ in range(2):
        post_paid.charge_kept(store, START + SECOND)
    assert (len(post_paid), post_paid.recorded, post_paid.dropped) == (0, 3, 0)
    assert asking.after("k").settled_hits == 61
    assert (await asking.ask(("k", 0))).over


async def test_a_settlement_waits_until_its_store_replies():
    """One that was sent again is neither recorded nor lost, so it still waits: the three tell of every settlement."""
    asking, store, post_paid = failing()
    store.failure = AWAY
    await asking.ask(("k", 30))
    store.failure, replies, charge = None, [], store.charge
    store.charge = lambda asks, now, done: replies.append(lambda: charge(asks, now, done))
    post_paid.charge_kept(store, START)
    assert (len(post_paid), post_paid.recorded, post_paid.dropped) == (1, 0, 0)
    (reply,) = replies
    reply()
    assert (len(post_paid), post_paid.recorded, post_paid.dropped) == (0, 1, 0)


@pytest.mark.parametrize("policy", ["deny", "local"])
async def test_a_settlement_that_waits_is_not_in_doubt(policy):
    """Of a limit without ``charge`` that has switched: another decision than the store's does not make it refused."""
    asking, store, post_paid = failing(policy, tree=ONE)
    for _ in range(3):
        await asking.ask(("k", 0))
    store.failure = AWAY
    assert (await asking.ask(("k", 60))).over
    store.failure = None
    for seconds in (1, 2):
        post_paid.charge_kept(store, START + seconds * SECOND)
        await asking.ask(("k", 0), now=START + seconds * SECOND)
    assert (post_paid.recorded, asking.after("k").settled_hits) == (1, 60)


@pytest.mark.parametrize(
    "failure",
    [AWAY._replace(sent=True), Failure(FailureKind.TIMEOUT, "late", sent=True), Failure(FailureKind.KEY, "foreign")],
)
async def test_a_settlement_that_may_have_been_recorded_is_not_repeated(failure):
    """Nor one that no attempt can record; both are counted."""
    asking, store, post_paid = failing()
    store.failure = failure
    await asking.ask(("k", 30))
    assert (len(post_paid), post_paid.dropped) == (0, 1)


async def test_the_newest_settlements_wait_for_a_window_at_most():
    """And no more than the setting says, of which none waits for a limit whose window is over."""
    asking, store, post_paid = failing(most=3)
    store.failure = AWAY
    for number in range(5):
        await asking.ask(("k", 1 + number), now=START + number)
    assert (len(post_paid), post_paid.dropped) == (3, 2)
    store.failure = None
    post_paid.charge_kept(store, START + HOUR + 3)
    assert (post_paid.recorded, post_paid.dropped) == (1, 4)
    assert asking.after("k").settled_hits == 5


async def test_a_fixed_windows_settlement_waits_until_its_window_ends():
    """The counter of the next window is another one."""
    asking, store, post_paid = failing(tree=AFTER.replace("token_bucket", "fixed_window"))
    store.failure = AWAY
    await asking.ask(("k", 9))
    store.failure = None
    post_paid.charge_kept(store, START - START % HOUR + HOUR)
    assert (post_paid.recorded, post_paid.dropped) == (0, 1)


async def test_settlements_are_recorded_in_turns():
    """As many as one script call takes, the oldest first."""
    asking, store, post_paid = failing()
    store.failure = AWAY
    for _ in range(AT_ONCE + 5):
        await asking.ask(("k", 1))
    store.failure = None
    post_paid.charge_kept(store, START)
    assert (len(post_paid), post_paid.recorded) == (5, AT_ONCE)


async def test_with_0_nothing_waits():
    """SETTLEMENTS_KEPT=0."""
    asking, store, post_paid = failing(most=0)
    store.failure = AWAY
    await asking.ask(("k", 30))
    assert (len(post_paid), post_paid.dropped) == (0, 1)


@pytest.mark.scenario("the event loop is blocked")
def test_very_many_switches_are_examined_in_turn():
    """Each look examines some of them, in the end all: those fade that were not asked for an hour, and no others."""
    switches, many = Switches(), 5 * LOOKED_AT
    for number in range(many):
        switch = Switch(f"d.{number}")
        switch.on, switch.last = True, 0 if number % 2 else SECOND
        switches.on.append(switch)
    faded = [switches.look(FADES) for _ in range(6)]
    assert max(map(len, faded)) <= LOOKED_AT
    assert sum(map(len, faded)) == many // 2
    assert {switch.last for switch in switches.on} == {SECOND}
    assert switches.next_look(FADES) < FADES + 2 * SECOND
