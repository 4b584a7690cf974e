"""Which hits are seen: all of them while there are few, else one of ``gap`` on average, by chance.

A hit is seen with the probability 1/gap, independent of all others, and counts ``gap``: so what is counted is right on
average, whatever the order of keys and whenever the gap changes. The distance to the next hit that is seen has a
geometric distribution, which has no memory, so a threshold may be drawn again at any time.
"""

from math import log, log1p
from typing import Final

GAP_MOST: Final = 1 << 20
"""Hits that one sample stands for at most: 100 million hits a second are 100 samples."""

OF_ONE: Final = 64
"""Samples of one limit in a second after which its gap doubles: with the gap of its rate it has 64 to 192 a second."""

OF_ALL: Final = 512
"""Samples of all limits in a second after which the gap of all doubles: some 1,000 a second of 5 µs are 0.5 % of a
core."""


class Chance:
    """Random numbers of a generator of its own (Marsaglia's xorshift32), since the core has no source of randomness."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & 0xFFFFFFFF or 1

    def distance(self, gap: int) -> int:
        """Return how many hits further the next one is that is seen; ``gap`` on average, 1 for a gap of 1."""
        if gap == 1:
            return 1
        state = self._state
        state ^= (state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFFFFFF
        self._state = state
        return 1 + int(log(state / 4294967296.0) / log1p(-1.0 / gap))


class Pace:
    """The gap of one limit, or of all together: it doubles after each ``per`` samples of a second.

    The next second begins with half of it.
    """

    __slots__ = ("_per", "_samples", "_second", "gap")

    def __init__(self, per: int) -> None:
        self.gap = 1
        self._per = per
        self._samples = 0
        self._second = 0

    def sampled(self, second: int) -> None:
        """Count a sample."""
        self.ease(second)
        self._samples += 1
        if self._samples == self._per:
            self._samples = 0
            self.gap = min(GAP_MOST, self.gap * 2)

    def ease(self, second: int) -> None:
        """Halve the gap for each second that has passed; for one, if the clock stepped back."""
        if second != self._second:
            passed = min(20, second - self._second) if second > self._second else 1
            self.gap = max(1, self.gap >> passed)
            self._second, self._samples = second, 0


def weight(total: int, due: int, gap: int) -> int:
    """Return the hits that a charge stands for, with which a counter reached ``due``; ``total`` is the counter now.

    The first hit that is seen counts ``gap``, and each one after it what it would on average: 1.
    """
    return gap + total - due
