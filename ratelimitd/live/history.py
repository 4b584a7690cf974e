"""The last hour of a limit, or of all together, in steps of ten seconds."""

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

STEPS: Final = 360
"""Steps of an hour."""

RING_BYTES: Final = 2_976
"""A ring of ``STEPS`` numbers of 8 bytes, and the object."""


class Counts(NamedTuple):
    """Hits, by what happened to them. A hit whose store failed is also among those of what was decided instead."""

    allowed: int = 0
    denied: int = 0
    shadowed: int = 0
    failed: int = 0


NAMES: Final = Counts._fields
NONE: Final = Counts()


def added(counts: Counts, more: Sequence[int]) -> Counts:
    """Return the sums."""
    return Counts(*[one + other for one, other in zip(counts, more, strict=True)])


def since(counts: Counts, before: Counts) -> Counts:
    """Return what was added since; never less than 0."""
    return Counts(*[max(0, now - was) for now, was in zip(counts, before, strict=True)])


class History:
    """A ring for each kind of ``Counts``, made when it first has something to keep."""

    __slots__ = ("_rings",)

    def __init__(self) -> None:
        self._rings: list[array[int] | None] = [None] * len(NAMES)

    @property
    def rings(self) -> int:
        """Rings that were made."""
        return sum([ring is not None for ring in self._rings])

    def missing(self, counts: Counts) -> int:
        """Return how many rings these counts would make."""
        return sum([ring is None and count > 0 for ring, count in zip(self._rings, counts, strict=True)])

    def close(self, step: int, passed: int, counts: Counts) -> None:
        """Keep the counts of a step, and that nothing was counted in those after it, of ``passed`` together."""
        for kind, count in enumerate(counts):
            ring = self._rings[kind]
            if ring is None:
                if not count:
                    continue
                ring = self._rings[kind] = array("Q", bytes(8 * STEPS))
            ring[step % STEPS] = count
            for empty in range(step + 1, step + min(passed, STEPS + 1)):
                ring[empty % STEPS] = 0

    def of(self, kind: int, closed: int) -> list[int]:
        """Return the counts of one kind, oldest first; ``closed`` is the last complete step."""
        ring = self._rings[kind]
        if ring is None:
            return [0] * STEPS
        first = (closed + 1) % STEPS
        return [*ring[first:], *ring[:first]]

    def minutes(self, kind: int, closed: int) -> list[int]:
        """Return the counts of one kind by minutes, oldest first."""
        steps = self.of(kind, closed)
        return [sum(steps[first : first + 6]) for first in range(0, STEPS, 6)]
