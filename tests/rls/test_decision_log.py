"""The decision log: its lines, its bounds, and when it is on."""

import asyncio
import json
from io import StringIO

import pytest

from ratelimitd.limiter import Fallback, Modes, PlanOptions, Selection
from ratelimitd.observe.logs import configure
from ratelimitd.rls import DecisionLog, Logged
from ratelimitd.rls.decision_log import Sampler
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
  - {key: exempt}
  - {key: special, rate_limit: {unit: hour, requests_per_unit: 5, replaces: [{name: users}]}}
  - {key: deny, on_store_failure: deny, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: long, rate_limit: {unit: day, unit_multiplier: 10, requests_per_unit: 5}}
"""


@pytest.fixture
def logged(restored):
    """Begins a log of errors alone; returns a function from nothing to the decisions in it, as fields."""
    stream = StringIO()
    configure("error", "json", stream)

    def lines():
        written = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [line for line in written if line["@message"] in {"OK", "OVER_LIMIT", "failed"}]

    return lines


def all_of(made):
    return DecisionLog(made.engine, Logged())


async def test_a_line_has_the_descriptors_their_limits_and_the_reason(bench, logged):
    """Each limit by its path through the tree, of several the one that decided; also if LOG_LEVEL hides warnings."""
    made = bench(POLICY)
    all_of(made)
    for _ in range(2):
        made.ask({"several": "x"}, {"free": "x"}, {"nothing": "y"})
    first, second = logged()
    assert (first["@message"], first["domain"]) == ("OK", "d")
    assert first["descriptors"].startswith("several=x: d.several.limit_daily: 0 of 1/day left, reset ")
    assert first["descriptors"].endswith("; free=x: unlimited; nothing=y: no limit, nothing=y matches nothing below d")
    assert "reason" not in first
    assert (second["@message"], second["reason"], second["limit"]) == (
        "OVER_LIMIT",
        "over_limit",
        "d.several.limit_daily",
    )


async def test_a_line_that_cannot_be_made_costs_no_call(bench, restored, monkeypatch):
    """The call is answered, the fault is told once with its traceback, and later lines are written."""
    stream = StringIO()
    configure("error", "json", stream)
    made = bench(POLICY)
    all_of(made)
    with monkeypatch.context() as broken:
        broken.setattr("ratelimitd.rls.decision_log.decision_line", lambda *_: 1 // 0)
        answers = [made.ask({"user": "x"}) for _ in range(3)]
    made.ask({"user": "y"})
    fault, line = (json.loads(text) for text in stream.getvalue().splitlines())
    assert (fault["@message"], fault["level"]) == ("a decision cannot be logged, and others may be missing", "error")
    assert "ZeroDivisionError" in fault["exception"]
    assert line["@message"] == "OK"
    assert all(answers)


async def test_a_failure_is_logged_with_its_kind_and_policy(bench, logged, failing_store):
    """A denial without a counter is told from a limit that is over; a failed request has no status of its limit."""
    made = bench(POLICY, store=failing_store, guards=[Fallback(MemoryStore(), 1, lambda *_: None)])
    all_of(made)
    made.ask({"deny": "x"})
    made.ask({"user": "x"})
    denied, failed = logged()
    assert (denied["@message"], denied["reason"], denied["failure"], denied["on_store_failure"]) == (
        "OVER_LIMIT",
        "store_failure",
        "timeout",
        "deny",
    )
    assert denied["descriptors"] == "deny=x: d.deny: denied without its counter"
    assert (failed["@message"], failed["on_store_failure"], failed["descriptors"]) == (
        "failed",
        "error",
        "user=x: d.user: undecided",
    )


async def test_a_descriptor_without_a_limit_says_where_its_search_ended(bench, logged):
    """The entry that matches nothing, the descriptor that has no limit, or the domain that is unknown."""
    made = bench(POLICY)
    all_of(made)
    made.ask({"free": "x", "more": "y"}, {"exempt": "x"})
    made.ask({"user": "x"}, domain="other")
    assert [line["descriptors"] for line in logged()] == [
        "free=x,more=y: no limit, more=y matches nothing below d.free; exempt=x: no limit at d.exempt",
        "user=x: no limit, the policy does not define the domain",
    ]


async def test_a_window_of_several_units_is_told_as_it_is(bench, logged):
    """Whatever Envoy may be told of it."""
    made = bench(POLICY)
    all_of(made)
    made.ask({"long": "x"})
    (line,) = logged()
    assert line["descriptors"].startswith("long=x: d.long: 4 of 5/10 days left, reset ")


async def test_a_replaced_limit_is_not_a_missing_one(bench, logged):
    """A descriptor whose limit another one of the request replaces says so."""
    made = bench(POLICY)
    all_of(made)
    made.ask({"user": "x"}, {"special": "x"})
    (line,) = logged()
    assert line["descriptors"].startswith("user=x: d.user: replaced by a limit of this request; special=x: d.special: ")


async def test_what_shadow_mode_lets_pass_is_marked(bench, logged):
    """The code is the caller's, and the reason says what it would have been."""
    modes = Modes(shadow=True)
    made = bench(POLICY, modes=modes, plan_options=PlanOptions(modes=modes))
    all_of(made)
    for _ in range(2):
        made.ask({"user": "x"})
    assert [(line["@message"], line.get("reason"), line.get("shadow_mode")) for line in logged()] == [
        ("OK", None, None),
        ("OK", "over_limit", True),
    ]


