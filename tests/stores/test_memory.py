"""The memory store's bound: what an entry is counted as, and who goes first."""

import gc
import sys
import tracemalloc

import pytest

from ratelimitd.algorithms import Decision, Hold, concurrent_rate, make_rate, name_of
from ratelimitd.limiter.seam import Ask
from ratelimitd.stores.memory import MemoryStore
from ratelimitd.stores.rows import ENTRY_BYTES
from tests.algorithms.cases import ASKED, NOW, SECOND, SETTLEMENT, ask

HOUR = 3_600 * SECOND
TEN = make_rate("token_bucket", 10, HOUR)
SMALL = 300_000
"""Bytes: some thousand entries."""


def charge(store, rate, key, cost=1, now=NOW):
    """The decision on one charge."""
    wanted = ask((rate, key, cost))
    store.charge([wanted], now, lambda _: None)
    (decision,) = wanted.outcomes
    assert isinstance(decision, Decision)
    return decision


def flood(store, number, rate=TEN, now=NOW, name=b"flood"):
    """Charge this many keys once each."""
    for i in range(number):
        charge(store, rate, b"%b%d_" % (name, i), now=now)


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize(("max_bytes", "number"), [(4 << 20, 3_000), (4 << 20, 12_000), (1 << 20, 14_000)])
def test_an_entry_takes_no_more_than_it_is_counted_as(max_bytes, number):
    """What Python allocates for entries, as dicts fill and after evictions, is within the count, and not far below."""
    asks = [ask((TEN, b"a-key-of-usual-length-%d_" % i, 1)) for i in range(number)]
    store = MemoryStore(max_bytes)
    empty = sum(sys.getsizeof(shard) for table in (store._passing, store._denying) for shard in table.shards)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for one in asks:
            store.charge([one], NOW, lambda _: None)
            one.outcomes.clear()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # The keys were allocated before, and malloc rounds each object up to 16 bytes.
    counted_by_hand = taken + (store.bytes - ENTRY_BYTES * len(store)) + (33 + 16) * len(store)
    assert counted_by_hand <= store.bytes + empty <= 1.5 * counted_by_hand


@pytest.mark.scenario("a caller that invents keys")
def test_the_bound_holds_and_evictions_are_counted():
    """However many keys come, the bytes stay within the bound, and each entry lost for another is counted."""
    store = MemoryStore(SMALL)
    for i in range(5_000):
        charge(store, TEN, b"k%d_" % i)
        assert store.bytes <= SMALL
    assert store.evictions == 5_000 - len(store)
    assert store.bytes > SMALL * 0.9


def test_the_bound_holds_for_logs():
    """A sliding window's log grows by each charge; that is counted and bounded too."""
    store = MemoryStore(SMALL)
    log = make_rate("sliding_window", 10_000, HOUR)
    for i in range(300):
        for key in range(40):
            charge(store, log, b"%d_" % key, now=NOW + i)
            assert store.bytes <= SMALL
    assert store.evictions > 0


def test_an_entry_larger_than_the_bound_is_not_kept():
    """A bound too small for anything is no fault."""
    store = MemoryStore(100)
    assert charge(store, TEN, b"k_").allowed
    assert (len(store), store.bytes, store.evictions) == (0, 0, 1)


@pytest.mark.scenario("a caller that invents keys")
@pytest.mark.parametrize("algorithm", ["token_bucket", "fixed_window", "sliding_window_counter", "sliding_window"])
def test_a_flood_does_not_lift_a_limit(algorithm):
    """Keys over their limit are still over it after any number of new keys: they are evicted last."""
    store, rate = MemoryStore(SMALL), make_rate(algorithm, 2, HOUR)
    for i in range(600):
        charge(store, rate, b"over%d_" % i, 2)
    flood(store, 8_000)
    assert store.evictions > 5_000
    assert not any(charge(store, rate, b"over%d_" % i).allowed for i in range(600))


