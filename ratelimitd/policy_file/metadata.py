"""``metadata`` of a descriptor: from YAML to the plain values of a google.protobuf.Struct."""

import math
from typing import Final

from ratelimitd.config.problems import Notes
from ratelimitd.config.yaml_nodes import YamlList, YamlMap, YamlNode, YamlScalar, is_null, resolve

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]
"""A JSON value. Struct stores numbers as doubles."""


METADATA_MAX: Final = 64 << 10
"""Characters of one descriptor's metadata: Envoy's default limit for headers, and 5 ms to transfer."""

MESSAGES_MAX: Final = 97
"""Nesting depth in messages: protobuf, and so Envoy, accepts 100, and the response has three around the metadata.

A Struct is three messages (itself, an entry, a value), and a list is two. Envoy would treat a response that is nested
deeper as an error, and let the request pass.
"""


class _NotAStructError(ValueError):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_metadata(notes: Notes, node: YamlNode) -> dict[str, Value] | None:
    """Read a map of values that Struct accepts; None if it is null, empty or invalid, which is noted."""
    if is_null(node):
        return None
    if not isinstance(node, YamlMap):
        notes.error(node.line, "error loading config file: 'metadata' must be a map")
        return None
    try:
        values = _struct(node, MESSAGES_MAX) or None
    except _NotAStructError as error:
        notes.error(error.line, f"error parsing metadata: {error}")
        return None
    if len(str(values)) > METADATA_MAX:
        notes.error(
            node.line, f"'metadata' has more than {METADATA_MAX} characters: it is sent with every response; shorten it"
        )
        return None
    return values


def _struct(node: YamlMap, room: int) -> dict[str, Value]:
    room = _deeper(node, room, 3)
    values: dict[str, Value] = {}
    for key, value in node.pairs:
        if not isinstance(key, YamlScalar):
            raise _NotAStructError(key.line, "a key must be text")
        values[key.text] = _value(value, room)
    return values


def _value(node: YamlNode, room: int) -> Value:
    if isinstance(node, YamlMap):
        return _struct(node, room)
    if isinstance(node, YamlList):
        room = _deeper(node, room, 2)
        return [_value(item, room) for item in node.items]
    value = resolve(node)
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotAStructError(node.line, f"{node.text} cannot be represented in JSON; write a finite number or a text")
    return value


def _deeper(node: YamlNode, room: int, messages: int) -> int:
    if messages > room:
        raise _NotAStructError(
            node.line,
            "nested deeper than Envoy accepts: at most 32 maps or 47 lists within one another",
        )
    return room - messages
