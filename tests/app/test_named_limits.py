"""Gauges of limits with a name: quota, window, and how much of one counter is used."""

import asyncio

import pytest

from ratelimitd.admin import direct
from ratelimitd.app import named_limits
from ratelimitd.app.engine import build
from ratelimitd.app.named_limits import LABELS, NamedLimits
from ratelimitd.app.policies import Policies, source_of
from ratelimitd.limiter import Ask, LimitRequest
from ratelimitd.observe.metrics import family_text
from ratelimitd.policy import Descriptor, DescriptorNode, Domain, Policy
from ratelimitd.policy_file import parse
from ratelimitd.settings import load
from ratelimitd.sources import dismantle
from testkit.redis_server import redis_server
from tests.turning import turning

POLICY = """
domain: shop
descriptors:
  - key: user
    rate_limit: {name: each-user, unit: minute, requests_per_unit: 7}
    descriptors:
      - {key: path, value: /buy, rate_limit: {name: purchases, unit: hour, requests_per_unit: 3}}
  - key: plan
    value: free
    rate_limits:
      - {name: rush, unit: second, unit_multiplier: 10, requests_per_unit: 4, algorithm: token_bucket, burst: 8}
      - {unit: day, requests_per_unit: 1000}
  - {key: all, value: x, rate_limit: {name: total, unit: day, requests_per_unit: 10}}
  - {key: file, value: "a/*", share_threshold: true, rate_limit: {name: files, unit: week, requests_per_unit: 2}}
  - {key: any, value: "a/*", rate_limit: {name: one-by-one, unit: week, requests_per_unit: 2}}
  - {key: open, value: x, rate_limit: {name: none, unlimited: true}}
  - {key: shut, value: x, rate_limit: {name: zero, unit: day, requests_per_unit: 0}}
"""


class Rig:
    """A service without ports whose policy is this text."""

    def __init__(self, text=POLICY, env=None):
        self.settings = load(env or {}, {})
        self.parts = build(self.settings)
        self.policies = Policies(source_of(self.settings, ("nowhere",)), self.settings, self.parts)
        self.gauges = NamedLimits(self.parts, self.policies)
        self.load(text)

    def load(self, text):
        policy = parse([("p.yaml", text.encode())])
        self.parts.engine.planner = self.policies.planner(policy, self.parts.tallies)

    def shown(self, gauge):
        """The values of a gauge by the names of its limits."""
        family = next(each for each in self.gauges.families() if each.name == f"ratelimitd_limit_{gauge}")
        return {labels[-1]: value for labels, value in family.read()}