@pytest.mark.scenario("a caller that invents keys")
def test_a_flood_does_not_free_the_places_of_requests_in_progress():
    """Of a limit that is far from full too: nothing else knows that they are in progress."""
    store, rate, ttl = MemoryStore(SMALL), concurrent_rate(100, HOUR), HOUR
    hold = Hold(ttl, 1, (name_of(b"%016x" % 1, 1),))
    wanted = ask((rate, b"places", 1))
    wanted.plan.charges[0].hold = hold
    store.charge([wanted], NOW, lambda _: None)
    flood(store, 8_000)
    assert store.evictions > 5_000
    looked = ask((rate, b"places", 0))
    looked.plan.charges[0].hold = Hold(ttl)
    store.charge([looked], NOW, lambda _: None)
    assert looked.outcomes[0].held == 1


def test_a_denied_cost_counts_as_over_the_limit():
    """An entry that denies a larger cost is kept as well, though something is left of its limit."""
    store = MemoryStore(SMALL)
    charge(store, TEN, b"over_", 7)
    assert not charge(store, TEN, b"over_", 7).allowed
    for i in range(3_000):
        charge(store, TEN, b"fuller%d_" % i, 9)
    assert charge(store, TEN, b"over_", 0).before == 7


def test_the_least_used_goes_first():
    """Between entries that deny nothing, the one that has used least of its limit goes."""
    store = MemoryStore(SMALL)
    for i in range(100):
        charge(store, TEN, b"used%d_" % i, 8)
    flood(store, 8_000)
    assert [charge(store, TEN, b"used%d_" % i, 0).before for i in range(100)] == [8] * 100


def test_when_all_deny_the_bound_still_holds():
    """Entries over their limit go too when there is nothing else."""
    store, one = MemoryStore(SMALL), make_rate("token_bucket", 1, HOUR)
    flood(store, 5_000, one)
    assert store.bytes <= SMALL
    assert store.evictions == 5_000 - len(store)


def test_the_expired_go_before_anything_else():
    """While there are expired entries to take, no living one is evicted."""
    store, short = MemoryStore(SMALL), make_rate("token_bucket", 10, SECOND)
    flood(store, 700, short)
    flood(store, 700, now=NOW + HOUR, name=b"living")
    assert store.evictions == 0
    assert store.bytes <= SMALL


def test_expired_entries_are_reclaimed_before_the_bound_is_near():
    """New keys sweep up expired ones, a few at a time."""
    store, short = MemoryStore(1 << 22), make_rate("token_bucket", 10, SECOND)
    flood(store, 12_000, short)
    flood(store, 4_000, now=NOW + HOUR, name=b"living")
    assert len(store) < 6_000
    assert store.evictions == 0


def test_an_entry_over_its_limit_loses_that_rank_when_it_denies_no_more():
    """A counter that was denied hours ago and has drained since is evicted before one that is in use."""
    store, deep = MemoryStore(SMALL), make_rate("token_bucket", 1_000, 10 * HOUR)
    for i in range(500):
        charge(store, deep, b"old%d_" % i, 999)
        assert not charge(store, deep, b"old%d_" % i, 2).allowed
    later = NOW + 9 * HOUR
    for i in range(400):
        charge(store, TEN, b"used%d_" % i, 5, now=later)
    flood(store, 5_000, make_rate("token_bucket", 5, HOUR), now=later)
    assert not any(charge(store, deep, b"old%d_" % i, 0, now=later).before for i in range(500))
    assert all(charge(store, TEN, b"used%d_" % i, 0, now=later).before for i in range(400))


def test_a_step_back_in_time_does_not_stop_reclaiming():
    """After the clock went a day ahead and back, entries still expire and the bound still holds."""
    store, short = MemoryStore(SMALL), make_rate("token_bucket", 10, SECOND)
    flood(store, 700, short, now=NOW + 24 * HOUR, name=b"ahead")
    flood(store, 700, short, now=NOW)
    flood(store, 3_000, short, now=NOW + 2 * SECOND, name=b"later")
    assert store.bytes <= SMALL
    flood(store, 2_000, now=NOW + 25 * HOUR, name=b"day")
    assert all(not charge(store, short, b"ahead%d_" % i, 0, now=NOW + 25 * HOUR).before for i in range(700))


