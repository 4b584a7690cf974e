"""What calls do with holds, apart from stores: settlements that wait, shares of replicas, and the names of counters."""

import pytest

from ratelimitd.algorithms import SECOND, Hold, make_rate, name_of
from ratelimitd.limiter import Ask, Failure, FailureKind, Fallback, PostPaid
from ratelimitd.limiter.guards import _share
from ratelimitd.limiter.holding import resized
from ratelimitd.limiter.keys import holds_key, key_maker, overflow_key
from ratelimitd.policy import Limit
from ratelimitd.policy_file import parse
from ratelimitd.stores import MemoryStore
from ratelimitd.stores.redis.slots import slot_of
from tests.contract.asking import START, Caller, sent
from tests.contract.holding import took

BUDGET = "unit: hour, requests_per_unit: 50, reserve: {amount: 10}, algorithm: gcra"
RESERVE = f"descriptors:\n- {{key: k, rate_limit: {{{BUDGET}}}}}\n"
PLACES = "descriptors:\n- {key: k, on_store_failure: %s, rate_limit: {concurrent: 1}}\n"


class Away:
    """A store that can be away."""

    def __init__(self, store):
        self.store, self.away = store, False
        self.failure = Failure(FailureKind.DISCONNECTED, "away")

    def charge(self, asks, now, done):
        if not self.away:
            self.store.charge(asks, now, done)
            return
        for ask in asks:
            ask.outcomes = [self.failure] * len(ask.outcomes)
        done(asks)


def caller(tree, most=100):
    """A caller of a store that can be away, and what waits for it."""
    post_paid, store, local = PostPaid(most), Away(MemoryStore()), MemoryStore()
    guards = [Fallback(local, 1, lambda *_: None, post_paid.keep)]
    return Caller(store, tree, guards=guards, post_paid=post_paid), store, post_paid


async def test_a_settlement_that_waits_releases_its_hold():
    """With its lease, when it is recorded; after its window only the hold is released."""
    for late, used in ((START + SECOND, 7), (START + 240 * SECOND, 0)):
        tree = RESERVE.replace("hour", "minute").replace("50", "20")
        asking, store, post_paid = caller(tree)
        lease = (await asking.ask(("k", 0))).lease
        store.away = True
        assert (await asking.ask(sent("k", 7, lease=lease))).failure is not None
        store.away = False
        post_paid.charge_kept(store, late)
        (status,) = (await asking.ask(("k", 0), now=late, ours=True)).statuses
        assert (status.over, status.remaining) == (False, 20 - used)


async def test_our_own_tools_teach_no_amount():
    """A cost of ``ratelimitd check`` is recorded, also late, and is no answer; nor is more than half shown."""
    auto = RESERVE.replace("{amount: 10}", "{start: 20}")
    asking, store, post_paid = caller(auto)
    await asking.ask(("k", 5), ours=True)
    store.away = True
    assert (await asking.ask(("k", 5), ours=True)).failure is not None
    store.away = False
    post_paid.charge_kept(store, START)
    assert (asking.after("k").settled_hits, asking.after("k").reserve_amount) == (10, 20)
    for _ in range(100):
        await asking.ask(("k", 40))
    assert asking.after("k").reserve_amount == dict(post_paid.amounts())["d.k"] == 25


async def test_a_release_that_waits_frees_the_place():
    """Of a limit on requests in progress."""
    asking, store, post_paid = caller(PLACES % "error")
    lease = (await asking.ask(("k", 0))).lease
    store.away = True
    await asking.ask(sent("k", 0, lease=lease))
    store.away = False
    assert (await asking.ask(("k", 0))).over
    post_paid.charge_kept(store, START)
    assert not (await asking.ask(("k", 0))).over


LATE = Failure(FailureKind.TIMEOUT, "late", sent=True)


