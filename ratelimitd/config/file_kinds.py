"""Which kind of file a YAML file is, to tell one that was given in place of another."""

from enum import StrEnum
from typing import Final

from .yaml_nodes import YamlMap, YamlNode, YamlScalar, is_null, value_of

GATEWAY_KEYS: Final = ("policies", "routes", "upstreams")
"""Keys that a gateway file must have and a policy has not."""

OVERLAY: Final = "overlay"
"""The one key of an overlay."""


class FileKind(StrEnum):
    """The kinds that are told apart, by their top-level keys."""

    EMPTY = "empty"
    MANIFEST = "a Kubernetes manifest"
    GATEWAY = "a gateway file"
    POLICY = "a policy"
    OVERLAY = "an overlay"
    OTHER = "other"


def kind_of(node: YamlNode | None) -> FileKind:
    """Return the kind of a file's first document."""
    if node is None or is_null(node) or (isinstance(node, YamlMap) and not node.pairs):
        return FileKind.EMPTY
    if value_of(node, "apiVersion") is not None and value_of(node, "kind") is not None:
        return FileKind.MANIFEST
    if any(value_of(node, key) is not None for key in GATEWAY_KEYS):
        return FileKind.GATEWAY
    if value_of(node, "descriptors") is not None or value_of(node, "domain") is not None:
        return FileKind.POLICY
    if value_of(node, OVERLAY) is not None:
        return FileKind.OVERLAY
    return FileKind.OTHER


def top_keys(node: YamlNode) -> list[str]:
    """Return the keys of a map."""
    return [key.text for key, _ in node.pairs if isinstance(key, YamlScalar)] if isinstance(node, YamlMap) else []
