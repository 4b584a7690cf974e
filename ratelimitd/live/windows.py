"""Sums of the last minute, ten minutes and hour, in rings that are brought up to date when they are used."""

from array import array
from typing import Final, NamedTuple

STEP: Final = 10_000_000
"""Length of a step, µs; what is counted in the same step is counted together."""

MINUTE, TEN_MINUTES, HOUR = range(3)

RINGS: Final = ((0, 6, 1), (6, 10, 6), (16, 12, 30))
"""For each window: where its slots begin, their number, and the steps of a slot."""

SLOTS: Final = 28

MOST: Final = (1 << 32) - 1
"""A slot that is full stays so: 4 bytes instead of 8, in twice as many keys."""


class Sums(NamedTuple):
    """Sums of a window."""

    hits: int
    denied: int


class Windows:
    """Hits and denied hits of one key. A window includes the part of a slot that is now: 50 to 60 s of a minute."""

    __slots__ = ("_denied", "_hits", "_step")

    def __init__(self, step: int) -> None:
        self._hits = array("I", bytes(4 * SLOTS))
        self._denied: array[int] | None = None
        self._step = step

    def add(self, step: int, hits: int, denied: int) -> None:
        """Count in the step that is now; steps never decrease."""
        self._advance(step)
        self._add(self._hits, step, hits)
        if denied:
            if self._denied is None:
                self._denied = array("I", bytes(4 * SLOTS))
            self._add(self._denied, step, denied)

    def _add(self, slots: "array[int]", step: int, count: int) -> None:
        for first, number, steps in RINGS:
            at = first + step // steps % number
            slots[at] = min(MOST, slots[at] + count)

    def _advance(self, step: int) -> None:
        if step == self._step:
            return
        for first, number, steps in RINGS:
            was, now = self._step // steps, step // steps
            for slot in range(max(was, now - number) + 1, now + 1):
                self._hits[first + slot % number] = 0
                if self._denied is not None:
                    self._denied[first + slot % number] = 0
        self._step = step

    def sums(self, step: int, window: int) -> Sums:
        """Return the sums of a window that ends now."""
        self._advance(step)
        first, number, _ = RINGS[window]
        denied = 0 if self._denied is None else sum(self._denied[first : first + number])
        return Sums(sum(self._hits[first : first + number]), denied)
