"""Patterns of an overlay: globs over texts, and over the descriptors on the way from the root to a limit."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from ratelimitd.policy import STAR, in_order

ANY_LEVELS: Final = "**"
"""Element of a path that stands for any number of levels, also none."""

VALUE: Final = "="
"""Separates the key of an element from its value."""


class Glob(NamedTuple):
    """Text in which each ``*`` stands for any text, also none.

    Attributes:
        first, last: what is before the first star, and after the last; without a star, ``last`` is None.
        between: what is between two stars.
    """

    text: str
    first: bytes
    between: tuple[bytes, ...] = ()
    last: bytes | None = None

    def matches(self, text: bytes) -> bool:
        """Whether this is all of the text."""
        if self.last is None:
            return text == self.first
        if not (text.startswith(self.first) and text.endswith(self.last)):
            return False
        start, end = len(self.first), len(text) - len(self.last)
        return start <= end and in_order(text, self.between, start, end)


def glob(text: str) -> Glob:
    """Return the glob that is written so."""
    first, *between = text.encode().split(STAR)
    last = between.pop() if between else None
    return Glob(text, first, tuple(between), last)


class Element(NamedTuple):
    """Element of a path. ``value`` None: any value, or none; its empty glob: no value."""

    text: str
    key: Glob
    value: Glob | None = None

    def matches(self, key: bytes, value: bytes) -> bool:
        """Whether a descriptor with this key and value, empty for none, is one of those that are meant."""
        if not self.key.matches(key):
            return False
        if self.value is None:
            return True
        return bool(value) and self.value.matches(value) if self.value.text else not value


def element(text: str) -> Element:
    """Return the element that is written so: ``KEY``, ``KEY=VALUE``, ``KEY=`` or ``**``."""
    key, equals, value = text.partition(VALUE)
    return Element(text, glob(key), glob(value) if equals else None)


Position = int
"""How far a path is matched: bit ``n`` is set if the descriptors so far are what its first ``n`` elements stand for."""


class Path(NamedTuple):
    """The elements of a path, and the positions that each number of them comes to with the ``**`` that follow."""

    elements: tuple[Element, ...]
    positions: tuple[Position, ...]

    @property
    def start(self) -> Position:
        """The position at the root."""
        return self.positions[0]

    def below(self, position: Position, key: bytes, value: bytes) -> Position:
        """Return the position one descriptor further down; 0: no descriptor from there on matches."""
        further = 0
        for number, each in enumerate(self.elements[: position.bit_length()]):
            if not position >> number & 1:
                continue
            if each.text == ANY_LEVELS:
                further |= self.positions[number]
            elif each.matches(key, value):
                further |= self.positions[number + 1]
        return further

    def ends(self, position: Position) -> bool:
        """Whether all of it is matched."""
        return bool(position >> len(self.elements) & 1)


def path_of(written: Iterable[Element]) -> Path:
    """Return the path of these elements; one ``**`` stands for several in a row, each of which would cost as much."""
    elements: tuple[Element, ...] = ()
    for each in written:
        if each.text != ANY_LEVELS or not elements or elements[-1].text != ANY_LEVELS:
            elements += (each,)
    positions = [1 << len(elements)]
    for number in reversed(range(len(elements))):
        after = positions[0] if elements[number].text == ANY_LEVELS else 0
        positions.insert(0, 1 << number | after)
    return Path(elements, tuple(positions))
