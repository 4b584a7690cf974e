"""Patterns with ``*`` (zero or more of any byte), and the first of many that a text matches.

A pattern is fixed bytes before its first ``*``, fixed bytes after its last, and pieces in between. Patterns are
found by their two ends, through one dictionary look-up for each pair of lengths that occurs, so thousands of rules
such as ``path_/api/a*`` cost no more than one. The pieces are sought left to right, which needs no backtracking:
the leftmost place of a piece leaves the most room for the next.
"""

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

STAR = b"*"

T = TypeVar("T")


class _Pattern(NamedTuple, Generic[T]):
    order: int
    pieces: tuple[bytes, ...]
    target: T


class Wildcards(Generic[T]):
    """Patterns in the order they were added, each with what it stands for. Iterates as (pattern, target)."""

    __slots__ = ("_by_ends", "_patterns", "_shapes")

    def __init__(self) -> None:
        self._patterns: list[tuple[bytes, T]] = []
        self._by_ends: dict[tuple[bytes, bytes], list[_Pattern[T]]] = {}
        self._shapes: dict[tuple[int, int], int] = {}
        """(length of prefix, length of suffix) -> order of the first pattern so shaped; ascending by order."""

    def __iter__(self) -> Iterator[tuple[bytes, T]]:
        return iter(self._patterns)

    def __len__(self) -> int:
        return len(self._patterns)

    def add(self, pattern: bytes, target: T) -> None:
        """Add a pattern; it holds at least one ``*``."""
        prefix, *middle, suffix = pattern.split(STAR)
        order = len(self._patterns)
        self._patterns.append((pattern, target))
        compiled = _Pattern(order, tuple(piece for piece in middle if piece), target)
        self._by_ends.setdefault((prefix, suffix), []).append(compiled)
        self._shapes.setdefault((len(prefix), len(suffix)), order)

    def find(self, text: bytes) -> T | None:
        """Return the target of the first pattern, in order, that the whole text matches."""
        best: _Pattern[T] | None = None
        size = len(text)
        for (before, after), first in self._shapes.items():
            if best is not None and first > best.order:
                break
            if before + after > size:
                continue
            end = size - after
            for pattern in self._by_ends.get((text[:before], text[end:]), ()):
                if best is not None and pattern.order > best.order:
                    break
                if not pattern.pieces or _holds(text, pattern.pieces, before, end):
                    best = pattern
                    break
        return None if best is None else best.target

    def forget_last(self) -> None:
        """Drop the pattern added last, so that many can be freed bit by bit."""
        pattern, _target = self._patterns.pop()
        prefix, *_middle, suffix = pattern.split(STAR)
        self._by_ends[prefix, suffix].pop()


def _holds(text: bytes, pieces: tuple[bytes, ...], start: int, end: int) -> bool:
    for piece in pieces:
        found = text.find(piece, start, end)
        if found < 0:
            return False
        start = found + len(piece)
    return True