def spend(rig, cost, *entries):
    """Charge a counter as a request does."""
    plan = rig.parts.engine.planner.plan(LimitRequest(b"shop", (Descriptor(entries, hits=cost),)))
    ask = Ask(plan, plan.costs)
    rig.parts.memory.charge((ask,), named_limits.time.time_ns() // 1000, lambda _: None)


async def test_a_series_is_there_once():
    """Values that are the same in metrics make one; a scrape with two of it is an error of some readers."""
    limits = [
        f"{{key: k, value: '{value}', rate_limit: {{name: n, unit: day, requests_per_unit: {quota}}}}}"
        for value, quota in (("a:b", 1), ("a_b", 2))
    ]
    rig = Rig(f"{{domain: shop, descriptors: [{', '.join(limits)}]}}")
    await rig.gauges.collect()
    assert [value for _, value in rig.gauges.families()[0].read()] == [1]


async def test_quota_and_window_are_those_of_the_policy():
    """Of each limit with a name and a rate, with the labels of its other metrics."""
    rig = Rig()
    await rig.gauges.collect()
    assert rig.shown("quota") == {
        "each-user": 7, "purchases": 3, "rush": 4, "total": 10, "files": 2, "one-by-one": 2,
    }  # fmt: skip
    assert rig.shown("window_seconds") == {
        "each-user": 60, "purchases": 3600, "rush": 10, "total": 86400, "files": 604800, "one-by-one": 604800,
        "zero": 86400,
    }  # fmt: skip
    (family, *_) = rig.gauges.families()
    labels = {name: value for name, value in zip(LABELS, family.read()[1][0]) if value}
    assert labels == {"domain": "shop", "key1": "user", "key2": "path_/buy", "name": "purchases"}
    assert 'key2="path_/buy"' in family_text(family)


async def test_the_use_of_a_limit_with_one_counter_is_its_share():
    """Of its burst; limits with a counter for each value have none, nor has one that allows nothing."""
    rig = Rig()
    await rig.gauges.collect()
    spend(rig, 4, (b"all", b"x"))
    spend(rig, 2, (b"plan", b"free"))
    spend(rig, 1, (b"file", b"a/b"))
    await rig.gauges.read()
    shown = rig.shown("use_ratio")
    assert shown == {"rush": pytest.approx(0.25, abs=0.13), "total": 0.4, "files": 0.5}


async def test_reading_charges_nothing():
    """Neither a counter nor a metric of a limit changes, and no switch of a limit is turned."""
    rig = Rig(
        POLICY + "  - {key: z, value: x, rate_limit: {name: z, unit: day, requests_per_unit: 5, algorithm: gcra}}\n"
    )
    await rig.gauges.collect()
    for _ in range(5):
        await rig.gauges.read()
    assert rig.shown("use_ratio")["total"] == 0
    assert (len(rig.parts.tallies), len(rig.parts.post_paid.switched_on()), len(rig.parts.memory)) == (0, 0, 0)


async def test_another_policy_has_other_gauges():
    """What a reload removed is gone."""
    rig = Rig()
    await rig.gauges.collect()
    await rig.gauges.read()
    rig.load("domain: d\ndescriptors: [{key: a, value: b, rate_limit: {name: n, unit: second, requests_per_unit: 1}}]")
    await rig.gauges.collect()
    assert (rig.shown("quota"), rig.shown("use_ratio")) == ({"n": 1}, {})


async def test_gauges_are_few(monkeypatch):
    """At most NAMED_MOST limits have them, and READ_MOST counters are read; deeper limits than KEYS are left out."""
    monkeypatch.setattr(named_limits, "NAMED_MOST", 4)
    monkeypatch.setattr(named_limits, "READ_MOST", 1)
    rig = Rig()
    await rig.gauges.collect()
    await rig.gauges.read()
    assert len(rig.shown("window_seconds")) == 4
    assert len(rig.shown("use_ratio")) == 1
    deep = "domain: d\ndescriptors: [" + "{key: k, descriptors: [" * 8
    deep += "{key: k, rate_limit: {name: n, unit: day, requests_per_unit: 1}}" + "]}" * 8 + "]"
    rig.load(deep)
    await rig.gauges.collect()
    assert rig.shown("quota") == {}


async def test_a_large_policy_is_looked_at_in_parts():
    """The loop turns every NODES nodes."""
    lines = "".join(f"  - {{key: k, value: v{n}}}\n" for n in range(5 * named_limits.NODES))
    rig = Rig("domain: d\ndescriptors:\n" + lines)
    with turning() as turns:
        await rig.gauges.collect()
    assert turns.count >= 5


async def test_domains_without_descriptors_are_looked_at_in_parts():
    """A control plane may send thousands of them."""
    rig = Rig()
    names = [b"%d" % n for n in range(5 * named_limits.NODES)]
    domains = {name: Domain(name, DescriptorNode(), "fixed_window", all_or_nothing=False) for name in names}
    rig.parts.engine.planner = rig.policies.planner(Policy(domains, []), rig.parts.tallies)
    with turning() as turns:
        await rig.gauges.collect()
    assert turns.count >= 5


async def test_a_policy_that_is_replaced_while_it_is_looked_at_is_left(monkeypatch):
    """A reload frees it in parts; the next look finds the limits of the other one."""
    monkeypatch.setattr(named_limits, "NODES", 1)
    lines = "".join(f"  - {{key: k, value: v{n}}}\n" for n in range(1_000))
    rig = Rig("domain: d\ndescriptors:\n" + lines)
    old = rig.policies.policy
    looking = asyncio.create_task(rig.gauges.collect())
    await asyncio.sleep(0)
    rig.load(POLICY)
    await dismantle(old)
    await looking
    await rig.gauges.collect()
    assert rig.shown("quota")


@pytest.mark.redis
async def test_counters_in_redis_are_read_while_it_is_there(monkeypatch):
    """Without a connection there are no ratios, and nothing is asked."""
    monkeypatch.setattr(direct, "BUDGET", 60_000_000)
    with redis_server() as server:
        rig = Rig(env={"REDIS_URL": server.address, "STORE_BUDGET": "5s"})
        await rig.gauges.collect()
        await rig.gauges.read()
        assert rig.shown("use_ratio") == {}
        await rig.parts.redis.connect()
        await rig.gauges.read()
        assert rig.shown("use_ratio")["total"] == 0
        await rig.parts.redis.close()
        await rig.gauges.read()
        assert (rig.shown("use_ratio"), sum(rig.parts.redis.failures.values())) == ({}, 0)
