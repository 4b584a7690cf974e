"""Patterns with ``*`` (zero or more of any byte), and a search for the first one that a text matches.

A pattern is a prefix before its first ``*``, a suffix after its last, and pieces in between. Patterns are found by
prefix and suffix, with one dictionary look-up per pair of lengths that occurs, so thousands of rules such as
``path_/api/a*`` cost no more than one. The pieces are searched left to right without backtracking: the leftmost
position of a piece leaves the most space for the next.
"""

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from ratelimitd.sharded import ShardedDict, grown

STAR = b"*"

T = TypeVar("T")


class _Pattern(NamedTuple, Generic[T]):
    order: int
    pieces: tuple[bytes, ...]
    target: T


_Ends = tuple[bytes, bytes]
_ByEnds = dict[_Ends, list[_Pattern[T]]] | ShardedDict[_Ends, list[_Pattern[T]]]


class Wildcards(Generic[T]):
    """Patterns in the order they were added, each with its target. Iterates as (pattern, target)."""

    __slots__ = ("_by_ends", "_patterns", "_shapes")

    def __init__(self) -> None:
        self._patterns: list[tuple[bytes, T]] = []
        self._by_ends: _ByEnds[T] = {}
        self._shapes: dict[tuple[int, int], int] = {}
        """(length of prefix, length of suffix) -> order of the first such pattern; ascending by order."""

    def __iter__(self) -> Iterator[tuple[bytes, T]]:
        return iter(self._patterns)

    def __len__(self) -> int:
        return len(self._patterns)

    def add(self, pattern: bytes, target: T) -> None:
        """Add a pattern, which must contain at least one ``*``."""
        prefix, *middle, suffix = pattern.split(STAR)
        order = len(self._patterns)
        self._patterns.append((pattern, target))
        compiled = _Pattern(order, tuple(piece for piece in middle if piece), target)
        ends = (prefix, suffix)
        same = self._by_ends.get(ends)
        if same is None:
            self._by_ends = grown(self._by_ends)
            self._by_ends[ends] = [compiled]
        else:
            same.append(compiled)
        self._shapes.setdefault((len(prefix), len(suffix)), order)

    def find(self, text: bytes) -> T | None:
        """Return the target of the first pattern, in order, that matches the entire text."""
        best: _Pattern[T] | None = None
        size = len(text)
        for (before, after), first in self._shapes.items():
            if best is not None and first > best.order:
                break
            if before + after > size:
                continue
            end = size - after
            for pattern in self._by_ends.get((text[:before], text[end:])) or ():
                if best is not None and pattern.order > best.order:
                    break
                if not pattern.pieces or in_order(text, pattern.pieces, before, end):
                    best = pattern
                    break
        return None if best is None else best.target

    def forget_last(self) -> None:
        """Remove the pattern added last, so that many patterns can be freed in slices."""
        pattern, _target = self._patterns.pop()
        prefix, *_middle, suffix = pattern.split(STAR)
        self._by_ends[prefix, suffix].pop()


def in_order(text: bytes, pieces: tuple[bytes, ...], start: int, end: int) -> bool:
    """Whether a part of a text has these pieces, one after the other."""
    for piece in pieces:
        found = text.find(piece, start, end)
        if found < 0:
            return False
        start = found + len(piece)
    return True
