"""The model takes the memory of its setting at most, and each slice of its work ends soon."""

import gc
import json
import tracemalloc

import pytest

from ratelimitd.limiter import LimitRequest
from ratelimitd.live import KEYS_LEAST, KEYS_MOST, LimitsQuery, View, busiest, complete, limit, limit_id, limits
from ratelimitd.live.model import OVERRIDES_MOST
from ratelimitd.policy import Descriptor, Override, Unit
from tests.live.watched import MIB, SECOND, Watched

PLAIN = "domain: d\ndescriptors:\n"


def policy_of(number):
    """A policy with limits ``k0``, ``k1`` ..."""
    return PLAIN + "".join(
        [f"- {{key: k{n}, rate_limit: {{unit: day, requests_per_unit: 1}}}}\n" for n in range(number)]
    )


def flood(watched, calls, name):
    """Calls that are all seen: a second passes between parts of them."""
    for number in range(calls):
        watched.call(name(number))
        if number % 40 == 39:
            watched.tick()


def held(watched, fill):
    """Fill the model, and return the bytes that are free once it is gone, by tracemalloc."""
    gc.collect()
    tracemalloc.start()
    try:
        fill()
        used = watched.live.budget.used
        gc.collect()
        full, _ = tracemalloc.get_traced_memory()
        watched.live = watched.engine.watcher = None
        gc.collect()
        return used, full - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (1, lambda number: f"k0={number}"),
        (400, lambda number: f"k{number % 400}=x"),
        (40, lambda number: f"k{number % 40}={number:0200}"),
        (200, lambda number: f"k{number * number % 200}={number:040}"),
    ],
    ids=["one limit", "many limits", "long keys", "both"],
)
@pytest.mark.parametrize("most", [0.25, 1])
def test_it_takes_no_more_than_its_setting(limits, name, most):
    """By tracemalloc, when it is full: what it counts is at least what it takes."""
    watched = Watched(policy_of(limits), most=int(most * MIB))
    used, freed = held(watched, lambda: flood(watched, 2_000, name))
    assert used <= most * MIB
    assert used / 8 <= freed <= used


def overridden(watched, key):
    watched.ask(LimitRequest(b"d", (Descriptor(((key, b"x"),), Override(1, Unit.DAY)),)))


