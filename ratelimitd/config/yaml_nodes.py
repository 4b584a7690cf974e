"""Parsing of YAML text to nodes with line numbers; scalars keep their text.

``010``, ``yes`` and ``12:30`` stay text; ``resolve`` converts them to numbers and booleans as yaml.v2 (Go) does, which
reads the same files in envoyproxy/ratelimit: only the first document is read, the last of two equal keys applies, and
``<<`` merges at its position.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import yaml

NESTING_MAX: Final = 100
"""Maximum nesting of lists and maps: protobuf's recursion limit, which applies to ``metadata`` (a Struct)."""

ALIASED_NODES_MAX: Final = 400_000
"""Maximum number of nodes that aliases add to a document: yaml.v2 decodes as many before it checks their share."""

Resolved = str | int | float | bool | None
"""Value of a plain scalar. A whole number that does not fit an int64 is a float, as in yaml.v2."""


class YamlError(ValueError):
    """Invalid YAML, or a document beyond the limits; ``line`` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class YamlScalar(NamedTuple):
    """A scalar. ``plain``: without quotes and without a tag."""

    text: str
    plain: bool
    tag: str | None
    line: int


class YamlList(NamedTuple):
    """A list."""

    items: "list[YamlNode]"
    line: int


class YamlMap(NamedTuple):
    """A map; duplicate keys are kept, and the last one applies.

    Attributes:
        repeated: each key that was written twice in this map, and the later one, which applies. Not a key
            that overrides a merged one.
    """

    pairs: "list[tuple[YamlNode, YamlNode]]"
    line: int
    repeated: "tuple[tuple[YamlScalar, YamlScalar], ...]" = ()


YamlNode = YamlScalar | YamlList | YamlMap

_LOADER: Final = getattr(yaml, "CLoader", yaml.Loader)
_TAG: Final = "tag:yaml.org,2002:"
BINARY_TAG: Final = _TAG + "binary"
_RESOLVED_TAGS: Final = frozenset(_TAG + name for name in ("int", "float", "bool", "null"))
_CONFLICT: Final = re.compile(rb"^(<{7} |={7}\r?$|>{7} )", re.MULTILINE)
"""The lines that git writes around the two sides of a conflict."""

_TABBED: Final = re.compile(rb" *\t")

_NUMBER_STARTS: Final = frozenset("+-.0123456789")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_WHOLE: Final = (
    (re.compile(r"([-+]?)0[xX]([0-9a-fA-F]+)", re.ASCII), 16),
    (re.compile(r"([-+]?)0[bB]([01]+)", re.ASCII), 2),
    (re.compile(r"([-+]?)0[oO]?([0-7]+)", re.ASCII), 8),
    (re.compile(r"([-+]?)(0|[1-9][0-9]*)", re.ASCII), 10),
)
_WHOLE_CHARACTERS: Final = 70
"""Maximum length of a whole number: an int64 in binary has 63 digits, a sign and a prefix."""


def _words(value: Resolved, *words: str) -> dict[str, Resolved]:
    return {form: value for word in words for form in (word, word.capitalize(), word.upper())}


_WORDS: Final[dict[str, Resolved]] = (
    _words(True, "y", "yes", "true", "on")  # noqa: FBT003 -- the value of the words
    | _words(False, "n", "no", "false", "off")  # noqa: FBT003 -- the value of the words
    | _words(None, "", "~", "null")
    | {form: float("nan") for form in (".nan", ".NaN", ".NAN")}
    | {sign + form: float(sign + "inf") for sign in ("", "+", "-") for form in (".inf", ".Inf", ".INF")}
)

BOOLEAN_WORDS: Final = tuple(word for word, value in _WORDS.items() if isinstance(value, bool))
"""Texts without quotes that are true or false."""


def load_yaml(data: bytes) -> YamlNode | None:
    """Read the first document of a file; None if there is none. Raises YamlError."""
    try:
        loader = _LOADER(data)
        try:
            return _Builder().build(_events(loader))
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = data[: error.position].count(b"\n") + 1
        raise YamlError(line, f"not text that YAML allows: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        if (conflict := _CONFLICT.search(data)) is not None:
            line = data[: conflict.start()].count(b"\n") + 1
            raise YamlError(line, "not valid YAML: this line is the mark of a merge conflict; resolve it") from None
        mark = error.problem_mark or error.context_mark
        line = min(mark.line, data.count(b"\n")) + 1 if mark else 1
        where = f", at column {mark.column + 1}" if mark and mark.line < line else ""
        if _TABBED.match(data.split(b"\n")[line - 1]):
            where += "; indent with spaces, YAML allows no tabs there"
        raise YamlError(line, f"not valid YAML: {error.problem or error.context}{where}") from None
    except yaml.YAMLError as error:
        raise YamlError(1, f"not valid YAML: {error}") from None


def resolve(scalar: YamlScalar) -> Resolved:
    """Return the value of a scalar without a schema."""
    text = scalar.text
    if not scalar.plain and scalar.tag not in _RESOLVED_TAGS:
        return text
    if text in _WORDS:
        return _WORDS[text]
    return _number(text) if text[0] in _NUMBER_STARTS else text


def is_null(node: YamlNode) -> bool:
    """Whether a node is a null scalar."""
    return isinstance(node, YamlScalar) and resolve(node) is None


def value_of(node: YamlNode | None, key: str) -> YamlNode | None:
    """Return the value of a key of a map, the last of equal keys; None if it is absent or the node is not a map."""
    if not isinstance(node, YamlMap):
        return None
    values = [value for name, value in node.pairs if isinstance(name, YamlScalar) and name.text == key]
    return values[-1] if values else None


def _number(text: str) -> str | int | float:
    digits = text.replace("_", "")
    if len(digits) <= _WHOLE_CHARACTERS:
        for pattern, base in _WHOLE:
            found = pattern.fullmatch(digits)
            if found:
                number = int(found[1] + found[2], base)
                return number if -(1 << 63) <= number < 1 << 63 else float(number)
    return float(digits) if _FLOAT.fullmatch(digits) else text


def _events(loader: Any) -> Iterator[Any]:
    while loader.check_event():
        yield loader.get_event()


class _Open:
    """A list or map that is still being read; ``nodes`` is its number of nodes with aliases expanded."""

    __slots__ = ("anchor", "children", "is_map", "line", "nodes")

    def __init__(self, event: Any) -> None:
        self.anchor = event.anchor
        self.children: list[YamlNode] = []
        self.is_map = isinstance(event, yaml.MappingStartEvent)
        self.line = event.start_mark.line + 1
        self.nodes = 1

    def close(self) -> YamlNode:
        if not self.is_map:
            return YamlList(self.children, self.line)
        keys = self.children[::2]
        pairs = list(zip(keys, self.children[1::2], strict=True))
        repeated = tuple(_repeated(keys))
        if any(_is_merge(key) for key in keys):
            pairs = list(_merged(pairs))
        return YamlMap(pairs, self.line, repeated)


class _Builder:
    """Builds nodes from events without recursion, so that deep nesting cannot exhaust the C or Python stack."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[YamlNode, int]] = {}
        self._aliased = 0
        self._root: YamlNode | None = None

    def build(self, events: Iterator[Any]) -> YamlNode | None:
        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                self._add(_scalar(event), 1, event.anchor)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._start(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                closed = self._open.pop()
                self._add(closed.close(), closed.nodes, closed.anchor)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentEndEvent):
                break
        return self._root

    def _add(self, node: YamlNode, nodes: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, nodes)
        if self._open:
            parent = self._open[-1]
            parent.children.append(node)
            parent.nodes += nodes
        else:
            self._root = node

    def _start(self, event: Any) -> None:
        if len(self._open) >= NESTING_MAX:
            raise YamlError(event.start_mark.line + 1, f"lists and maps are nested deeper than {NESTING_MAX} levels")
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)
        self._open.append(_Open(event))

    def _alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if event.anchor not in self._anchors:
            raise YamlError(line, "an alias (a text that begins with *) names nothing that is complete before it")
        node, nodes = self._anchors[event.anchor]
        self._aliased += nodes
        if self._aliased > ALIASED_NODES_MAX:
            raise YamlError(line, f"aliases add more than {ALIASED_NODES_MAX} nodes")
        self._add(node, nodes, None)


def _scalar(event: Any) -> YamlScalar:
    text = event.value
    line = event.start_mark.line + 1
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise YamlError(line, "a text holds half of a surrogate pair, which is no character")
    return YamlScalar(text, not event.style and event.tag is None, event.tag, line)


def _repeated(keys: list[YamlNode]) -> Iterator[tuple[YamlScalar, YamlScalar]]:
    last: dict[str, YamlScalar] = {}
    for key in keys:
        if isinstance(key, YamlScalar) and not _is_merge(key):
            earlier = last.get(key.text)
            if earlier is not None:
                yield earlier, key
            last[key.text] = key


def _is_merge(key: YamlNode) -> bool:
    return isinstance(key, YamlScalar) and key.text == "<<" and key.plain


def _merged(pairs: list[tuple[YamlNode, YamlNode]]) -> Iterator[tuple[YamlNode, YamlNode]]:
    for key, value in pairs:
        if not _is_merge(key):
            yield key, value
            continue
        sources = value.items if isinstance(value, YamlList) else [value]
        for source in reversed(sources):
            if not isinstance(source, YamlMap):
                raise YamlError(key.line, "'<<' takes a map, or a list of maps")
            yield from source.pairs
