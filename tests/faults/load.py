"""Load on a store: many concurrent callers, a different limit per key, and the result of every call."""

import asyncio
import random
import time
from collections import Counter
from contextlib import asynccontextmanager

from ratelimitd.algorithms import Decision, make_rate
from ratelimitd.limiter.seam import Ask, Failure, FailureKind
from ratelimitd.stores.redis import Observer
from tests.algorithms.cases import YEAR, ask

PATIENCE = 30.0
"""Seconds until a test that waits fails."""

LIMIT = 1_000_000
"""Of key 0; each next key may have one more, and no test charges any so often."""

SLOTS_USED = 12

TENDER = 5.0
"""Seconds that no call with the default budget of 15 ms may take. bench faults measures 20 ms; but a machine that runs
tests may stop the process for a second, and a call that waits for ever takes all of ``PATIENCE``."""

ROOMY = 0.25
"""Seconds of budget for a call on a busy machine, where 15 ms may pass before the process runs again."""

PACE = 0.02
"""Seconds between the calls of one caller, at most. Callers that are refused at once must leave the loop to the probes,
which have to be answered within the budget, and pass through the fault proxy in this same loop: at 2 ms, fifty callers
filled it, and no breaker closed."""


class Watch(Observer):
    """The edges that a store reported."""

    def __init__(self):
        self.seen: list[tuple[str, bool, str]] = []

    def edge(self, name, up, reason):
        """See ``Observer``."""
        self.seen.append((name, up, reason))

    @property
    def ups(self):
        """The directions alone."""
        return [up for _, up, _ in self.seen]

    @property
    def told_once_each(self):
        """Whether up and down took turns, up first and last: a loaded machine may be late, and Redis with it."""
        return self.ups == [True, False] * (len(self.ups) // 2) + [True]


async def until(true, what="", seconds=PATIENCE):
    """Let the loop turn until it is true; seconds that took. Fails after ``seconds``."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < seconds, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.001)
    return time.monotonic() - started


def wanted(number=0, cost=1, budget=None):
    """A charge of this key, whose limit no other key has; with this budget (seconds) from now."""
    asked = ask((make_rate("fixed_window", LIMIT + number, YEAR), key(number), cost))
    if budget is not None:
        asked.deadline = int((asyncio.get_running_loop().time() + budget) * 1e6)
    return asked


def key(number):
    """The name of a key; in a cluster they lie in ``SLOTS_USED`` slots."""
    return b"{%d}k%d_" % (number % SLOTS_USED, number)


def of_its_own(number, outcome, cost=1):
    """Whether an answer belongs to this key: count before, cost and remaining add up to its limit."""
    return isinstance(outcome, Decision) and outcome.before + cost + outcome.remaining == LIMIT + number


def kinds(outcomes):
    """The kinds of failure among outcomes; None for a decision."""
    return {outcome.kind if isinstance(outcome, Failure) else None for outcome in outcomes}


async def answered(store, *asks):
    """Charge these and wait for all; return every outcome, in order. Each must be completed once, see ``handed``."""
    due = len(asks)
    loop = asyncio.get_running_loop()
    finished = loop.create_future()

    def done(group):
        nonlocal due
        for one in group:
            one.tag = (one.tag or 0) + 1
        due -= len(group)
        if due <= 0 and not finished.done():
            finished.set_result(None)

    store.charge(asks, time.time_ns() // 1000, done)
    async with asyncio.timeout(PATIENCE):
        await finished
    return [outcome for one in asks for outcome in one.outcomes]


async def held(store, number=0):
    """How often this key was charged: by a look that charges nothing."""
    (outcome,) = await answered(store, wanted(number, 0, PATIENCE))
    assert isinstance(outcome, Decision), outcome
    return outcome.before


async def decided(store, seconds=PATIENCE):
    """Ask repeatedly until a decision comes; return the seconds that took.

    Each ask has a longer budget than a service's: the time to recover is measured here, not the speed of the machine.
    """
    started = time.monotonic()
    while not of_its_own(0, (await answered(store, wanted(budget=ROOMY)))[0]):
        assert time.monotonic() - started < seconds, f"no decision within {seconds:g} s"
        await asyncio.sleep(0.002)
    return time.monotonic() - started


class Load:
    """Calls that are made until ``stopped``.

    Attributes:
        asks: key and ask of each call; an ask's ``tag`` is how often it was handed on.
        decisions: calls that were decided.
        failures: calls that failed, by kind.
        longest: seconds that the slowest call took.
    """

    def __init__(self, store, keys, budget):
        self.store = store
        self.asks: list[tuple[int, Ask]] = []
        self.decisions = 0
        self.failures: Counter[FailureKind] = Counter()
        self.longest = 0.0
        self.stopped = False
        self._keys = keys
        self._budget = budget

    async def caller(self, seed):
        """Ask for one key after the other until the load stops."""
        draw = random.Random(seed)
        while not self.stopped:
            number = draw.randrange(self._keys)
            asked = wanted(number, budget=self._budget)
            self.asks.append((number, asked))
            started = time.monotonic()
            (outcome,) = await answered(self.store, asked)
            self.longest = max(self.longest, time.monotonic() - started)
            if isinstance(outcome, Failure):
                self.failures[outcome.kind] += 1
            else:
                self.decisions += 1
            await asyncio.sleep(draw.uniform(0, PACE))

    async def more(self, decisions):
        """Wait until so many more calls were decided."""
        enough = self.decisions + decisions
        await until(lambda: self.decisions >= enough, f"{decisions} more decisions; {self.failures}")

    async def failed(self, calls):
        """Wait until so many more calls failed."""
        enough = self.failures.total() + calls
        await until(lambda: self.failures.total() >= enough, f"{calls} more failures")

    async def further(self, calls):
        """Wait until so many more calls were made, whatever becomes of them."""
        enough = len(self.asks) + calls
        await until(lambda: len(self.asks) >= enough, f"{calls} more calls")

    def check(self):
        """Each ask was completed once, and each answer belonged to its own key."""
        assert {asked.tag for _, asked in self.asks} == {1}
        wrong = [
            (number, asked.outcomes[0])
            for number, asked in self.asks
            if isinstance(asked.outcomes[0], Decision) and not of_its_own(number, asked.outcomes[0])
        ]
        assert not wrong, wrong[:3]

    async def counted(self):
        """See that Redis counted every decided call, and none twice; one that failed may count or not."""
        made = Counter(number for number, _ in self.asks)
        decided = Counter(number for number, asked in self.asks if isinstance(asked.outcomes[0], Decision))
        for number, most in made.items():
            assert decided[number] <= await held(self.store, number) <= most


@asynccontextmanager
async def load(store, callers=20, keys=50, budget=None):
    """Load the store while the body runs; then every caller has its last answer, and the answers are checked."""
    made = Load(store, keys, budget)
    tasks = [asyncio.create_task(made.caller(seed)) for seed in range(callers)]
    try:
        yield made
    finally:
        made.stopped = True
        await asyncio.gather(*tasks)
    made.check()