def test_the_collector_has_nothing_to_look_at():
    """However many counters there are, none is an object that a garbage collection visits."""
    store = MemoryStore()
    flood(store, 1_000)
    shards = [shard for table in (store._passing, store._denying) for shard in table.shards]
    assert sum(map(len, shards)) == 1_000
    assert not any(gc.is_tracked(shard) for shard in shards)


def test_keys_spread_over_shards_and_within_them():
    """Shards fill evenly, and a shard's keys do not share the hash bits that place them in its dict."""
    store = MemoryStore()
    flood(store, 20_000)
    shards = store._passing.shards
    fullest = max(shards, key=len)
    assert len(fullest) < 3 * 20_000 / len(shards)
    assert len({hash(key) & 63 for key in fullest}) > 20


def test_a_limit_of_nothing_takes_no_memory():
    """A charge that is always denied, or a peek, leaves no entry."""
    store = MemoryStore()
    assert not charge(store, make_rate("token_bucket", 0, HOUR), b"never_").allowed
    charge(store, TEN, b"peek_", 0)
    assert not charge(store, TEN, b"huge_", 11).allowed
    assert (len(store), store.bytes) == (0, 0)


def test_a_counter_given_back_is_forgotten():
    """Entries at rest again go at once, from either tier."""
    store = MemoryStore()
    charge(store, TEN, b"a_", 10)
    charge(store, TEN, b"b_", 3)
    charge(store, TEN, b"a_", -10)
    charge(store, TEN, b"b_", -3)
    assert (len(store), store.bytes) == (0, 0)


def test_the_group_is_handed_on_before_charge_returns():
    """All asks of a call are one group, done in place."""
    groups: list[list[Ask]] = []
    asks = [ask((TEN, b"a_", 1)), ask((TEN, b"b_", 1), atomic=True)]
    MemoryStore().charge(asks, NOW, lambda group: groups.append(list(group)))
    assert groups == [asks]


def test_holds_are_counted_as_large_as_they_are():
    """Measured with tracemalloc; a counter that releases them is as small as before."""
    store, rate = MemoryStore(1 << 30), make_rate("token_bucket", 20_000, 3_600 * SECOND)
    names = [name_of(b"%016x" % number, 2) for number in range(9_000)]
    tracemalloc.start()
    try:
        before, counted = tracemalloc.get_traced_memory()[0], store.bytes
        for number, name in enumerate(names):
            own = bytes(bytearray(name))  # each name comes with a call of its own
            asks = [ask((rate, b"k_", 0, ASKED, Hold(300 * SECOND, 2, (own,))))]
            store.charge(asks, NOW + number, lambda _: None)
        del asks, own
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken <= store.bytes - counted <= 1.5 * taken
    for name in names:
        settled = ask((rate, b"k_", 0, SETTLEMENT, Hold(300 * SECOND, 0, (name,))))
        store.charge([settled], NOW, lambda _: None)
    assert (store.bytes, len(store)) == (counted, 0)


def test_a_hold_that_its_own_call_evicted_is_released_by_that():
    """All or nothing in a full store: a later charge of the call may need the room of the hold that an earlier took."""
    store, none = MemoryStore(1_000), make_rate("token_bucket", 0, HOUR)
    log = make_rate("sliding_window", 100, HOUR)
    name = name_of(b"0" * 16, 2)
    for number in range(9):
        store.charge([ask((log, b"log_", 1))], NOW + number, lambda _: None)
    held = ask(
        (TEN, b"k_", 0, ASKED, Hold(HOUR, 2, (name,))),
        (TEN, b"l_", 0, ASKED, Hold(HOUR, 2, (name,))),
        (TEN, b"m_", 0, ASKED, Hold(HOUR, 2, (name,))),
        (none, b"never_", 1),
        atomic=True,
    )
    store.charge([held], NOW + 9, lambda _: None)
    assert [outcome.allowed for outcome in held.outcomes] == [True, True, True, False]
    assert not any(key.endswith(b"holds") for table in (store._passing, store._denying) for key in keys_of(table))


def keys_of(table):
    return [key for shard in table.shards for key in shard]
