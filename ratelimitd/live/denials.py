"""Recent denials: one for each key, limit and second."""

from collections import deque
from collections.abc import Iterator
from sys import getsizeof
from typing import Final

from .budget import Budget
from .shown import Parts, size_of

DENIALS_MOST: Final = 500
"""Denials that are kept: a page of them is 50 to 100."""

DENIAL_BYTES: Final = 600
"""A denial besides the name and the parts of its key: its object, numbers, texts, places in a ring and a dict. 400
measured."""

Place = tuple[bytes, bytes, str]
"""Domain, path and item of a limit."""


class Denial:
    """A key that a limit denied in one second.

    Attributes:
        serial: its number, from 1.
        name: of its key.
        time: wall-clock µs of the last denial.
        count: how many there were, as far as they were seen.
        cost: hits of the last one.
        used: hits against the limit before it.
        shadow: whether it denied nothing.
        summary: what the limit allows, in words.
        burst: what it lets pass at once, if that is another number than its requests; else None.
        reset_after: µs until the same cost could pass; NEVER if it exceeds the limit itself.
    """

    __slots__ = (
        "burst",
        "cost",
        "count",
        "name",
        "parts",
        "place",
        "reason",
        "reset_after",
        "serial",
        "shadow",
        "size",
        "summary",
        "time",
        "used",
    )

    def __init__(self, serial: int, name: bytes, place: Place, parts: Parts, reason: str) -> None:
        self.serial = serial
        self.name = name
        self.place = place
        self.parts = parts
        self.reason = reason
        self.shadow = False
        self.summary = ""
        self.burst: int | None = None
        self.size = 0
        self.time = self.cost = self.count = self.used = self.reset_after = 0


class Denials:
    """A ring of denials.

    Attributes:
        most: how many there may be.
        serial: number of the newest.
    """

    __slots__ = ("_budget", "_kept", "_of_second", "_second", "most", "serial")

    def __init__(self, most: int, budget: Budget) -> None:
        self.most = most
        self._budget = budget
        self._kept: deque[Denial] = deque()
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

    def add(self, name: bytes, place: Place, parts: Parts, reason: str) -> Denial | None:
        """Add one of the second that ``of`` was asked for; the oldest leave. None if there is no memory for any."""
        size = DENIAL_BYTES + getsizeof(name) + size_of(parts)
        if len(self._kept) >= self.most:
            self._leave()
        while not self._budget.take(size):
            if not self._kept:
                return None
            self._leave()
        self.serial += 1
        denial = Denial(self.serial, name, place, parts, reason)
        denial.size = size
        self._kept.append(denial)
        self._of_second[(place, name)] = denial
        return denial

    def _leave(self) -> None:
        oldest = self._kept.popleft()
        self._budget.free(oldest.size)
        if self._of_second.get((oldest.place, oldest.name)) is oldest:
            del self._of_second[(oldest.place, oldest.name)]

    def newest_first(self) -> Iterator[Denial]:
        """Iterate over the denials."""
        return reversed(self._kept)
