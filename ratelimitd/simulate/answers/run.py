"""Callers that ask, stream and settle, decided by the engine on simulated time."""

from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import Final, NamedTuple

from ratelimitd.algorithms import ALGORITHMS, SECOND, is_meter
from ratelimitd.descriptor_text import Entries
from ratelimitd.limiter import Answer, Ask, LimitRequest
from ratelimitd.policy import Descriptor, Limit, Policy, described
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
        if is_meter(rate):  # it begins full, and what is past its burst is paid back
            return sum(window.used for window in self.windows) / (rate.quota * len(self.windows) + rate.burst)
        return sum(min(window.used, rate.quota) for window in self.windows) / (rate.quota * len(self.windows))


class AnswersRun(NamedTuple):
    """Results of one design.

    Attributes:
        name: of the design.
        passed, denied: questions.
        expired: holds that expired.
        spent: usage of each limit that applied.
    """

    name: str
    passed: int
    denied: int
    expired: int
    spent: Sequence[Spent]


def is_counted(limit: Limit) -> bool:
    """Whether a limit has a counter; one on requests in progress has none."""
    return limit.rate is not None and limit.rate.algorithm in ALGORITHMS


class Verdict(NamedTuple):
    """Decision about a question.

    Attributes:
        passes: whether it passed.
        wait: µs until it may be asked again.
        lease: of the holds that it took; empty if it took none.
    """

    passes: bool
    wait: int
    lease: bytes


NO_LIMIT: Final = "no limit applies to the descriptors: callers are never denied"
ONLY_CONCURRENT: Final = (
    "only 'concurrent' limits apply to the descriptors, and --callers compares what is used of budgets: "
    "add a limit with a unit, or write --budget"
)


class Budget:
    """The limits of the callers, as Envoy uses them: a call to ask, and one to settle.

    ``leases``: whether the call to settle returns the lease that the answer had.
    """

    def __init__(self, policy: Policy, domain: bytes, descriptors: Sequence[Entries], *, leases: bool = False) -> None:
        self._engine = engine_of(policy, domain)
        self._domain = domain
        self._descriptors = [described(each).entries for each in descriptors]
        self._leases = leases
        charges = self._call(0, tool=True).plan.charges
        rules = {charge.limit: charge.rule for charge in charges if is_counted(charge.limit)}
        if not rules:
            raise SimulationError(ONLY_CONCURRENT if charges else NO_LIMIT)
        self.ledgers = [Ledger(limit) for limit in rules]
        self._tallies = [rule.tally for rule in rules.values()]

    @property
    def expired(self) -> int:
        """Holds that have expired so far."""
        return sum(tally.later().holds_expired for tally in self._tallies)

    def ask(self, now: int) -> Verdict:
        """Ask whether an answer may begin."""
        answer = self._decided(self._call(0), now)
        wait = max((status.reset for status in answer.statuses if status.over), default=0)
        return Verdict(not answer.over, wait * SECOND, answer.lease)

    def settle(self, cost: int, lease: bytes, now: int) -> None:
        """Report the cost of an answer."""
        self._decided(self._call(cost, lease if self._leases else None), now)

    def _call(self, hits: int, lease: bytes | None = None, *, tool: bool = False) -> Ask:
        descriptors = tuple(Descriptor(each, hits=hits, lease=lease) for each in self._descriptors)
        return self._engine.ask(descriptors, lambda made: LimitRequest(self._domain, made, ours=tool))

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
    return AnswersRun(name, simulation.passed, simulation.denied, budget.expired, spent)


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
            self._at(now + answer.lasts, partial(self._settle, random, answer, verdict.lease))

    def _settle(self, random: Random, answer: Stream, lease: bytes, now: int) -> None:
        for ledger in self._budget.ledgers:
            ledger.add(answer.tokens, now)
        if answer.reported:
            self._budget.settle(answer.reported, lease, now)
        self._think(random, now)

    def _think(self, random: Random, now: int) -> None:
        self._at(now + max(1, round(self._load.think * SECOND)), partial(self._ask, random))
