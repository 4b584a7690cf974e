"""What the log says of failed charges, and of a Redis that is away; time is the test's."""

from collections import Counter

import pytest
import structlog

from ratelimitd.app.redis import LINES, RedisWatch
from ratelimitd.app.store_failures import MINUTE, StoreFailureLog
from ratelimitd.limiter import Ask, Failure, FailureKind, LimitRequest, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.policy import Descriptor, OnStoreFailure
from ratelimitd.policy.rows import assemble
from ratelimitd.policy_file import examine

FULL = Failure(FailureKind.OUT_OF_MEMORY, "OOM command not allowed when used memory > 'maxmemory'.")
AWAY = Failure(FailureKind.DISCONNECTED, "Connection refused")
POLICY = b"""
domain: shop
descriptors:
  - {key: tenant, on_store_failure: deny, rate_limit: {unit: hour, requests_per_unit: 5}}
  - {key: user, on_store_failure: local, rate_limit: {unit: hour, requests_per_unit: 5}}
  - {key: plan, detailed_metric: true, rate_limits: [{unit: hour, requests_per_unit: 5, name: hourly}]}
"""
WALL = 7_200_000_000


class Time:
    """A clock, and calls that are due later."""

    def __init__(self):
        self.now = 100.0
        self._due = []

    def clock(self):
        return self.now

    def later(self, seconds, call):
        self._due.append((self.now + seconds, call))

    def pass_by(self, seconds):
        """Let time go by, and make the calls that are due."""
        end = self.now + seconds
        while due := sorted((each for each in self._due if each[0] <= end), key=lambda each: each[0]):
            self._due.remove(due[0])
            self.now = due[0][0]
            due[0][1]()
        self.now = end


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def lines():
    """The lines of the log, as they come."""
    with structlog.testing.capture_logs() as captured:
        yield captured


def ask_of(key):
    """An ask for the limit of this key; the caller's value is a secret."""
    (limits,) = [examine([("p.yaml", POLICY)], beside=lambda *_: None)]
    planner = Planner(assemble(limits.rows), key_maker(b"", safe=False), Tallies(), PlanOptions())
    plan = planner.plan(LimitRequest(b"shop", (Descriptor(((key, b"secret"),)),)))
    return Ask(plan, list(plan.costs))


def told(lines, event):
    """The lines with this message, without message and level."""
    return [
        {k: v for k, v in line.items() if k not in ("event", "log_level")} for line in lines if line["event"] == event
    ]


def test_one_line_a_kind_and_minute(time, lines):
    """The first failure of a kind is logged at once, all others of the minute together, with limit and Redis' text."""
    failures = StoreFailureLog(time.clock, time.later, keys=False)
    for _ in range(1_000):
        failures.failed(ask_of(b"tenant"), 0, FULL, WALL)
    failures.failed(ask_of(b"user"), 0, AWAY, WALL)
    first, other = told(lines, "store failure")
    assert first == {
        "kind": "out_of_memory",
        "charges": 1,
        "on_store_failure": {"deny": 1},
        "reason": FULL.message,
        "limit": "shop.tenant",
    }
    assert other["kind"] == "disconnected"
    time.pass_by(MINUTE)
    assert [(line["kind"], line["charges"]) for line in told(lines, "store failure")[2:]] == [("out_of_memory", 999)]


def test_the_end_of_a_kind(time, lines):
    """After a minute without failures of the kind one line says how long it took, how many failed, and what decided."""
    failures = StoreFailureLog(time.clock, time.later, keys=False)
    for key in (b"tenant", b"user", b"user"):
        failures.failed(ask_of(key), 0, AWAY, WALL)
        time.pass_by(10.0)
    time.pass_by(2 * MINUTE)
    assert told(lines, "store failure ended") == [
        {"kind": "disconnected", "seconds": 20.0, "charges": 3, "on_store_failure": {"deny": 1, "local": 2}}
    ]
    failures.failed(ask_of(b"user"), 0, AWAY, WALL)
    assert told(lines, "store failure")[-1]["charges"] == 1