def test_overrides_with_keys_of_a_caller_take_no_limit_its_room():
    """A row each for some; one row of a domain stands for all others, and the policy's limits have their own."""
    watched = Watched(policy_of(3), most=MIB // 2)
    for number in range(1_000):
        overridden(watched, b"%d" % number)
        if number % 40 == 39:
            watched.tick()
    for number in range(3):
        watched.call(f"k{number}=x")
    rows = {each["name"]: each for each in watched.limits(limit=200)["limits"]}
    assert len(rows) == OVERRIDES_MOST + 1 + 3
    assert rows["d.(other overrides)"]["totals"]["allowed"] == 1_000 - OVERRIDES_MOST
    assert {rows[f"d.k{number}"]["totals"]["allowed"] for number in range(3)} == {1}
    watched.tick(3_620)
    overridden(watched, b"again")
    assert "d.again" in {each["name"] for each in watched.limits()["limits"]}


def test_a_long_key_of_an_override_is_in_no_document():
    """Each row has the names of its entries, and a document has 200 rows: 16 KiB each would hold the event loop."""
    watched = Watched(policy_of(1))
    for number in range(100):
        overridden(watched, b"%d" % number + b"\x01" * 16_000)
    assert len(json.dumps([watched.limits(limit=200), watched.denials()])) < 256 << 10


def test_limits_without_traffic_make_room():
    """All memory comes back after an hour; what is reserved for denials and the history stays."""
    watched = Watched(policy_of(300), most=MIB)
    reserved = watched.live.budget.used
    flood(watched, 600, lambda number: f"k{number % 300}={number}")
    assert watched.live.budget.used > reserved
    watched.tick(3_620)
    assert watched.live.limits == {}
    assert watched.live.budget.used == reserved


def test_a_new_limit_has_room_in_a_full_model():
    """Keys past the share of their limit give way, so that no limit with many keys keeps others out."""
    watched = Watched(policy_of(50), most=MIB * 3 // 16)
    flood(watched, 3_000, lambda number: f"k0={number:0100}")
    assert len(watched.live.limits[(b"d", b"2:k0", "")].keys.listed) > 4 * KEYS_LEAST
    for number in range(20):
        watched.tick()
        watched.call(f"k{number}=x")
    assert len(watched.live.limits) == 20


def test_a_full_model_keeps_denials():
    """However many limits and keys there are, what was denied last is told."""
    watched = Watched(policy_of(400), most=MIB // 2)
    flood(watched, 1_600, lambda number: f"k{number % 400}={number}")
    watched.tick()
    for _ in range(2):
        watched.call("k5=alice")
    assert [each["key"] for each in watched.denials()] == ["k5=alice"]


def test_room_is_made_between_two_slices_of_a_tick():
    """A limit without traffic that gives way to a new one, while a tick drops others like it, leaves once."""
    watched = Watched(policy_of(1_220))
    flood(watched, 1_200, lambda number: f"k{number}=x")
    watched.now += 600 * SECOND
    watched.tick()
    flood(watched, 600, lambda number: f"k{number}=x")
    watched.now += 3_100 * SECOND
    watched.tick()
    watched.now += 10 * SECOND
    work, live = watched.live.tick(watched.now, (0, 0, 0)), watched.live
    for number, _ in enumerate(work):
        live.budget.take(live.budget.most - live.budget.used)
        for _ in range(600):
            watched.call(f"k{1_200 + number}=x")
    assert {place[1] for place in live.limits if place[1] in {b"2:k0", b"4:k700", b"5:k1200"}} == {b"2:k0", b"5:k1200"}


def test_keys_of_a_limit_are_bounded():
    """And those with most hits are listed; how many there are besides is estimated."""
    watched = Watched(policy_of(1))
    flood(watched, 2_000, lambda number: "k0=heavy" if number % 10 == 0 else f"k0={number}")
    shown = complete(limit(watched.view(), limit_id(b"d", b"2:k0", "")))
    assert len(shown["keys"]) == KEYS_MOST
    assert shown["keys"][0]["key"] == "k0=heavy"
    assert shown["keys"][0]["hour"]["hits"] == 200
    assert shown["keys_error"]["share"] == pytest.approx(1 / KEYS_MOST, abs=1e-4)
    assert shown["limit"]["active_keys"] > KEYS_MOST


def test_without_memory_nothing_is_kept():
    """A setting that is too small for any limit: requests are decided all the same, and totals are right."""
    watched = Watched(policy_of(1), most=100)
    flood(watched, 100, lambda _: "k0=x")
    watched.tick(11)
    assert watched.overview()["totals"] == {"allowed": 1, "denied": 99, "shadowed": 0, "failed": 0}
    assert watched.limits()["limits"][0]["active_keys"] is None


def test_a_page_of_many_limits_is_made_in_slices():
    """Searched, sorted and by pages; the loop has a turn after each hundred limits."""
    watched = Watched(policy_of(3_000))
    for number in (5, 5, 5, 7, 7, 2_999):
        watched.call(f"k{number}=x")
    work = limits(watched.view(), LimitsQuery(sort="denied", limit=4))
    slices = sum(1 for _ in work)
    assert slices >= 30
    shown = watched.limits(sort="denied", limit=4)
    assert shown["total"] == 3_000
    assert [row["name"] for row in shown["limits"]] == ["d.k5", "d.k7", "d.k0", "d.k1"]
    assert [row["name"] for row in watched.limits(sort="denied", offset=1, limit=2)["limits"]] == ["d.k7", "d.k0"]
    assert [row["name"] for row in watched.limits(sort="name", descending=False, limit=3)["limits"]] == [
        "d.k0",
        "d.k1",
        "d.k10",
    ]
    assert [row["name"] for row in watched.limits(sort="name", limit=1)["limits"]] == ["d.k999"]
    assert [row["name"] for row in watched.limits(search="K299", offset=10)["limits"]] == ["d.k2999"]
    assert watched.limits(sort="name", descending=False, offset=2_999)["limits"][0]["name"] == "d.k999"
    assert watched.limits(offset=4_000)["limits"] == []


@pytest.mark.parametrize("sort", ["denied", "allowed", "rate", "use", "keys"])
def test_each_order_puts_what_it_says_first(sort):
    """``k1`` has most denials, ``k2`` most hits that pass, ``k3`` most keys."""
    policy = PLAIN + "".join(
        [
            f"- {{key: k{n}, rate_limit: {{unit: day, requests_per_unit: {q}}}}}\n"
            for n, q in ((0, 5), (1, 1), (2, 99), (3, 9))
        ]
    )
    watched = Watched(policy)
    for _ in range(20):
        watched.call("k1=x")
    for _ in range(30):
        watched.call("k2=x")
    for number in range(5):
        watched.call(f"k3={number}")
    first = watched.limits(sort=sort)["limits"][0]["name"]
    assert first == {"denied": "d.k1", "allowed": "d.k2", "rate": "d.k2", "use": "d.k1", "keys": "d.k3"}[sort]
    assert watched.limits(sort=sort, descending=False)["limits"][0]["name"] == "d.k0"


def test_the_busiest_limits_come_first():
    """Of the last step, or of the first one so far."""
    watched = Watched(policy_of(5))
    for number in range(5):
        for _ in range(number + 1):
            watched.call(f"k{number}=x")
    for _ in range(2):
        shown = busiest(watched.view(), 2)["limits"]
        assert [sum(each["totals"].values()) for each in shown] == [5, 4]
        watched.tick(10)


def test_an_id_is_that_of_one_limit():
    """Also of the second limit of a descriptor, and of limits whose names in metrics are equal; unknown: none."""
    policy = PLAIN + (
        "- {key: 'a:b', rate_limit: {unit: day, requests_per_unit: 1}}\n"
        "- {key: 'a_b', rate_limits: [{unit: day, requests_per_unit: 2}, {unit: hour, requests_per_unit: 1}]}\n"
    )
    watched = Watched(policy)
    rows = watched.limits()["limits"]
    assert len({row["id"] for row in rows}) == len(rows) == 3
    for row in rows:
        found = complete(limit(watched.view(), row["id"]))
        assert found["limit"]["name"] == row["name"]
        assert found["limit"]["requests_per_unit"] == row["requests_per_unit"]
    assert complete(limit(watched.view(), "0" * 16)) is None


def test_where_a_limit_was_written_is_asked_of_the_edge():
    """With its node and its number there."""
    watched = Watched(policy_of(2))
    view = View(
        watched.live,
        watched.policy,
        watched.now,
        True,
        str,
        lambda node, number: {"line": node.key.decode(), "n": number},
    )
    assert [row["where"] for row in complete(limits(view, LimitsQuery()))["limits"]] == [
        {"line": "k0", "n": 0},
        {"line": "k1", "n": 0},
    ]


@pytest.mark.parametrize("step", [-40_000_000, -7_200, -15, 3_600, 100_000, 40_000_000])
def test_a_step_of_the_clock_breaks_nothing(step):
    """Back or forth: no number is negative, counts stay, and what comes after is counted."""
    watched = Watched(policy_of(1))
    flood(watched, 50, lambda _: "k0=x")
    watched.now += step * SECOND
    watched.call("k0=y")
    watched.everything(plain=True)
    watched.tick(2)
    watched.call("k0=x")
    watched.tick(11)
    shown = watched.limit(b"2:k0")
    assert sum(shown["limit"]["totals"].values()) == 52
    assert sum(sum(shown["history"][name][-2:]) for name in ("allowed", "denied")) >= 1
    assert min(min(shown["history"][name]) for name in ("allowed", "denied")) >= 0
    assert shown["keys"][0]["minute"]["hits"] >= 1


def test_old_hits_count_less_and_numbers_stay_finite():
    """After days, in which counts are scaled, a key of now replaces one of then."""
    watched = Watched(policy_of(1))
    watched.call("k0=old")
    for _ in range(6):
        for number in range(20):
            watched.ask(LimitRequest(b"d", (Descriptor(((b"k0", b"%d" % number),)),)))
        watched.now += 86_400 * SECOND // 2
        watched.tick()
    keys = watched.limit(b"2:k0")["keys"]
    assert keys == [] or all(key["error"] < 1e9 for key in keys)
