"""Readers: convert a YAML node to a value, or record its errors.

The readers of maps and lists contain the readers of their parts (``MapReader.keys``, ``ListReader.item``), so the keys
of a file can be enumerated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from . import values
from .control_characters import control_in_name, control_in_value
from .problems import Notes
from .suggest import closest
from .yaml_nodes import YamlList, YamlMap, YamlNode, YamlScalar, is_null, resolve

SHOWN_MAX: Final = 200
"""Characters of an invalid key or value in an error: enough to find it, short enough for a log line."""

Reader = Callable[[Notes, YamlNode], Any]
"""Returns the value of a node. Raises WrongValueError for the value itself; errors inside it are recorded."""

Keys = Mapping[str, Reader]
"""The keys of one kind of map, with the readers of their values."""

Fields = dict[str, Any]
"""Values of one map by key, without keys that are absent, null or invalid."""


class WrongValueError(ValueError):
    """Invalid value; the text states what it should be, not what it is."""


class MapFound(NamedTuple):
    """A map that was read.

    Attributes:
        fields: the valid values.
        sound: no error was recorded, so every required key is in ``fields``.
    """

    reader: "MapReader"
    notes: Notes
    node: YamlNode
    fields: Fields
    sound: bool

    def error(self, message: str) -> None:
        """Record an error of the map itself; the message follows its name."""
        self.notes.error(self.node.line, f"{self.reader.what} {message}")

    def only_one(self, *keys: str) -> str | None:
        """Return the one of these keys that the map has, None for none; more than one is recorded as an error."""
        found = [key for key in keys if key in self.fields]
        if len(found) > 1:
            self.error(f"has only one of {', '.join(keys)}")
        return found[0] if found else None


def fields_of(found: MapFound) -> Fields:
    """Return the fields as the value of the map."""
    return found.fields


@dataclass(frozen=True)
class MapReader:
    """Reads a map with known keys. Of duplicate keys the last valid one applies.

    Attributes:
        what: its name in errors.
        keys: the permitted keys.
        needed: the required keys; null does not suffice.
        make: makes the value; also called for a map with errors, to record further ones.
        null_is_absent: False: readers are called for null as for any other value.
        quoted: False: errors do not contain unknown keys, which may be misplaced secrets.
    """

    what: str
    keys: Keys
    needed: tuple[str, ...] = ()
    make: Callable[[MapFound], Any] = fields_of
    null_is_absent: bool = True
    quoted: bool = True

    def __call__(self, notes: Notes, node: YamlNode) -> Any:
        """Read the map. For any other node an error is recorded, and ``make`` gets no fields."""
        before = len(notes.errors)
        fields = self._values(notes, node)
        return self.make(MapFound(self, notes, node, fields, len(notes.errors) == before))

    def _values(self, notes: Notes, node: YamlNode) -> Fields:
        if not isinstance(node, YamlMap):
            notes.error(node.line, f"{self.what} must be a map with {', '.join(self.keys)}")
            return {}
        fields: Fields = {}
        given, meant = set(), set()
        for key_node, value in node.pairs:
            key = key_node.text if isinstance(key_node, YamlScalar) else ""
            if key not in self.keys:
                found = closest(key[:SHOWN_MAX], tuple(self.keys))
                meant.add(found)
                hint = f"; did you mean '{found}'?" if found and self.quoted else ""
                notes.error(key_node.line, f"unknown key {self._unknown(key)} has {', '.join(self.keys)}{hint}")
            elif not (self.null_is_absent and is_null(value)):
                given.add(key)
                self._read(notes, key, value, fields)
        for key in self.needed:
            if key not in given and key not in meant:
                notes.error(node.line, f"{self.what} needs '{key}'")
        return fields

    def _unknown(self, key: str) -> str:
        return f"'{key[:SHOWN_MAX]}': {self.what}" if self.quoted else f"in {self.what}: it"

    def _read(self, notes: Notes, key: str, value: YamlNode, fields: Fields) -> None:
        try:
            fields[key] = self.keys[key](notes, value)
        except WrongValueError as wrong:
            notes.error(value.line, f"'{key}' of {self.what} must be {wrong}")


@dataclass(frozen=True)
class ListReader:
    """Reads a list to a tuple; an invalid item is recorded as an error and omitted.

    Attributes:
        least: minimum number of items.
    """

    item: Reader
    least: int = 0

    def __call__(self, notes: Notes, node: YamlNode) -> tuple[Any, ...]:
        """Read the list. Raises WrongValueError."""
        if not isinstance(node, YamlList) or len(node.items) < self.least:
            raise WrongValueError("a list" + (" that is not empty" if self.least else ""))
        found = []
        for item in node.items:
            try:
                found.append(self.item(notes, item))
            except WrongValueError as wrong:
                notes.error(item.line, f"an item of this list must be {wrong}")
        return tuple(found)


def as_it_is(_notes: Notes, node: YamlNode) -> YamlNode:
    """Return the node."""
    return node


def scalar(node: YamlNode, wanted: str) -> YamlScalar:
    """Return a node that must be a scalar. Raises WrongValueError."""
    if not isinstance(node, YamlScalar):
        raise WrongValueError(f"{wanted}, not a {'list' if isinstance(node, YamlList) else 'map'}")
    return node


def any_text(_notes: Notes, node: YamlNode) -> str:
    """Read a text, possibly empty. Raises WrongValueError, as all readers of scalars do."""
    if not isinstance(node, YamlScalar):
        raise WrongValueError("a text")
    return node.text


def text(_notes: Notes, node: YamlNode) -> str:
    """Read a text that is not empty."""
    if not isinstance(node, YamlScalar) or not node.text:
        raise WrongValueError("a text that is not empty")
    return node.text


def octets(notes: Notes, node: YamlNode) -> bytes:
    """Read a text that is not empty, as bytes."""
    return text(notes, node).encode()


def as_name(written: str) -> str:
    """Return a text that names something. Raises WrongValueError for one with control characters."""
    if remedy := control_in_name(written):
        raise WrongValueError(f"a text without control characters: {remedy}")
    return written


def as_value(written: str) -> str:
    """Return a text that values of requests are compared with. Raises WrongValueError for control characters."""
    if remedy := control_in_value(written):
        raise WrongValueError(f"a text without control characters: {remedy}")
    return written


def name_text(notes: Notes, node: YamlNode) -> str:
    """Read a name that is not empty."""
    return as_name(text(notes, node))


def name_octets(notes: Notes, node: YamlNode) -> bytes:
    """Read a name that is not empty, as bytes."""
    return name_text(notes, node).encode()


def value_octets(notes: Notes, node: YamlNode) -> bytes:
    """Read a value that is not empty, as bytes."""
    return as_value(text(notes, node)).encode()


def flag(_notes: Notes, node: YamlNode) -> bool:
    """Read true or false."""
    value = resolve(node) if isinstance(node, YamlScalar) else None
    if not isinstance(value, bool):
        raise WrongValueError("true or false (without quotes)")
    return value


@dataclass(frozen=True)
class NumberReader:
    """Reads a whole number within bounds; see ``number``."""

    least: int
    most: int

    @property
    def wanted(self) -> str:
        """The number in words, as errors say it."""
        return f"a whole number from {self.least} to {self.most}"

    def __call__(self, _notes: Notes, node: YamlNode) -> int:
        """Read the number. Raises WrongValueError."""
        value = resolve(scalar(node, self.wanted))
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            raise WrongValueError(f"{self.wanted} (without quotes)")
        return value


number: Final = NumberReader
"""Makes a reader of whole numbers within these bounds."""


def share(_notes: Notes, node: YamlNode) -> float:
    """Read a number above 0, up to 1."""
    value = resolve(node) if isinstance(node, YamlScalar) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise WrongValueError("a number above 0, up to 1, such as 0.5")
    return float(value)


@dataclass(frozen=True)
class ParsedReader:
    """Reads a scalar by the parser of a setting, which raises ValueError; see ``parsed``."""

    parser: Callable[[str], Any]
    wanted: str

    def __call__(self, _notes: Notes, node: YamlNode) -> Any:
        """Read the value. Raises WrongValueError."""
        try:
            return self.parser(node.text if isinstance(node, YamlScalar) else "")
        except ValueError:
            raise WrongValueError(self.wanted) from None


parsed: Final = ParsedReader
"""Makes a reader from the parser of a setting, and the value in words."""


@dataclass(frozen=True)
class ChoiceReader:
    """Reads one of several texts.

    Attributes:
        choices: the texts, each with its value.
        wanted: the texts in words, as errors say it; empty: a list of them.
        empty: whether the error of an empty text names the texts too; else it says that a text is empty.
    """

    choices: Mapping[str, Any]
    wanted: str = ""
    empty: bool = False

    def __call__(self, notes: Notes, node: YamlNode) -> Any:
        """Read the value. Raises WrongValueError."""
        written = scalar(node, "text").text if self.empty else text(notes, node)
        if written not in self.choices:
            raise WrongValueError(self.wanted or f"one of {', '.join(self.choices)}")
        return self.choices[written]


count: Final = number(1, 1_000_000)
seconds: Final = parsed(values.positive_duration, "a duration above 0, such as 500ms, 15s or 2m")
size: Final = parsed(values.size(1), "a size above 0, such as 8KiB, 10MiB or a number of bytes")
