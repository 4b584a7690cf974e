"""The rows of the counters in memory, and the tables that they are in.

An entry is a dict item of bytes to bytes, which the garbage collector never traverses, however many there are. Many
small dicts (shards) contain the entries, so that neither the resize of a dict nor an iteration over one takes long.
"""

from struct import Struct
from typing import Any, Final

from ratelimitd.algorithms import Holds
from ratelimitd.value import Value

ENTRY_BYTES: Final = 200
"""Size of an entry without the bytes of its key: both bytes objects and its share of the dict.

Measured with tracemalloc: 136 to 155 while dicts fill, 182 after many evictions; plus 16 for malloc's rounding.
``tests/stores/test_memory.py`` repeats the measurement.
"""

LOG_BYTES: Final = 88
"""Size of a charge in a sliding window's log: two int objects, and two items of lists that over-allocate by 1/8."""

HOLD_BYTES: Final = 300
"""Size of a hold: its name of 20 bytes, twice its expiry, a tuple, its share of a dict and of a list."""

EVICTION_SAMPLE: Final = 8
"""Entries sampled per eviction; the lowest priority goes. Redis' approximated LRU is close to exact from 5 on."""

USAGE_STEPS: Final = 1_000
"""Resolution of the usage in ``priority``."""

ROW: Final = Struct("=5q")
"""expiry, priority, and a state of three integers; a state of one integer has -1 as the second and third."""


class LargeRow(Value):
    """The row of a log or of holds, which are larger than three integers. ``size`` is the bytes it was counted with."""

    __match_args__ = ("expiry", "priority", "state", "size")
    __slots__ = __match_args__

    def __init__(self, expiry: int, priority: int, state: Any, size: int) -> None:
        self.expiry = expiry
        self.priority = priority
        self.state = state
        self.size = size


StoredRow = bytes | LargeRow


def make_row(expiry: int, priority: int, state: Any) -> StoredRow:
    """Return the row for a state.

    ``expiry`` is the time (µs) from which on the state has no effect. ``priority`` is the time until which it denies;
    if it does not deny, it is the used fraction of the limit, in units of 1/``USAGE_STEPS``.
    """
    if type(state) is tuple:
        return ROW.pack(expiry, priority, *state)
    if type(state) is int:
        return ROW.pack(expiry, priority, state, -1, -1)
    size = HOLD_BYTES * len(state) if type(state) is Holds else LOG_BYTES * len(state.times)
    return LargeRow(expiry, priority, state, size)


def demoted(row: StoredRow, now: int) -> StoredRow:
    """Return the row of a limit that no longer denies, on the assumption that its usage has fallen linearly since."""
    expiry, until = expiry_and_priority(row)
    share = USAGE_STEPS * (expiry - now) // max(expiry - until, 1)
    if isinstance(row, LargeRow):
        return row._replace(priority=share)
    _, _, *state = ROW.unpack(row)
    return ROW.pack(expiry, share, *state)


def expiry_and_priority(row: StoredRow) -> tuple[int, int]:
    """Return expiry and priority."""
    if isinstance(row, LargeRow):
        return row.expiry, row.priority
    expiry, priority, *_ = ROW.unpack(row)
    return expiry, priority


def counted_bytes(key: bytes, row: StoredRow) -> int:
    """Return the size with which an entry is counted."""
    return ENTRY_BYTES + len(key) + (row.size if isinstance(row, LargeRow) else 0)


class ShardedTable:
    """Entries in shards, and a clock hand that cycles through all of them."""

    def __init__(self, shards: int) -> None:
        self.shards: list[dict[bytes, StoredRow]] = [{} for _ in range(shards)]
        self.count = 0
        self._rows = self.shards[0]
        self._position = 0
        self._ahead: list[bytes] = []

    def next(self) -> tuple[bytes, StoredRow] | None:
        """Return the entry under the hand and move on; None when the table is empty."""
        while self.count:
            while self._ahead:
                key = self._ahead.pop()
                row = self._rows.get(key)
                if row is not None:
                    return key, row
            self._position = (self._position + 1) % len(self.shards)
            self._rows = self.shards[self._position]
            self._ahead = spread(list(self._rows))
        return None


def spread(keys: list[bytes]) -> list[bytes]:
    """Return the keys in an order where any ``EVICTION_SAMPLE`` neighbors were inserted at very different times."""
    stride = max(1, len(keys) // EVICTION_SAMPLE)
    return [key for start in range(stride) for key in keys[start::stride]]