@pytest.mark.scenario("logs that fill up or contain secrets")
def test_keys_are_logged_by_setting_alone(time, lines):
    """LOG_STORE_KEYS adds the name of the counter, as it is in Redis; without it no value of a request is logged."""
    for keys in (False, True):
        StoreFailureLog(time.clock, time.later, keys=keys).failed(ask_of(b"tenant"), 0, FULL, WALL)
    without, having = told(lines, "store failure")
    assert "secret" not in str(without)
    assert having["key"] == "shop_tenant_secret_7200"


def test_a_limit_has_the_name_of_its_denials(time, lines):
    """The limit of a line is named as the reason of a denial names it, not by its series, which may be 'other'."""
    failures = StoreFailureLog(time.clock, time.later, keys=False)
    failures.failed(ask_of(b"plan"), 0, FULL, WALL)
    assert told(lines, "store failure")[0]["limit"] == "shop.plan.limit_hourly"


@pytest.fixture
def decided():
    """Charges by the policy that decided them."""
    return Counter(dict.fromkeys(OnStoreFailure, 0))


def test_an_outage_is_logged_each_minute_with_its_current_reason(time, lines, decided):
    """The reason of each line is the one of that time; the end says how long, and how many charges what decided."""
    watch = RedisWatch(decided, time.clock, time.later)
    watch.edge("redis:6379", True, "")
    watch.edge("redis:6379", False, "closed by Redis")
    watch.troubles = lambda: [("redis:6379", "Connection refused")]
    decided.update([OnStoreFailure.DENY] * 3)
    time.pass_by(2.5 * MINUTE)
    assert [(line["reason"], line.get("seconds")) for line in told(lines, "redis is unavailable")] == [
        ("closed by Redis", None),
        ("Connection refused", 60.0),
        ("Connection refused", 120.0),
    ]
    watch.edge("redis:6379", True, "")
    assert told(lines, "redis is connected") == [
        {"address": "redis:6379"},
        {"address": "redis:6379", "seconds": 150.0, "on_store_failure": {"deny": 3}},
    ]
    time.pass_by(5 * MINUTE)
    assert len(told(lines, "redis is unavailable")) == 3


def test_a_server_that_refuses_every_call(time, lines, decided):
    """It is logged like an outage, by a message of its own."""
    watch = RedisWatch(decided, time.clock, time.later)
    watch.refusing("redis:6379", "NOPERM")
    watch.troubles = lambda: [("redis:6379", "NOPERM")]
    time.pass_by(MINUTE)
    watch.refusing("redis:6379", "")
    assert [line["reason"] for line in told(lines, "redis refuses every call")] == ["NOPERM", "NOPERM"]
    assert [line["seconds"] for line in told(lines, "redis accepts calls")] == [60.0]


def test_a_trial_is_logged_when_its_result_is_news(time, lines, decided):
    """One line if servers share the keys, one if that is unknown, none for a single server or a result as before."""
    watch = RedisWatch(decided, time.clock, time.later)
    for sharded in (False, True, True, None, None, False):
        watch.sharding("redis:6379", sharded, "why")
    assert [line["event"] for line in lines] == [
        "redis is several servers behind one address",
        "whether redis is several servers behind one address is unknown",
        "redis is one server",
    ]


def test_lines_about_servers_are_bounded(time, lines, decided):
    """A thousand servers that are lost and found write some lines a minute; the next one says how many are missing."""
    watch = RedisWatch(decided, time.clock, time.later)
    for number in range(1_000):
        watch.edge(f"redis:{number}", False, "Connection refused")
    assert len(lines) == LINES
    time.pass_by(MINUTE)
    watch.edge("redis:1", True, "")
    assert [line["lines"] for line in told(lines, "lines about redis were left out")] == [1_000 - LINES]
    assert lines[-1]["event"] == "redis is connected"
