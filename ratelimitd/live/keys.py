"""The keys of a limit that have most hits: Space-Saving (Metwally, Agrawal, El Abbadi, 2005), on counts that decay.

A key that is not listed takes the place of the one with the smallest count, and its count as error. So with m places
and N hits in all, a key with more than N/m is listed, and its count is too large by N/m at most. A hit counts half
after ``HALF_LIFE``: later hits count more, by a factor that grows, and nothing has to be changed as time passes
(forward decay; Cormode et al., 2009). A denied hit counts twice, so keys with many denials are listed as well.

What the windows of a key say is not an estimate of this kind: they have the hits since it is listed, and no others.
"""

from sys import getsizeof
from typing import Final

from .budget import Budget
from .shown import Parts, size_of
from .sketch import SKETCH_BYTES, Sketch
from .windows import Windows

HALF_LIFE: Final = 600_000_000
"""µs after which a hit counts half: ten minutes, the middle one of the windows."""

KEY_BYTES: Final = 640
"""A key besides its name and its parts: objects, two rings of 192 bytes, numbers, its place in a dict. 550 measured."""

KEYS_LEAST, KEYS_MOST = 8, 128
"""Places of a limit: so few when thousands of limits have traffic; so many that a list is still read."""

UNKNOWN: Final = -1

NAME_MOST: Final = 300
"""Bytes of a key's name that are kept; of a longer one, of a caller that sends long values, the hash."""


def short(name: bytes) -> bytes:
    """Return a key's name, or its hash in place of a long one."""
    return name if len(name) <= NAME_MOST else b"%d" % hash(name)


class Key:
    """A key that is listed.

    Attributes:
        parts: what is shown of it; empty: the counter that new keys share.
        count: decayed count of hits and denied hits, in units of the time it was made.
        error: the part of ``count`` that may belong to other keys.
        windows: its hits since it is listed.
        seen: wall-clock µs of the last hit that was seen.
        remaining: of the last decision; UNKNOWN: there was none.
        reset_at: wall-clock µs at which its counter is at rest.
        size: bytes that it takes.
    """

    __slots__ = ("count", "error", "parts", "remaining", "reset_at", "seen", "size", "windows")

    def __init__(self, parts: Parts, error: float, step: int, size: int) -> None:
        self.parts = parts
        self.count = self.error = error
        self.windows = Windows(step)
        self.seen = 0
        self.remaining = UNKNOWN
        self.reset_at = 0
        self.size = size


class Keys:
    """The keys of a limit, in at most ``most`` places.

    Attributes:
        floor: count that a key may have that is not listed.
        sketch: estimates how many keys there are; None while all are listed.
    """

    __slots__ = ("_budget", "floor", "listed", "sketch")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.listed: dict[bytes, Key] = {}
        self.floor = 0.0
        self.sketch: Sketch | None = None

    def add(self, name: bytes, amount: float, step: int) -> Key | None:
        """Count a key, and return it; None if it is not listed. ``amount``: its hits, as they count now."""
        if self.sketch is not None:
            self.sketch.add(name, step // 6)
        key = self.listed.get(name)
        if key is not None:
            key.count += amount
        return key

    def enter(self, name: bytes, parts: Parts, amount: float, step: int, most: int) -> Key | None:
        """List a key that ``add`` did not find, and count it; return None if there is no memory for any."""
        key = self._entered(name, parts, step, most)
        if key is None:
            self.floor += amount
        else:
            key.count += amount
        return key

    def _entered(self, name: bytes, parts: Parts, step: int, most: int) -> Key | None:
        size = KEY_BYTES + getsizeof(name) + size_of(parts)
        if len(self.listed) >= most:
            self._leave(step)
        if not self._budget.take(size):
            self._leave(step)
            if not self._budget.take(size):
                return None
        key = self.listed[name] = Key(parts, self.floor, step, size)
        return key

    def _leave(self, step: int) -> None:
        """Drop the key with the smallest count."""
        if not self.listed:
            return
        if self.sketch is None and self._budget.take(SKETCH_BYTES):
            self.sketch = Sketch(step // 6)
            for name, key in self.listed.items():
                if key.windows.sums(step, 0).hits:
                    self.sketch.add(name, step // 6)
        smallest = b""
        least = -1.0
        for name, key in self.listed.items():
            if least < 0 or key.count < least:
                smallest, least = name, key.count
        self.floor = max(self.floor, least)
        self._budget.free(self.listed.pop(smallest).size)

    def trim(self, most: int, step: int) -> None:
        """Drop the keys with the smallest counts past a number of them."""
        while len(self.listed) > most:
            self._leave(step)

    def active(self, step: int) -> int:
        """Return how many keys had hits in the last minute; of one to two minutes, if more than are listed."""
        seen = sum([key.windows.sums(step, 0).hits > 0 for key in self.listed.values()])
        return seen if self.sketch is None else max(seen, self.sketch.estimate(step // 6))

    def scale(self, factor: float) -> None:
        """Multiply all counts, since the time is another one by which they are made."""
        self.floor *= factor
        for key in self.listed.values():
            key.count *= factor
            key.error *= factor

    def clear(self) -> None:
        """Give the memory of all keys back."""
        self._budget.free(sum([key.size for key in self.listed.values()]))
        if self.sketch is not None:
            self._budget.free(SKETCH_BYTES)
            self.sketch = None
        self.listed.clear()
