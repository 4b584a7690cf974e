"""Gauges of limits that have a name: what is configured, and of those with one counter how much of it is used.

A limit has one counter if no value of a request is part of its name: each level has a value, or all values share it
(``share_threshold``). It is read as the admin API reads it, so nothing is charged, and no metric of a limit changes.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from ratelimitd.admin import PEEK, ask_store
from ratelimitd.algorithms import Decision
from ratelimitd.limiter import Ask, LimitRequest, Plan, Planner, Tallies
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.metrics import Family
from ratelimitd.policy import STAR, UNIT_SECONDS, Descriptor, DescriptorNode, Domain, Limit, Policy, stat_key_of, walk

from .engine import Parts
from .policies import Policies

log = get_logger(__name__)

NAMED_MOST: Final = 200
"""Named limits with gauges: a scrape writes all of a gauge in one step, which takes 2 ms then."""

READ_MOST: Final = 100
"""Limits whose counters are read: together less than one script call, which has 128 charges at most."""

READ_EVERY: Final = 15.0
"""Seconds between two reads: Prometheus' usual interval."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether another policy is active; a look compares two objects."""

NODES: Final = 200
"""Nodes looked at before yielding to the event loop: a fraction of a millisecond."""

KEYS: Final = 8
"""Levels that have a label, as in the other metrics of limits; deeper limits are left out. A policy is rarely deeper
than five."""

LABELS: Final = ("domain", *(f"key{depth}" for depth in range(1, KEYS + 1)), "limit", "name")
"""Those of a level that there is not are empty. Limits of several values may have the same, as in their other metrics;
the first is shown."""


class Counter(NamedTuple):
    """The request that ends at the counters of a node, and the labels of each charge; None: it has no name."""

    plan: Plan
    labels: tuple[tuple[str, ...] | None, ...]


class NamedLimits:
    """The gauges. ``run`` keeps them current."""

    def __init__(self, parts: Parts, policies: Policies) -> None:
        self._parts = parts
        self._policies = policies
        self._policy: Policy | None = None
        self._named: dict[tuple[str, ...], Limit] = {}
        self._counters: list[Counter] = []
        self._ratios: dict[tuple[str, ...], float] = {}

    async def run(self) -> None:
        """Follow the active policy and read the counters, until cancelled."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            if self._policies.policy is not self._policy:
                await self.collect()
                due = clock()
            if clock() >= due:
                due = clock() + READ_EVERY
                await self.read()
            await asyncio.sleep(LOOK_EVERY)

    async def collect(self) -> None:
        """Find the named limits of the active policy, yielding in between."""
        policy = self._policies.policy
        named: dict[tuple[str, ...], Limit] = {}
        counters: list[Counter] = []
        if policy is not None:
            planner = self._policies.planner(policy, Tallies())
            left_out = False
            for looked, (domain, path) in enumerate(walk(policy), 1):
                if looked % NODES == 0:
                    await asyncio.sleep(0)
                    if self._policies.policy is not policy:
                        return  # a reload is freeing it; the next look finds another one
                if not path:
                    continue
                limits = [limit for limit in path[-1].limits if limit.name and limit.rate is not None]
                if len(named) + len(limits) > NAMED_MOST or len(path) > KEYS:
                    left_out = left_out or bool(limits)
                    continue
                for limit in limits:
                    named.setdefault(_labels(domain, path, limit), limit)
                if limits and len(counters) < READ_MOST and _has_one_counter(domain, path):
                    counters.append(_counter(planner, domain, path))
            if left_out:
                log.info("not all named limits have gauges", most=NAMED_MOST, levels=KEYS)
        self._policy, self._named, self._counters, self._ratios = policy, named, counters, {}

    async def read(self) -> None:
        """Read the counters; one that cannot be read has no ratio until the next time."""
        counters, redis = self._counters, self._parts.redis
        if not counters or (redis is not None and not redis.connected):
            self._ratios = {}
            return
        plans = [counter.plan for counter in counters]
        asks = await ask_store(self._parts.engine.store, plans, PEEK, time.time_ns() // 1000)
        self._ratios = dict(_ratios(counters, asks))

    def families(self) -> list[Family]:
        """Return the gauges."""
        return [
            self._of_each("ratelimitd_limit_quota", "Hits that a named limit allows in its window.", _quota),
            self._of_each("ratelimitd_limit_window_seconds", "Window of a named limit in seconds.", _window),
            Family(
                "ratelimitd_limit_use_ratio", "gauge",
                "Share of a named limit with one counter that is used, read every 15 s.", LABELS,
                lambda: list(self._ratios.items()),
            ),
        ]  # fmt: skip

    def _of_each(self, name: str, text: str, read: Callable[[Limit], float]) -> Family:
        return Family(
            name,
            "gauge",
            text,
            LABELS,
            lambda: [(labels, number) for labels, limit in self._named.items() if (number := read(limit))],
        )


def _labels(domain: Domain, path: Sequence[DescriptorNode], limit: Limit) -> tuple[str, ...]:
    """Return the labels that the limit's other metrics have, as far as no value of a request is part of them."""
    return (*stat_key_of(domain, path), *[""] * (KEYS - len(path)), limit.item, limit.name)


def _has_one_counter(domain: Domain, path: Sequence[DescriptorNode]) -> bool:
    fixed = all(node.share_threshold or (node.value and STAR not in node.final_key) for node in path)
    return fixed and domain.identity is None


def _counter(planner: Planner, domain: Domain, path: Sequence[DescriptorNode]) -> Counter:
    entries = tuple([(node.key, node.value) for node in path])
    plan = planner.plan(LimitRequest(domain.name, (Descriptor(entries, hits=0),), ours=True, looks=True))
    labels = [
        _labels(domain, path, charge.limit) if charge.limit.name and charge.limit.reserve is None else None
        for charge in plan.charges
    ]
    return Counter(plan, tuple(labels))


def _ratios(counters: Sequence[Counter], asks: Sequence[Ask]) -> Iterator[tuple[tuple[str, ...], float]]:
    for counter, ask in zip(counters, asks, strict=True):
        for labels, charge, outcome in zip(counter.labels, counter.plan.charges, ask.outcomes, strict=True):
            capacity = charge.rule.capacity
            if labels is not None and capacity and isinstance(outcome, Decision):
                yield labels, outcome.before / capacity


def _quota(limit: Limit) -> float:
    return limit.requests_per_unit


def _window(limit: Limit) -> float:
    return UNIT_SECONDS.get(limit.unit, 0) * limit.unit_multiplier
