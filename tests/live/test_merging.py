"""Documents of replicas, merged: what is added, what is told of differences, and that the order does not matter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.live import NAMES, arranged, fault, merged
from tests.live.documents import EPOCH, KINDS, empty_overview, history, key, limit, limits, row, unordered

kinds = pytest.mark.parametrize("kind", KINDS)
FIRSTS = {"replica", "where"}
"""Fields that are the first document's."""


def of_none(document):
    """A document without what is the first's: which replica was asked, and which version it has."""
    if "policy" not in document:
        return document
    return {**document, "replica": None, "policy": {**document["policy"], "version": None}}


@kinds
@given(data=st.data())
def test_the_order_does_not_matter(kind, data):
    """Two replicas that are merged are the same the other way round, but for what is the first's."""
    one, other = data.draw(KINDS[kind]), data.draw(KINDS[kind])
    both = [of_none(unordered(merged(kind, each))) for each in ([one, other], [other, one])]
    assert both[0] == both[1]


@kinds
@given(data=st.data())
def test_who_is_merged_first_does_not_matter(kind, data):
    """What is merged can be merged with a third, before it or after it, as with all three at once."""
    one, two, three = (data.draw(KINDS[kind]) for _ in range(3))
    at_once = unordered(merged(kind, [one, two, three]))
    assert unordered(merged(kind, [merged(kind, [one, two]), three])) == at_once
    assert unordered(merged(kind, [one, merged(kind, [two, three])])) == at_once


@kinds
@given(data=st.data())
def test_what_is_merged_is_a_document(kind, data):
    """It has the shape of those that it was made from, so that it can be merged again."""
    documents = [data.draw(KINDS[kind]) for _ in range(2)]
    assert [fault(kind, each) for each in documents] == ["", ""]
    assert fault(kind, merged(kind, documents)) == ""


@given(found=KINDS["overview"])
def test_a_replica_without_traffic_adds_nothing(found):
    """Numbers stay as they are."""
    both = merged("overview", [found, empty_overview(last={**empty_overview()["last"], "end": found["last"]["end"]})])
    for name in ("rates", "decisions", "totals", "last"):
        assert both[name] == found[name]


@given(found=KINDS["history"])
def test_an_empty_history_adds_nothing(found):
    """One of the same end, with no hits."""
    assert merged("history", [found, {**found, **dict.fromkeys(NAMES, [0] * 12)}]) == found


@given(found=KINDS["limits"])
def test_no_limits_add_none(found):
    """A replica that has no limits yet leaves those of the others as they are, but for what is counted of replicas."""
    both = merged("limits", [found, limits()])
    told = [{k: v for k, v in each.items() if k not in {"replicas", "active_keys_most"}} for each in both["limits"]]
    assert told == found["limits"]


@given(documents=st.lists(KINDS["overview"], min_size=1, max_size=5))
def test_sums_are_right(documents):
    """Totals are the sum of all, to the hit; rates to a millionth."""
    found = merged("overview", documents)
    for name in NAMES:
        assert found["totals"][name] == sum(each["totals"][name] for each in documents)
        assert found["rates"][name] == pytest.approx(sum(each["rates"][name] for each in documents), abs=1e-6)


def test_histories_are_added_by_their_time():
    """A replica that has closed a step more is cut there: no step is told that some have not counted yet."""
    early, late = history(EPOCH, allowed=[1, 2, 3]), history(EPOCH + 10, allowed=[20, 30, 40])
    both = merged("history", [late, early])
    assert (both["end"], both["allowed"]) == (EPOCH, [1, 22, 33])


def test_a_clock_that_is_late_holds_no_history_back():
    """A replica whose clock is hours behind would else hide what all others counted since."""
    both = merged("history", [history(EPOCH, allowed=[1, 2, 3]), history(EPOCH - 36_000, allowed=[7, 7, 7])])
    assert (both["end"], both["allowed"]) == (EPOCH - 20, [0, 0, 1])
    assert merged("history", [history(EPOCH), history(10)])["end"] == EPOCH - 20


def test_a_limit_of_some_replicas_says_on_how_many_it_is():
    """A policy that is rolled out is not on all yet."""
    both = merged("limits", [limits(row(id="a"), row(id="b")), limits(row(id="a"))])
    assert {each["id"]: each["replicas"] for each in both["limits"]} == {"a": 2, "b": 1} or both["limits"]
    assert [each.get("replicas") for each in both["limits"]] == [2, 1]


def test_a_limit_that_differs_says_how():
    """The numbers are the first's; the row has every summary there is."""
    other = row(summary="200 per minute", requests_per_unit=200)
    (found,) = merged("limits", [limits(row()), limits(other), limits(row())])["limits"]
    assert (found["requests_per_unit"], found["differs"]) == (100, ["100 per minute", "200 per minute"])
    (same,) = merged("limits", [limits(row()), limits(row())])["limits"]
    assert "differs" not in same


