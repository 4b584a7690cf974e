"""Recent denials: one for each key, limit and second."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from .shown import Parts

DENIALS_MOST: Final = 500
"""Denials that are kept: a page of them is 50 to 100."""

DENIAL_BYTES: Final = 1_600
"""A denial: its object and numbers, the name of its key up to 300 bytes, and parts of some 800 bytes."""

Place = tuple[bytes, bytes, str]
"""Domain, path and item of a limit."""


class Denial:
    """A key that a limit denied in one second.

    Attributes:
        serial: its number, from 1.
        time: wall-clock µs of the last denial.
        count: how many there were, as far as they were seen.
        cost: hits of the last one.
        used: hits against the limit before it.
        reset_after: µs until the same cost could pass.
    """

    __slots__ = ("cost", "count", "parts", "place", "reason", "reset_after", "serial", "shadow", "time", "used")

    def __init__(self, serial: int, place: Place, parts: Parts, reason: str, shadow: bool) -> None:
        self.serial = serial
        self.place = place
        self.parts = parts
        self.reason = reason
        self.shadow = shadow
        self.time = self.cost = self.count = self.used = self.reset_after = 0


class Denials:
    """A ring of denials.

    Attributes:
        most: how many there may be.
        serial: number of the newest.
    """

    __slots__ = ("_kept", "_of_second", "_second", "most", "serial")

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: deque[Denial] = deque(maxlen=most)
        self._of_second: dict[tuple[Place, bytes], Denial] = {}
        self._second = 0
        self.serial = 0

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, place: Place, name: bytes, second: int) -> Denial | None:
        """Return the denial of this key, limit and second; None if there was none yet."""
        if second != self._second:
            self._second = second
            self._of_second.clear()
        return self._of_second.get((place, name))

    def add(self, name: bytes, place: Place, parts: Parts, reason: str, shadow: bool) -> Denial:
        """Add one of the second that ``of`` was asked for; the oldest leaves."""
        self.serial += 1
        denial = Denial(self.serial, place, parts, reason, shadow)
        self._kept.append(denial)
        if len(self._of_second) < self.most:
            self._of_second[(place, name)] = denial
        return denial

    def newest_first(self) -> Iterator[Denial]:
        """Iterate over the denials."""
        return reversed(self._kept)
