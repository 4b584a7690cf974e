"""The member that is idle longest. Pure: times are arguments, seconds of one clock."""

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from math import inf
from typing import Final, Generic, Protocol, TypeVar

FRESH: Final = 1.0
"""Seconds that a new connection has for its first call before it gives way to all others: many round trips."""

LOOKS: Final = 512
"""Members looked at for one answer: less than a millisecond. More are looked at only if each had a call meanwhile."""


class Occupant(Protocol):
    """A connection, as far as its idle time is concerned."""

    @property
    def asked(self) -> bool:
        """Whether a call came on it."""

    @property
    def idle_since(self) -> float | None:
        """Time since which it is idle, after the first call; None while a call is in flight. It never decreases."""


M = TypeVar("M", bound=Occupant)


class Idlest(Generic[M]):
    """Members, those first that had no call yet, then by their idle time.

    A call costs nothing here: the time noted for a member is a lower bound, and is corrected when the member comes
    first. So each correction is paid for by a call since the last one.
    """

    __slots__ = ("_heap", "_noted", "_serial", "_silent")

    def __init__(self) -> None:
        self._silent: OrderedDict[M, float] = OrderedDict()  # not known to have asked; by the time they came
        self._noted: dict[M, float] = {}  # the others
        self._heap: list[tuple[float, int, M]] = []  # an entry is valid if its time is the one noted
        self._serial = count()

    def __len__(self) -> int:
        return len(self._silent) + len(self._noted)

    def add(self, member: M, now: float) -> None:
        """Add a new member."""
        self._silent[member] = now

    def discard(self, member: M) -> None:
        """Remove a member, if it is one."""
        if self._silent.pop(member, None) is None and self._noted.pop(member, None) is not None:
            self._compact()

    def find(self, now: float, patience: float = 0.0) -> M | None:
        """Return the member to go first; None if each has a call in flight, or is idle for less than ``patience``."""
        silent, came = self._first_silent()
        if silent is not None and now - came >= max(FRESH, patience):
            return silent
        asked, since = self._first_asked(now)
        first, since = (silent, came) if came <= since else (asked, since)
        return first if now - since >= patience else None

    def _first_silent(self) -> tuple[M | None, float]:
        for _ in range(LOOKS):
            if not self._silent:
                break
            member = next(iter(self._silent))
            came = self._silent[member]
            if not member.asked:
                return member, came
            del self._silent[member]
            self._note(member, came)
        return None, inf

    def _first_asked(self, now: float) -> tuple[M | None, float]:
        """Correct the first entry until it is right; after ``LOOKS`` of them take the best that was seen."""
        best: tuple[M | None, float] = None, inf
        for noted, member in self._entries():
            since = member.idle_since
            if since is not None and since <= noted:
                return member, noted
            if since is None and noted >= now:
                break  # all others were looked at, too
            if since is not None and since < best[1]:
                best = member, since
            self._correct(member, now if since is None else since)
        return best

    def _entries(self) -> Iterator[tuple[float, M]]:
        for _ in range(LOOKS):
            while self._heap and self._noted.get(self._heap[0][2]) != self._heap[0][0]:
                heappop(self._heap)
            if not self._heap:
                return
            yield self._heap[0][0], self._heap[0][2]

    def _note(self, member: M, since: float) -> None:
        self._noted[member] = since
        heappush(self._heap, (since, next(self._serial), member))

    def _correct(self, member: M, since: float) -> None:
        self._noted[member] = since
        heapreplace(self._heap, (since, next(self._serial), member))

    def _compact(self) -> None:
        """Drop the entries of former members once they are the majority, so that each costs one step."""
        if len(self._heap) > 2 * len(self._noted) + LOOKS:
            self._heap = [entry for entry in self._heap if self._noted.get(entry[2]) == entry[0]]
            heapify(self._heap)
