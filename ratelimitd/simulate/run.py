"""Events through planner, memory store and answer, and what became of them over time."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from ratelimitd.limiter import Answer, Ask, Engine, Planner, PlanOptions, Request, Tallies, key_maker
from ratelimitd.policy import Policy
from ratelimitd.simulate.load import Event
from ratelimitd.stores.memory import MemoryStore

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


class _Counts:
    """A simulation reports none of these."""

    service_error = redis_error = global_shadow_mode = 0


def run(name: str, policy: Policy, domain: bytes, events: Iterable[Event]) -> Run:
    """Decide every event at its own time. Raises SimulationError for a domain the policy does not have."""
    if domain not in policy.domains:
        known = ", ".join(sorted(each.decode(errors="replace") for each in policy.domains)) or "none"
        raise SimulationError(f"domain '{domain.decode(errors='replace')}' is not defined by the policy ({known})")
    engine = Engine(MemoryStore(STORE_BYTES), _Counts())
    engine.planner = Planner(policy, key_maker(b"", safe=True), Tallies(), PlanOptions())
    request = partial(Request, domain)
    times: list[int] = []
    limited: list[bool] = []
    unmatched = 0

    def answered(ask: Ask, answer: Answer) -> None:
        nonlocal unmatched
        if answer.failure is not None:
            raise SimulationError(f"the counter store failed: {answer.failure.message}")
        limited.append(answer.over)
        unmatched += all(item.match is None for item in ask.plan.items)

    for event in events:
        engine.decide((engine.ask(event.descriptors, request),), event.time, answered, _failed)
        times.append(event.time)
    return Run(name, times, limited, unmatched)


def _failed(_: Any, error: Exception) -> None:
    raise error
