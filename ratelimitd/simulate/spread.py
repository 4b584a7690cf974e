"""From rates to hits: how the hits of a step are drawn for a key, and spread over its ten seconds."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import log, log1p, sqrt
from random import Random
from typing import Final

from ratelimitd.algorithms import SECOND

from .hour import BANDS, FINE, STEP, Shares

FEW: Final = 100
"""Bursts in a band up to which each is drawn by itself; more are drawn step by step."""

HALF: Final = 0.5
"""Share from which on the hits of a key are those of all, less few, whatever their number."""

APART: Final = 4
"""Bursts of a key in a step up to which each has a time of its own; more overlap, and are spread evenly."""

QUARTERS: Final = 4
"""Batches of a burst of more than ``FINE`` hits, which takes a second."""

NORMAL: Final = 50.0
"""Variance from which a binomial distribution is drawn as a normal one, which is then within a few per cent."""

Batch = tuple[int, int, int]
"""Step, time in µs since the start of the hour, and hits at that time."""


class Spread:
    """Draws the hits of keys from the hits of all by step; equal seeds give equal hits.

    Args:
        offered: hits of all keys by step.
        seed: of the random numbers.
    """

    def __init__(self, offered: Sequence[int], seed: int) -> None:
        self._offered = offered
        self._until = list(accumulate(offered, initial=0))
        self._random = Random(seed)  # noqa: S311 -- a load, not a secret

    def batches(self, shares: Shares, burst: int, slots: int) -> Iterator[Batch]:
        """Yield the hits of a key, in the order of their time.

        Hits of a burst come within a second. Bursts of a step have random times if they are few; the hits of many are
        spread evenly over ``slots`` batches.
        """
        for step, bursts in self._by_step(shares, burst):
            hits, start = bursts * burst, step * STEP * SECOND
            if hits <= FINE or (bursts <= APART and burst > 1):
                for time, part in sorted(batch for _ in range(bursts) for batch in self._of_burst(burst)):
                    yield step, start + time, part
                continue
            for slot, part in enumerate(parts_of(hits, slots)):
                yield step, start + (2 * slot + 1) * STEP * SECOND // (2 * slots), part

    def _of_burst(self, burst: int) -> list[tuple[int, int]]:
        """Return times within the step, µs, and hits of one burst."""
        random = self._random.random
        if burst == 1:
            return [(int(random() * STEP * SECOND), 1)]
        begun = random() * (STEP - 1) * SECOND
        if burst <= FINE:
            return [(int(begun + random() * SECOND), 1) for _ in range(burst)]
        return [(int(begun + at * SECOND / QUARTERS), part) for at, part in enumerate(parts_of(burst, QUARTERS))]

    def _by_step(self, shares: Shares, burst: int) -> Iterator[tuple[int, int]]:
        """Yield the steps in which a key has bursts: each of all is one of its with the probability of its share."""
        for band, share in zip(BANDS, shares, strict=True):
            low, high = self._until[band.start], self._until[band.stop]
            if (high - low) * share > FEW * burst or share > HALF:
                drawn = ((step, self._drawn(self._offered[step], share, burst)) for step in band)
                yield from ((step, bursts) for step, bursts in drawn if bursts)
                continue
            places = (self._random.randrange(low, high) for _ in range(self._drawn(high - low, share, burst)))
            yield from sorted(Counter(bisect_right(self._until, place) - 1 for place in places).items())

    def _drawn(self, hits: int, share: float, burst: int) -> int:
        """Draw how many of the bursts of these hits are of a key with this share."""
        return binomial(self._random, int(hits / burst + self._random.random()), share)


def parts_of(hits: int, parts: int) -> list[int]:
    """Return hits in parts that differ by one at most."""
    return [hits * (part + 1) // parts - hits * part // parts for part in range(parts)]


def binomial(random: Random, number: int, share: float) -> int:
    """Draw how many of ``number`` happen, each with the probability ``share``."""
    if share >= 1:
        return number
    if share > 0.5:
        return number - binomial(random, number, 1 - share)
    if share <= 0 or number <= 0:
        return 0
    variance = number * share * (1 - share)
    if variance > NORMAL:
        return min(number, max(0, round(random.gauss(number * share, sqrt(variance)))))
    gap, place, happened = log1p(-share), 0, 0
    if gap == 0:  # a share below the precision of a float
        return 0
    while True:
        place += 1 + int(log(1 - random.random()) / gap)
        if place > number:
            return happened
        happened += 1
