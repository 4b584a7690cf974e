"""Patterns of an overlay: globs over texts, and over the descriptors on the way from the root to a limit."""

from typing import Final, NamedTuple

from ratelimitd.policy import STAR, in_order

ANY_LEVELS: Final = "**"
"""Element of a path that stands for any number of levels, also none."""

VALUE: Final = "="
"""Separates the key of an element from its value."""


class Glob(NamedTuple):
    """Text in which each ``*`` stands for any text, also none; ``pieces`` are what is between the stars."""

    text: str
    pieces: tuple[bytes, ...]

    def matches(self, text: bytes) -> bool:
        """Whether this is all of the text."""
        first, *between = self.pieces
        if not between:
            return text == first
        last = between.pop()
        end = len(text) - len(last)
        fits = len(first) <= end and text.startswith(first) and text.endswith(last)
        return fits and in_order(text, tuple(between), len(first), end)


def glob(text: str) -> Glob:
    """Return the glob that is written so."""
    return Glob(text, tuple(text.encode().split(STAR)))


class Element(NamedTuple):
    """Element of a path. ``value`` None: any value, or none; its empty glob: no value."""

    text: str
    key: Glob
    value: Glob | None = None

    @property
    def any_levels(self) -> bool:
        """Whether it stands for any number of levels."""
        return self.text == ANY_LEVELS

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


Path = tuple[Element, ...]

Position = int
"""How far a path is matched: bit ``n`` is set if the descriptors so far are what its first ``n`` elements stand for."""


def start(path: Path) -> Position:
    """Return the position at the root."""
    return _without_levels(path, 1)


def step(path: Path, position: Position, key: bytes, value: bytes) -> Position:
    """Return the position one descriptor further down; 0: no descriptor below matches."""
    further = 0
    for number, each in enumerate(path):
        if not position >> number & 1:
            continue
        if each.any_levels:
            further |= 1 << number
        elif each.matches(key, value):
            further |= 1 << number + 1
    return _without_levels(path, further)


def at_end(path: Path, position: Position) -> bool:
    """Whether the whole path is matched."""
    return bool(position >> len(path) & 1)


def _without_levels(path: Path, position: Position) -> Position:
    """Add the positions that are reached by taking ``**`` for no level."""
    for number, each in enumerate(path):
        if each.any_levels and position >> number & 1:
            position |= 1 << number + 1
    return position
