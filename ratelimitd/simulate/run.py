"""Decides events with the engine and the memory store, and records the results over time."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from ratelimitd.limiter import Answer, Ask, Engine, LimitRequest, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.policy import Limit, Policy
from ratelimitd.simulate.load import Event
from ratelimitd.stores.memory import MemoryStore

STORE_BYTES: Final = 256 << 20
"""Default of MEMORY_MAX_BYTES, so that counters are evicted as in a service with default settings."""


class SimulationError(ValueError):
    """The simulation is not possible. The text gives the reason."""


class Run(NamedTuple):
    """Results of one algorithm.

    Attributes:
        name: name of the algorithm, or a label for the policy's own algorithms.
        times: time of each request in µs, ascending.
        limited: whether each request was limited.
        unmatched: number of requests to which no limit applied.
        limits: limits that applied to some request, each once.
    """

    name: str
    times: Sequence[int]
    limited: Sequence[bool]
    unmatched: int
    limits: Sequence[Limit] = ()

    @property
    def total(self) -> int:
        """Number of requests."""
        return len(self.times)

    @property
    def over(self) -> int:
        """Number of limited requests."""
        return sum(self.limited)


class _IgnoredCounts:
    """Engine counters that a simulation does not report."""

    service_error = redis_error = global_shadow_mode = 0


def run(name: str, policy: Policy, domain: bytes, events: Iterable[Event]) -> Run:
    """Decide every event at its time. Raises SimulationError for a domain that the policy does not define."""
    engine = engine_of(policy, domain)
    request = partial(LimitRequest, domain)
    times: list[int] = []
    limited: list[bool] = []
    unmatched = 0
    limits: dict[Limit, None] = {}

    def answered(ask: Ask, answer: Answer) -> None:
        nonlocal unmatched
        if answer.failure is not None:
            raise SimulationError(f"the counter store failed: {answer.failure.message}")
        limited.append(answer.over)
        matched = [item.found for item in ask.plan.items if item.found is not None]
        unmatched += not matched
        limits.update(dict.fromkeys(limit for found in matched for limit in [rule.limit for rule in found.rules]))

    for event in events:
        engine.decide((engine.ask(event.descriptors, request),), event.time, answered, failed)
        times.append(event.time)
    return Run(name, times, limited, unmatched, tuple(limits))


def engine_of(policy: Policy, domain: bytes) -> Engine:
    """Return an engine with counters in memory. Raises SimulationError for a domain that the policy does not define."""
    if domain not in policy.domains:
        known = ", ".join(sorted(each.decode(errors="replace") for each in policy.domains)) or "none"
        raise SimulationError(f"domain '{domain.decode(errors='replace')}' is not defined by the policy ({known})")
    engine = Engine(MemoryStore(STORE_BYTES), _IgnoredCounts())
    engine.planner = Planner(policy, key_maker(b"", safe=True), Tallies(), PlanOptions())
    return engine


def failed(_: Any, error: Exception) -> None:
    """Raise the error of a request that could not be decided."""
    raise error