async def test_while_it_is_off_nothing_listens(bench):
    """The engine has no listener before it is switched on, nor after it ended."""
    made = bench(POLICY)
    log = DecisionLog(made.engine, None)
    assert made.engine.listener is None
    log.begin(Logged(), 60)
    assert made.engine.listener is not None
    log.end()
    assert (made.engine.listener, log.temporary) == (None, None)


async def test_it_logs_the_selected_decisions_until_its_time_is_over(bench, logged):
    """A later selection replaces an earlier one, and the end comes by itself."""
    made = bench(POLICY)
    log = DecisionLog(made.engine, None)
    log.begin(Logged(Selection(key=b"free")), 0.001)
    log.begin(Logged(Selection(key=b"user", value=b"x")), 0.05)
    for value in "xyx":
        made.ask({"user": value}, {"free": value})
    assert [line["descriptors"][:6] for line in logged()] == ["user=x", "user=x"]
    assert 0 < log.left() <= 0.05
    async with asyncio.timeout(10):
        while log.temporary is not None:
            await asyncio.sleep(0.01)
    assert made.engine.listener is None


async def test_a_temporary_log_adds_to_that_of_the_settings_and_no_line_is_twice(bench, logged):
    """With LOG_DECISIONS every decision is logged once, before, during and after a selection."""
    made = bench(POLICY)
    log = all_of(made)
    made.ask({"free": "1"})
    log.begin(Logged(Selection(key=b"free")), 60)
    for key in ("free", "user"):
        made.ask({key: "2"})
    log.end()
    made.ask({"free": "3"})
    assert [line["descriptors"][:6] for line in logged()] == ["free=1", "free=2", "user=2", "free=3"]


async def test_lines_are_bounded_per_second_and_the_rest_is_counted(bench):
    """Beyond the bound a decision is skipped; the next line says how many were."""
    made, now = bench(POLICY), [0.0]
    ask = asked(made)
    sampler = Sampler(Logged(lines=2), lambda: now[0])
    assert [sampler.takes(ask) for _ in range(5)] == [True, True, False, False, False]
    assert sampler.untold() == {"skipped": 3}
    now[0] = 1.0
    assert (sampler.takes(ask), sampler.untold()) == (True, {})
    assert (sampler.written, sampler.skipped) == (3, 3)


async def test_a_sample_is_one_in_so_many(bench):
    """Of 4,000 decisions one in four, give or take; far from none and from all."""
    sampler, ask = Sampler(Logged(sample=4), lambda: 0.0), asked(bench(POLICY))
    assert 700 < sum(sampler.takes(ask) for _ in range(4_000)) < 1_300


def asked(made):
    """An ask that was decided."""
    found = []
    made.engine.listener = lambda ask, _: found.append(ask)
    made.ask({"free": "x"})
    return found[0]