@pytest.mark.parametrize(("hits", "dropped"), [(0, 0), (7, 1)])
async def test_a_release_that_may_have_been_made_is_made_again(hits, dropped):
    """Its name is released once, however often; the cost beside it may have been recorded, and is not."""
    asking, store, post_paid = caller(RESERVE)
    lease = (await asking.ask(("k", 0))).lease
    store.away, store.failure = True, LATE
    await asking.ask(sent("k", hits, lease=lease))
    assert (len(post_paid), post_paid.dropped) == (1, dropped)
    post_paid.charge_kept(store, START)
    assert (len(post_paid), post_paid.dropped) == (1, dropped)
    store.away = False
    post_paid.charge_kept(store, START)
    assert (len(post_paid), post_paid.dropped, await asking.used("k")) == (0, dropped, 0)


async def test_the_newest_hold_is_released_once_at_most():
    """A settlement without a lease that may have been made would release that of another request."""
    asking, store, post_paid = caller(RESERVE)
    await asking.ask(("k", 0))
    store.away, store.failure = True, LATE
    await asking.ask(("k", 7))
    assert (len(post_paid), post_paid.dropped) == (0, 1)


def taken(asking, name="k"):
    """A charge that took a hold, in the form in which a store tells of it."""
    return Ask(asking.engine.planner.plan(asking.request((name, 0))), [0]), 0


async def test_a_hold_that_no_answer_names_is_released():
    """Once the store is back, also past the window of its limit; none is lost with it."""
    asking, store, post_paid = caller(RESERVE.replace("hour", "second"))
    ask, index = taken(asking)
    store.store.charge([ask], START, lambda _: None)
    assert await asking.used("k") == 10
    post_paid.release([(ask, index)], START)
    store.away = True
    post_paid.charge_kept(store, START)
    assert len(post_paid) == 1
    store.away = False
    post_paid.charge_kept(store, START + 3 * SECOND)
    assert (len(post_paid), post_paid.dropped) == (0, 0)
    assert await asking.used("k", now=START + 3 * SECOND) == 0


async def test_releases_displace_no_settlement():
    """They are not worth a cost, and expire."""
    asking, store, post_paid = caller(RESERVE, most=2)
    store.away = True
    await asking.ask(("k", 7))
    post_paid.release([taken(asking) for _ in range(5)], START)
    assert (len(post_paid), post_paid.dropped) == (2, 0)
    store.away = False
    post_paid.charge_kept(store, START)
    assert await asking.used("k") == 7


async def test_a_store_that_is_away_is_replaced_by_holds_in_this_process():
    """With ``local``; their leases release them there."""
    asking, store, _ = caller(PLACES % "local")
    store.away = True
    lease = (await asking.ask(("k", 0))).lease
    assert lease
    assert (await asking.ask(("k", 0))).over
    await asking.ask(sent("k", 0, lease=lease))
    assert not (await asking.ask(("k", 0))).over


@pytest.mark.parametrize("policy", ["allow", "deny"])
async def test_a_decision_without_a_counter_takes_no_hold(policy):
    """So it has no lease."""
    asking, store, _ = caller(PLACES % policy)
    store.away = True
    answer = await asking.ask(("k", 0))
    assert (answer.over, answer.lease) == (policy == "deny", b"")


def limit_of(tree):
    (_, node) = parse([("p.yaml", f"domain: d\n{tree}".encode())]).nodes
    return node.limits[0]


def test_a_share_of_a_limit_has_its_share_of_holds():
    """Of places, and of what a request holds at most."""
    assert _share(limit_of(PLACES % "local")._replace(rate=limit_of(PLACES % "local").rate), 4).rate.burst == 1
    call = b"0" * 16
    hold = Hold(SECOND, 10, (name_of(call, 10),))
    assert resized(hold, call, 25) is hold
    assert resized(hold, call, 3) == Hold(SECOND, 3, (name_of(call, 3),))
    assert resized(Hold(SECOND, 10), call, 3) == Hold(SECOND, 3)


@pytest.mark.parametrize("value", [b"x", b"a}b", b"{a}", b"{}", b"y" * 400])
@pytest.mark.parametrize("prefix", [b"", b"p:"])
def test_a_counter_and_its_holds_share_a_slot(prefix, value):
    """In every window, whatever the value of a request; and not with all other counters."""
    limit = limit_of(RESERVE.replace("gcra", "fixed_window"))
    key = key_maker(prefix, safe=False)(b"d", limit).key(((b"k", value),))
    other = key_maker(prefix, safe=False)(b"d", limit).key(((b"k", value + b"z"),))
    slots = {slot_of(each) for each in (key, key + b"1764018900", key + b"1764018960", holds_key(key))}
    assert len(slots) == 1
    assert slot_of(other) not in slots
    assert key.count(b"{") == key.count(b"}") == 1
    overflow = overflow_key(prefix, b"d", value, "fixed_window", 60, "", tagged=True)
    assert slot_of(overflow) == slot_of(holds_key(overflow)) == slot_of(overflow + b"17")


