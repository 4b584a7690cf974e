"""``metadata`` of a descriptor: YAML to the plain values that google.protobuf.Struct holds."""

import math
from typing import Final

from ratelimitd import marked_yaml as yaml

from .errors import Notes

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]
"""JSON's values. Struct keeps numbers as doubles."""


METADATA_MAX: Final = 64 << 10
"""Characters of one descriptor's metadata: what Envoy takes in headers by default, and 5 ms to hand over."""


class _NotAStructError(ValueError):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_metadata(notes: Notes, node: yaml.Node) -> dict[str, Value] | None:
    """Read a map of anything Struct accepts; None when it is null, empty or, as then noted, wrong."""
    if isinstance(node, yaml.Scalar) and yaml.resolve(node) is None:
        return None
    if not isinstance(node, yaml.Mapping):
        notes.error(node.line, "error loading config file: 'metadata' must be a map")
        return None
    try:
        values = _struct(node) or None
    except _NotAStructError as error:
        notes.error(error.line, f"error parsing metadata: {error}")
        return None
    if len(str(values)) > METADATA_MAX:
        notes.error(
            node.line, f"metadata of more than {METADATA_MAX} characters: it is sent with every answer; shorten it"
        )
        return None
    return values


def _struct(node: yaml.Mapping) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for key, value in node.pairs:
        if not isinstance(key, yaml.Scalar):
            raise _NotAStructError(key.line, "a key must be text")
        values[key.text] = _value(value)
    return values


def _value(node: yaml.Node) -> Value:
    if isinstance(node, yaml.Mapping):
        return _struct(node)
    if isinstance(node, yaml.Sequence):
        return [_value(item) for item in node.items]
    value = yaml.resolve(node)
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotAStructError(node.line, f"{node.text} has no form in JSON; write a finite number or a text")
    return value
