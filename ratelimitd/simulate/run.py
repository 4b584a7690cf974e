"""Events through planner, memory store and answer, and what became of them over time."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from ratelimitd.limiter import (
    Answer,
    AnswerOptions,
    Ask,
    Planner,
    PlanOptions,
    Request,
    Store,
    Tallies,
    answer,
    decide,
    key_maker,
)
from ratelimitd.policy import Policy
from ratelimitd.simulate.load import Event
from ratelimitd.stores.memory import MemoryStore

PLANS: Final = 10_000
"""Plans remembered; equal requests share one, as in the service."""

STORE_BYTES: Final = 256 << 20
"""MEMORY_MAX_BYTES of a service that nobody tuned, so that it forgets what that one would."""


class SimulationError(ValueError):
    """Nothing can be simulated; the text says why."""


class Run(NamedTuple):
    """What one algorithm did.

    Attributes:
        name: of the algorithm, or what stands for "as the policy says".
        times: µs of each request, ascending.
        limited: for each request whether it was limited.
        unmatched: requests to which no limit applied.
    """

    name: str
    times: Sequence[int]
    limited: Sequence[bool]
    unmatched: int

    @property
    def total(self) -> int:
        """How many requests there were."""
        return len(self.times)

    @property
    def over(self) -> int:
        """How many of them were limited."""
        return sum(self.limited)


def run(name: str, policy: Policy, domain: bytes, events: Iterable[Event]) -> Run:
    """Decide every event at its own time. Raises SimulationError for a domain the policy does not have."""
    if domain not in policy.domains:
        known = ", ".join(sorted(each.decode(errors="replace") for each in policy.domains)) or "none"
        raise SimulationError(f"no domain '{domain.decode(errors='replace')}' in the policy, which has: {known}")
    planner = Planner(policy, key_maker(b"", safe=True), Tallies(), PlanOptions())
    store = MemoryStore(STORE_BYTES)
    plan = lru_cache(PLANS)(planner.plan)
    times: list[int] = []
    limited: list[bool] = []
    unmatched = 0
    for event in events:
        made = plan(Request(domain, event.descriptors))
        decided = _decide(store, Ask(made, list(made.costs), atomic=made.atomic), event.time)
        times.append(event.time)
        limited.append(decided.over)
        unmatched += all(item.match is None for item in made.items)
    return Run(name, times, limited, unmatched)


def _decide(store: Store, ask: Ask, now: int) -> Answer:
    """Take one ask through the engine; a memory store is done before it returns."""
    done: list[Ask] = []

    def failed(_: Sequence[Ask], error: Exception) -> None:
        raise error

    decide((), store, (ask,), now, done.extend, failed)
    decided = answer(done[0].plan, done[0].outcomes, AnswerOptions())
    if decided.failure is not None:
        raise SimulationError(f"the counters failed: {decided.failure.message}")
    return decided
