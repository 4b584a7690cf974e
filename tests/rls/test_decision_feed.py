"""Decisions for a reader: what a document says, what is left out, and that nothing listens without a reader."""

import json

import pytest

from ratelimitd.descriptor_text import show
from ratelimitd.limiter import Fallback, Modes, PlanOptions, Selection
from ratelimitd.proto import message
from ratelimitd.rls import DecisionFeed, DecisionLog, Logged
from ratelimitd.rls import decision_feed as module
from ratelimitd.stores.memory import MemoryStore

POLICY = """
domain: d
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 1, name: users}}
  - key: several
    rate_limits:
      - {name: short, unit: second, requests_per_unit: 9}
      - {name: daily, unit: day, requests_per_unit: 1}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: deny, on_store_failure: deny, rate_limit: {unit: hour, requests_per_unit: 1}}
"""


CARRIED = message("envoy.extensions.common.ratelimit.v3.RateLimitDescriptor")


def shown(plan, position):
    return show(plan.request.descriptors[position].entries)


def feed_of(made, logged=Logged(), show=shown, **options):
    return DecisionFeed(made.engine, logged, show, lambda: 0.0, **options)


async def test_a_decision_has_its_descriptors_and_what_their_limits_leave(bench):
    """Each with the limit that binds it, its amount and its state; without a limit these are null."""
    made = bench(POLICY)
    feed = feed_of(made)
    made.ask({"several": "x"}, {"free": "x"}, {"nothing": "y"})
    made.ask({"several": "x"})
    (first, second), left_out = feed.take()
    assert left_out == 0
    several, free, nothing = first.pop("descriptors")
    assert first.pop("time") > 1_600_000_000
    assert first == {"code": "OK", "domain": "d", "left_out": 0, "reason": None, "limit": None, "shadow": False}
    assert 0 < several.pop("reset_after") <= 86_400
    assert several == {
        "descriptor": "several=x",
        "limit": "d.several.limit_daily",
        "summary": "1 per day",
        "remaining": 0,
        "unlimited": False,
    }
    none = {"limit": None, "summary": None, "remaining": None, "reset_after": None}
    assert nothing == {"descriptor": "nothing=y", "unlimited": False, **none}
    assert free == {"descriptor": "free=x", "unlimited": True, **none}
    assert (second["code"], second["reason"], second["limit"]) == ("OVER_LIMIT", "over_limit", "d.several.limit_daily")
    json.dumps([first, second])
    assert feed.take() == ([], 0)


async def test_a_failure_shows_no_number(bench, failing_store):
    """The limit is named, and its counter was not read."""
    made = bench(POLICY, store=failing_store, guards=[Fallback(MemoryStore(), 1, lambda *_: None)])
    feed = feed_of(made)
    made.ask({"deny": "x"})
    made.ask({"user": "x"})
    (denied, failed), _ = feed.take()
    assert (denied["code"], denied["reason"], denied["limit"]) == ("OVER_LIMIT", "store_failure", "d.deny")
    assert (failed["code"], failed["reason"]) == ("failed", "store_failure")
    for each in (denied, failed):
        (descriptor,) = each["descriptors"]
        assert (descriptor["remaining"], descriptor["reset_after"]) == (None, None)
        assert descriptor["limit"] in {"d.deny", "d.user"}


async def test_what_shadow_mode_lets_pass_is_marked(bench):
    """The code is the caller's."""
    modes = Modes(shadow=True)
    made = bench(POLICY, modes=modes, plan_options=PlanOptions(modes=modes))
    feed = feed_of(made)
    for _ in range(2):
        made.ask({"user": "x"})
    taken, _ = feed.take()
    assert [(each["code"], each["shadow"]) for each in taken] == [("OK", False), ("OK", True)]


@pytest.mark.parametrize(
    ("options", "users"),
    [
        ({}, ["user=x", "user=x", "user=y"]),
        ({"denied": True}, ["user=x"]),
        ({"logged": Logged(Selection(key=b"user", value=b"y"))}, ["user=y"]),
        ({"logged": Logged(Selection(domain=b"e"))}, []),
        ({"logged": Logged(Selection(limit="users"))}, ["user=x", "user=x", "user=y"]),
    ],
)
async def test_a_reader_gets_what_it_selects(bench, options, users):
    """By domain, limit or entry, or only those that are not OK."""
    made = bench(POLICY)
    feed = feed_of(made, **options)
    for user in "xxy":
        made.ask({"user": user})
    assert [each["descriptors"][0]["descriptor"] for each in feed.take()[0]] == users


async def test_decisions_are_bounded_per_second_and_in_all_and_the_rest_is_counted(bench, monkeypatch):
    """By the reader's own bound, and by what waits for a reader that takes nothing."""
    made = bench(POLICY)
    feed = feed_of(made, Logged(lines=2))
    monkeypatch.setattr(module, "KEPT_BYTES", 3 * 2 * module.SIZE)
    waiting = feed_of(made)
    for _ in range(5):
        made.ask({"user": "x"})
    assert [(len(taken), left_out) for taken, left_out in (feed.take(), waiting.take())] == [(2, 3), (3, 2)]
    assert feed.take()[1] == waiting.take()[1] == 0


async def test_a_decision_is_bounded(bench):
    """Eight descriptors and three hundred characters of each: nothing that a request sends costs more."""
    made = bench(POLICY)
    feed = feed_of(made)
    made.ask(*[{"nothing": "y" * 1_000}] * 20)
    ((decision,), _) = feed.take()
    assert [len(each["descriptor"]) for each in decision["descriptors"]] == [301] * 8
    assert decision["left_out"] == 12


async def test_a_fault_costs_no_call_and_is_told_once(bench, caplog):
    """The caller is answered, and the decision log and other readers hear the decision."""
    made = bench(POLICY)
    other = feed_of(made)
    broken = feed_of(made, show=lambda *_: 1 // 0)
    later = feed_of(made)
    assert made.ask({"user": "x"})
    assert made.ask({"user": "x"})
    assert [len(each.take()[0]) for each in (other, broken, later)] == [2, 0, 2]


async def test_it_listens_beside_the_decision_log_and_only_while_it_is_read(bench):
    """Each ends by itself; without either, the engine has no listener."""
    made = bench(POLICY)
    log = DecisionLog(made.engine, None)
    feed = feed_of(made)
    log.begin(Logged(Selection(domain=b"none")), 60)
    feed.close()
    assert log.temporary is not None
    assert made.engine.listener is not None
    log.end()
    assert made.engine.listener is None
    made.ask({"user": "x"})
    assert feed.take() == ([], 0)


async def test_texts_of_a_caller_are_cut(bench):
    """Names of the caller's own, of 64 KiB each, would make a decision of a megabyte."""
    made = bench(POLICY)
    feed = feed_of(made)
    carried = CARRIED(limit={"requests_per_unit": 0, "unit": "DAY"})
    carried.entries.add(key="k" * 65_536, value="x")
    made.ask(carried)
    made.ask({"user": "x"}, domain="d" * 65_536)
    (known, unknown), _ = feed.take()
    assert known["code"] == "OVER_LIMIT"
    assert known["limit"].startswith("d.kkk")
    assert len(unknown["domain"]) < 400
    assert len(json.dumps([known, unknown])) < 8_000
