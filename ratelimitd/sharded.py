"""A dict that grows in parts: a plain one copies all its entries when it grows, in one step.

That step takes 0.1 µs for each entry, so a dict of a policy's size would hold the event loop: for 9 ms at the 87,382nd
entry, for 50 ms at the 349,526th.
"""

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

SHARDS: Final = 256
"""Parts of a dict: one of 10,000,000 entries copies 40,000 at a time, in less than 5 ms."""

SHIFT: Final = 12
"""Bits of a hash below those that select the part. A dict uses the low bits: keys that share them would collide in it.
The hash of an object is its address in units of 16 bytes, so objects made one after the other fill a part in turn."""

SMALL: Final = 4096
"""Entries up to which a plain dict is left: they are copied in 0.4 ms."""


class ShardedDict(Generic[K, V]):
    """The operations of a dict that the service uses, on ``SHARDS`` dicts. The order is not that of insertion."""

    __slots__ = ("_first", "_shards")

    def __init__(self) -> None:
        self._shards: list[dict[K, V]] = [{} for _ in range(SHARDS)]
        self._first = 0
        """Parts before this one are empty, so that they are not looked at again as the dict is emptied."""

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None."""
        return self._shard(key).get(key)

    def __getitem__(self, key: K) -> V:
        return self._shard(key)[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._shard(key)[key] = value
        self._first = 0

    def __contains__(self, key: object) -> bool:
        return key in self._shard(key)

    def __len__(self) -> int:
        return sum(self.sizes())

    def __bool__(self) -> bool:
        while self._first < SHARDS and not self._shards[self._first]:
            self._first += 1
        return self._first < SHARDS

    def __iter__(self) -> Iterator[K]:
        for shard in self._shards:
            yield from shard

    def items(self) -> Iterator[tuple[K, V]]:
        """Yield the entries."""
        for shard in self._shards:
            yield from shard.items()

    def values(self) -> Iterator[V]:
        """Yield the values."""
        for shard in self._shards:
            yield from shard.values()

    def pop(self, key: K) -> V | None:
        """Remove a key, and return its value; None if there is none."""
        return self._shard(key).pop(key, None)

    def popitem(self) -> tuple[K, V]:
        """Remove and return an entry. Raises KeyError if there is none."""
        if not self:
            raise KeyError("popitem(): the dict is empty")
        return self._shards[self._first].popitem()

    def parts(self) -> Iterator[list[K]]:
        """Yield the keys of one part after the other; the entries may change in between."""
        for shard in self._shards:
            yield list(shard)

    def sizes(self) -> list[int]:
        """Return the number of entries of each part."""
        return [len(shard) for shard in self._shards]

    def _shard(self, key: object) -> dict[K, V]:
        return self._shards[hash(key) >> SHIFT & SHARDS - 1]


def grown(entries: dict[K, V] | ShardedDict[K, V]) -> dict[K, V] | ShardedDict[K, V]:
    """Return a dict with room for another entry: itself, or its entries in parts once it is no longer small."""
    if isinstance(entries, dict) and len(entries) >= SMALL:
        made: ShardedDict[K, V] = ShardedDict()
        for key, value in entries.items():
            made[key] = value
        return made
    return entries


def parts_of(entries: dict[K, V] | ShardedDict[K, V]) -> Iterator[list[K]]:
    """Yield the keys of a dict in lists that are made at once; the entries may change in between."""
    if isinstance(entries, dict):
        yield list(entries)
    else:
        yield from entries.parts()


def removed(entries: dict[K, V] | ShardedDict[K, V], key: K) -> V | None:
    """Remove a key, and return its value; None if there is none."""
    return entries.pop(key, None) if isinstance(entries, dict) else entries.pop(key)
