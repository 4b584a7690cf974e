"""Callers that ask, stream and settle, decided by the engine on simulated time."""

from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Final, NamedTuple

from ratelimitd.algorithms import ALGORITHMS, SECOND
from ratelimitd.descriptor_text import Entries
from ratelimitd.limiter import Answer, Ask, LimitRequest
from ratelimitd.policy import Descriptor, Limit, Policy
from ratelimitd.simulate.load import EVENTS_MAX
from ratelimitd.simulate.run import SimulationError, engine_of, failed

from .ledger import Ledger, Window
from .load import LOST, Load, Stream, stream

RETRY_LEAST: Final = SECOND
"""Shortest wait after a denial, µs: Retry-After has whole seconds."""


class Spent(NamedTuple):
    """Usage of one limit, by the answers that its callers received."""

    limit: Limit
    windows: Sequence[Window]

    @property
    def over_runs(self) -> list[float]:
        """How far usage was above the limit at its highest in each window, as a part of the limit."""
        admitted = self.limit.rate.burst if self.limit.rate else 0
        return [max(0.0, window.most / admitted - 1) if admitted else 0.0 for window in self.windows]

    @property
    def used(self) -> float:
        """Part of the budget that was used, without the over-run of windows."""
        rate = self.limit.rate
        if rate is None or not rate.quota:
            return 0.0
        if ALGORITHMS[rate.algorithm].family == "meter":  # it begins full, and what is past its burst is paid back
            return sum(window.used for window in self.windows) / (rate.quota * len(self.windows) + rate.burst)
        return sum(min(window.used, rate.quota) for window in self.windows) / (rate.quota * len(self.windows))


class AnswersRun(NamedTuple):
    """Results of one design.

    Attributes:
        name: of the design.
        passed, denied: questions.
        spent: usage of each limit that applied.
    """

    name: str
    passed: int
    denied: int
    spent: Sequence[Spent]


class Verdict(NamedTuple):
    """Decision about a question.

    Attributes:
        passes: whether it passed.
        wait: µs until it may be asked again.
    """

    passes: bool
    wait: int


class Budget:
    """The limits of the callers, as Envoy uses them: a call to ask, and one to settle."""

    def __init__(self, policy: Policy, domain: bytes, descriptors: Sequence[Entries]) -> None:
        self._engine = engine_of(policy, domain)
        self._domain = domain
        self._descriptors = descriptors
        limits = dict.fromkeys(charge.limit for charge in self._ask(0, ours=True).plan.charges)
        if not limits:
            raise SimulationError("no limit applies to the descriptors: callers are never denied")
        self.ledgers = [Ledger(limit) for limit in limits]

    def ask(self, now: int) -> Verdict:
        """Ask whether an answer may begin."""
        answer = self._decided(self._ask(0), now)
        wait = max((status.reset for status in answer.statuses if status.over), default=0)
        return Verdict(not answer.over, wait * SECOND)

    def settle(self, cost: int, now: int) -> None:
        """Report the cost of an answer."""
        self._decided(self._ask(cost), now)

    def _ask(self, hits: int, *, ours: bool = False) -> Ask:
        descriptors = tuple(Descriptor(each, hits=hits) for each in self._descriptors)
        return self._engine.ask(descriptors, lambda made: LimitRequest(self._domain, made, ours=ours))

    def _decided(self, ask: Ask, now: int) -> Answer:
        answers: list[Answer] = []
        self._engine.decide((ask,), now, lambda _, answer: answers.append(answer), failed)
        (answer,) = answers
        if answer.failure is not None:
            raise SimulationError(f"the counter store failed: {answer.failure.message}")
        return answer


def run(name: str, budget: Budget, load: Load) -> AnswersRun:
    """Simulate a load on a budget. Raises SimulationError if it is too much."""
    simulation = _Simulation(budget, load)
    simulation.run()
    spent = [Spent(ledger.limit, ledger.windows(load.seconds)) for ledger in budget.ledgers]
    return AnswersRun(name, simulation.passed, simulation.denied, spent)


class _Simulation:
    def __init__(self, budget: Budget, load: Load) -> None:
        self._budget = budget
        self._load = load
        self._due: list[tuple[int, int, Callable[[int], None]]] = []
        self._planned = 0
        self.passed = self.denied = 0

    def run(self) -> None:
        for number in range(self._load.callers):
            random = self._load.random(number)
            self._at(round(random.random() * SECOND), partial(self._ask, random))
        end = self._load.seconds * SECOND
        while self._due:
            now, _, step = heappop(self._due)
            if now >= end:
                return
            step(now)

    def _at(self, time: int, step: Callable[[int], None]) -> None:
        """Plan a step. Steps of one time are made in the order in which they were planned."""
        self._planned += 1
        if self._planned > EVENTS_MAX:
            raise SimulationError(
                f"more than {EVENTS_MAX} questions and answers: simulate fewer callers or a shorter time"
            )
        heappush(self._due, (time, self._planned, step))

    def _ask(self, random: Random, now: int) -> None:
        verdict = self._budget.ask(now)
        if not verdict.passes:
            self.denied += 1
            self._at(now + max(verdict.wait, RETRY_LEAST), partial(self._ask, random))
            return
        self.passed += 1
        answer = stream(self._load, random)
        if answer is LOST:
            self._think(random, now)
        else:
            self._at(now + answer.lasts, partial(self._settle, random, answer))

    def _settle(self, random: Random, answer: Stream, now: int) -> None:
        for ledger in self._budget.ledgers:
            ledger.add(answer.tokens, now)
        if answer.reported:
            self._budget.settle(answer.reported, now)
        self._think(random, now)

    def _think(self, random: Random, now: int) -> None:
        self._at(now + max(1, round(self._load.think * SECOND)), partial(self._ask, random))
