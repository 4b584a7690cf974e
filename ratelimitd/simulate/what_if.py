"""What if a limit had other numbers: replays its last hour with both.

Kept were rates, not requests. So hits are drawn from them (``hour``, ``spread``), each as a request of its own, and
decided by the step of the algorithm that the engine's stores take. Work is bounded whatever the rates were: many hits
of a key are decided in batches, and some keys stand for many.
"""

from collections.abc import Generator, Sequence
from typing import Any, Final, NamedTuple

from ratelimitd.algorithms import KEYED_BY_WINDOW, SECOND, Rate, is_meter, make_rate, take_step, window_start
from ratelimitd.policy import Limit

from .bursts import bursts_of
from .changed import rate_of
from .hour import FINE, STEP, STEPS, Hour, callers, totals_of
from .spread import Spread
from .what_was_assumed import is_exact, note

WORK: Final = 100_000
"""Batches of a replay: with two limits and up to two steps each, 0.3 to one second of CPU."""

SLICE: Final = 100
"""Batches between two yields: 0.3 to 2 ms of CPU."""

SHORTEST, LONGEST = 0.25, 5.0
"""Seconds between two batches of a key: a quarter of the shortest window, and half a step."""

PARTS: Final = 4
"""Batches in the time that a limit remembers, so that each has a part of the hits that the limit admits at once."""

SEED: Final = 1
"""Equal questions about equal hours have equal answers."""


class Outcome(NamedTuple):
    """Hits by step under one limit, oldest first."""

    limit: Limit
    allowed: list[int]
    denied: list[int]


class WhatIf(NamedTuple):
    """A replay under the configured limit and under the changed one.

    Attributes:
        keys: number of keys that were replayed.
        exact: whether nothing that was assumed can have changed a number.
        note: what was assumed, in one sentence.
    """

    configured: Outcome
    changed: Outcome
    keys: int
    exact: bool
    note: str


def what_if(limit: Limit, changed: Limit, hour: Hour) -> Generator[None, None, WhatIf]:
    """Replay an hour under two limits: yield every millisecond or two, return the result.

    Raises WhatIfError, before the first yield, if one of them cannot be replayed.
    """
    rates = [rate_of(each) for each in (limit, changed)]
    least = max(map(slots_of, rates))
    totals, bursts = totals_of(hour.offered), bursts_of(hour.keys)
    chosen = callers(hour, least, WORK)
    spread, start = Spread(hour.offered, SEED), (hour.end - STEP * STEPS) * SECOND
    drawn = [0.0] * STEPS
    passed = [[0.0] * STEPS for _ in rates]
    done = 0
    for caller in chosen.callers:
        burst = bursts.of(caller.hits(totals))
        slots = FINE if burst > FINE else least
        counters = [Counter(rate, slots) for rate in rates]
        for step, time, hits in spread.batches(caller.shares, burst, slots):
            drawn[step] += hits * caller.stands_for
            for counter, allowed in zip(counters, passed, strict=True):
                allowed[step] += counter.admit(hits, start + time) * caller.stands_for
            done += 1
            if done % SLICE == 0:
                yield
        done += 1
        if done % SLICE == 0:
            yield
    was, would = (
        _outcome(each, hour.offered, drawn, allowed) for each, allowed in zip((limit, changed), passed, strict=True)
    )
    said = note(limit, changed, hour, sum(was.denied), chosen, bursts)
    return WhatIf(was, would, chosen.number, is_exact(hour, rates), said)


def slots_of(rate: Rate) -> int:
    """Return the number of batches of a key in a step: some in the time that the limit remembers."""
    remembered = rate.window * rate.burst // rate.quota if is_meter(rate) and rate.quota else rate.window
    gap = min(max(remembered / PARTS / SECOND, SHORTEST), LONGEST)
    return -int(-STEP // gap)


class Counter:
    """The counter of one key under one limit."""

    def __init__(self, rate: Rate, slots: int) -> None:
        self._rate = rate
        self._batched = batched(rate, slots)
        self._state: Any = None
        self._window = 0

    def admit(self, hits: int, now: int) -> int:
        """Charge this many hits at once, one after the other; return how many are allowed."""
        rate = self._rate if hits == 1 else self._batched
        if rate.algorithm in KEYED_BY_WINDOW:
            window = window_start(rate, now)
            if window != self._window:
                self._state, self._window = None, window
        if hits > 1:
            self._state, found = take_step(self._state, rate, 0, now, 0)
            hits = min(hits, found.remaining)
            if not hits:
                return 0
        self._state, found = take_step(self._state, rate, hits, now, 0)
        return hits if found.allowed else 0


def batched(rate: Rate, slots: int) -> Rate:
    """Return the rate for batches: a meter's burst has what it refills between two of them.

    So a batch admits what it would have admitted if its hits had been spread over the time before it.
    """
    refilled = STEP * SECOND * rate.quota // (slots * rate.window)
    if not is_meter(rate) or not refilled:
        return rate
    return make_rate(rate.algorithm, rate.quota, rate.window, rate.burst + refilled)


def _outcome(limit: Limit, offered: Sequence[int], drawn: Sequence[float], passed: Sequence[float]) -> Outcome:
    """Return the hits by step, of which the part is allowed that was of those drawn; in the hour, where none were."""
    usual = sum(passed) / (sum(drawn) or 1.0)
    parts = (some / all_ if all_ else usual for some, all_ in zip(passed, drawn, strict=True))
    allowed = [round(hits * part) for hits, part in zip(offered, parts, strict=True)]
    return Outcome(limit, allowed, [hits - some for hits, some in zip(offered, allowed, strict=True)])