def test_the_name_of_places_outlives_their_ttl():
    """A change of it loses none of those that are taken."""
    one, two = (
        key_maker(b"", safe=False)(b"d", limit_of(PLACES.replace("1}", f"1, ttl: {ttl}s}}") % "deny")).key(
            ((b"k", b"x"),)
        )
        for ttl in (5, 50)
    )
    assert one == two
    plain = Limit(make_rate("gcra", 5, SECOND), upstream=False)
    assert b"{" not in key_maker(b"", safe=False)(b"d", plain).key(((b"k", b"a}b"),))


@pytest.mark.parametrize(("known", "left"), [(False, 10), (True, 0)])
async def test_a_settlement_of_a_request_held_here_releases_none_elsewhere(known, left):
    """Without a lease: its hold was in this process, and the newest in Redis is another request's, which goes on."""
    asking, store, post_paid = caller(RESERVE.replace("key: k,", "key: k, on_store_failure: local,"))
    await asking.ask(("k", 0))  # in progress, held in Redis
    store.away = True
    if not known:
        await asking.ask(("k", 0))
    await asking.ask(("k", 7))
    store.away = False
    assert len(post_paid) == 1
    post_paid.charge_kept(store, START)
    (status,) = (await asking.ask(("k", 0), ours=True)).statuses
    assert status.remaining == 50 - 7 - left


async def test_a_release_of_a_place_that_was_taken_here_does_not_wait():
    """There is nothing to release elsewhere, with a lease or without."""
    asking, store, post_paid = caller(PLACES % "local")
    store.away = True
    for with_lease in (True, False):
        answer = await asking.ask(("k", 0))
        assert answer.lease
        await asking.ask(sent("k", 1, lease=answer.lease if with_lease else None))
    assert (len(post_paid), post_paid.dropped) == (0, 0)


async def test_a_question_that_another_limit_vetoes_has_not_passed():
    """So it is no question without a settlement."""
    full = "- {key: full, rate_limit: {unit: hour, requests_per_unit: 0}}\n"
    asking = Caller(MemoryStore(), "all_or_nothing: true\n" + RESERVE + full)
    await asking.ask(("k", 0), ("full", None))
    assert asking.after("k").questions == 0
    await asking.ask(("k", 0))
    assert asking.after("k").questions == 1


async def test_a_call_holds_no_more_amounts_than_a_lease_names():
    """Of 19 limits, those past the bound hold nothing, also if their amounts are equal."""
    amounts = [*range(1, 17), 20, 20, 20]
    budgets = [BUDGET.replace("amount: 10", f"amount: {amount}") for amount in amounts]
    tree = "".join(f"- {{key: k{n}, rate_limit: {{{budget}}}}}\n" for n, budget in enumerate(budgets))
    asking, keys = Caller(MemoryStore(), "descriptors:\n" + tree), [f"k{n}" for n in range(19)]

    async def held():
        answer = await asking.ask(*[(key, 0) for key in keys], ours=True)
        return [50 - status.remaining for status in answer.statuses]

    answer = await asking.ask(*[(key, 0) for key in keys])
    assert await held() == [*range(1, 17), 0, 0, 0]
    await asking.ask(*[sent(key, 0, lease=answer.lease) for key in keys])
    assert await held() == [0] * 19


async def test_a_place_taken_here_while_the_store_was_away_is_free_here_when_its_request_ends():
    """Also if the store is back then, which knows no such place: else the next outage would begin with it taken."""
    asking, store, _ = caller(PLACES % "local")
    store.away = True
    ask = await took(asking)
    assert ask is not None
    assert await took(asking) is None
    store.away = False
    asking.engine.release(ask, START)
    store.away = True
    assert await took(asking) is not None
