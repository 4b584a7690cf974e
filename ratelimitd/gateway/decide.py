"""From the descriptors of a request to an answer, through the same engine as Envoy's calls."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from ratelimitd.limiter import Answer, AnswerOptions, Ask, Engine, Plan, Request, answer, tally
from ratelimitd.policy import Descriptor

log = structlog.stdlib.get_logger(__name__)


class Decided(NamedTuple):
    """An answer, and the plan it answers. Without an answer the request could not be decided."""

    plan: Plan | None
    answer: Answer | None


UNDECIDED = Decided(None, None)


class Decider:
    """Asks the engine; a store that waits for an answer takes the requests of one turn of the loop together.

    Args:
        budget: µs a store may take.
        clock: the event loop's, seconds.
    """

    def __init__(self, engine: Engine, options: AnswerOptions, budget: int, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._options = options
        self._budget = budget
        self._clock = clock

    def decide(self, domain: bytes, descriptors: tuple[Descriptor, ...], finished: Callable[[Decided], None]) -> None:
        """Tell ``finished`` what came of it, now or when the store has answered; once, and never an exception."""
        planner = self._engine.planner
        if planner is None:
            finished(UNDECIDED)
            return
        plan = planner.recall(descriptors)
        if plan is None:
            plan = planner.plan(Request(domain, descriptors))
            planner.remember(descriptors, plan)
        deadline = int(self._clock() * 1_000_000) + self._budget
        ask = Ask(plan, list(plan.costs), atomic=plan.atomic, deadline=deadline, tag=finished)
        self._engine.decide((ask,), time.time_ns() // 1000, self._done, _failed)

    def _done(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            tally(ask)
            ask.tag(Decided(ask.plan, answer(ask.plan, ask.outcomes, self._options)))


def _failed(asks: Sequence[Ask], error: Exception) -> None:
    """A fault of ours stays with the requests that met it."""
    log.error("a request met a fault of ours", exc_info=error)
    for ask in asks:
        ask.tag(UNDECIDED)