def test_a_limit_that_is_gone_on_some_is_not_gone():
    """The row of a replica whose policy still has it is the one that is shown."""
    (found,) = merged("limits", [limits(row(gone=True, where=None)), limits(row(gone=False))])["limits"]
    assert (found["gone"], found["where"]) == (False, {"file": "policy.yaml", "line": 12})


def test_keys_that_are_in_use_have_two_bounds():
    """Replicas do not know which keys the others saw: at least those of the busiest, at most those of all together."""
    (found,) = merged("limits", [limits(row(active_keys=5)), limits(row(active_keys=7)), limits(row())])["limits"]
    assert (found["active_keys"], found["active_keys_most"]) == (7, 12)
    (unknown,) = merged("limits", [limits(row()), limits(row())])["limits"]
    assert (unknown["active_keys"], unknown["active_keys_most"]) == (None, None)


def test_a_key_has_the_hits_of_all_and_the_state_of_the_latest():
    """Counts and errors are added; what is left is what the replica said that saw it last."""
    hits = {"hits": 3, "denied": 1}
    early = key(minute=hits, error=2, used=99, remaining=1, reset_after=9.0, seen=EPOCH, descriptor=None)
    late = key(minute=hits, error=1, used=100, remaining=0, reset_after=8.0, seen=EPOCH + 1)
    (found,) = merged("limit", [limit(late), limit(early)])["keys"]
    assert found == {**late, "minute": {"hits": 6, "denied": 2}, "error": 3}


def test_denials_are_in_order_the_newest_first():
    """Each was counted by its own replica, so two that are alike stay two."""
    older, newer = ({"time": EPOCH + each, "id": "a", "key": "k"} for each in range(2))
    documents = [{"version": 1, "time": EPOCH, "denials": each} for each in ([newer, older], [newer])]
    assert merged("denials", documents)["denials"] == [newer, newer, older]


def test_the_worst_state_is_told():
    """One replica whose store fails is seen; so are two versions of the policy."""
    store = {**empty_overview()["store"], "state": "failing", "text": "calls fail", "breaker": "open"}
    failing = {"component": "redis", "reason": "not connected"}
    health = {"healthy": False, "ready": True, "failing": [failing], "notes": []}
    policy = {**empty_overview()["policy"], "version": "v2"}
    found = merged("overview", [empty_overview(), empty_overview(store=store, health=health, policy=policy)])
    assert (found["store"]["state"], found["store"]["breaker"], found["store"]["text"]) == (
        "failing",
        "open",
        "calls fail",
    )
    assert (found["health"]["healthy"], found["health"]["failing"]) == (False, [failing])
    assert (found["policy"]["version"], found["policy"]["versions"]) == ("v1", ["v1", "v2"])


@pytest.mark.parametrize(("kind", "keys"), [("memory", 7), ("redis", 4)])
def test_counters_of_memory_are_added(kind, keys):
    """In memory each replica has its own; the keys of Redis are the same for all."""
    stores = [{**empty_overview()["store"], "kind": kind, "keys": each} for each in (3, 4)]
    assert merged("overview", [empty_overview(store=each) for each in stores])["store"]["keys"] == keys


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, "cab"),
        ({"sort": "denied", "order": "asc"}, "bac"),
        ({"sort": "name"}, "abc"),
        ({"sort": "name", "order": "desc"}, "cba"),
        ({"sort": "use"}, "bac"),
        ({"sort": "rate"}, "cab"),
        ({"sort": "allowed"}, "abc"),
        ({"sort": "keys", "limit": "1"}, "b"),
        ({"sort": "name", "limit": "1", "offset": "1"}, "b"),
    ],
)
def test_limits_are_sorted_when_they_are_merged(query, ids):
    """By the sums, and cut to the page that was asked for."""
    rates = dict.fromkeys(NAMES, 0.0)
    rows = [
        row(id="a", name="a", rates={**rates, "denied": 1.0}),
        row(id="b", name="b", use=0.5, active_keys=1),
        row(id="c", name="c", rates={**rates, "denied": 2.0}),
    ]
    found = arranged("limits", limits(*rows), query)
    assert "".join(each["id"] for each in found["limits"]) == ids
    assert found["total"] == 3


def test_a_limit_shows_as_many_keys_as_one_replica_does():
    """The busiest of the last minute."""
    keys = [key(key=f"k{number}", minute={"hits": number, "denied": 0}) for number in range(300)]
    found = arranged("limit", limit(*keys), {})["keys"]
    assert [each["key"] for each in found] == [f"k{number}" for number in range(299, 171, -1)]
