"""``identity`` of a domain: from YAML to an Identity.

No error here quotes the file: a misplaced value may be an API key.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import MapReader, WrongValueError
from ratelimitd.config.yaml_nodes import (
    BINARY_TAG,
    YamlError,
    YamlList,
    YamlMap,
    YamlNode,
    YamlScalar,
    is_null,
    load_yaml,
    value_of,
)
from ratelimitd.policy import Identity

from .fields import LEVELS, name_without_star, value_bytes

REMOTE_ADDRESS: Final = b"remote_address"
"""Descriptor key of Envoy's action of that name."""

IPV6_PREFIX: Final = 64
"""Bits: the smallest network that a site is assigned (RFC 6177), so one caller cannot leave it by changing address."""

DIGEST: Final = "sha256:"
"""Prefix of a key that is given by its SHA-256, in hex."""

_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")

Beside = Callable[[str, str], tuple[str, bytes]]
"""From the name of a policy file and its ``tiers_file`` to (name, content) of the tiers file; raises OSError."""


class TiersFile(NamedTuple):
    """A tiers file that a policy file names; ``failure``: why it could not be read."""

    name: str
    content: bytes
    failure: str = ""


def named_file(root: YamlNode | None) -> str | None:
    """Return the ``tiers_file`` of a policy file if it has one that is text, else None."""
    identity = value_of(root, "identity")
    name = value_of(identity, "tiers_file")
    return name.text if isinstance(name, YamlScalar) and not is_null(name) else None


def read_identity(notes: Notes, node: YamlNode, side: TiersFile | None) -> Identity | None:
    """Read an ``identity``; None if it is invalid, which is noted. ``side`` is its ``tiers_file``."""
    before = len(notes.errors)
    fields = IDENTITY(notes, node)
    key, otherwise = fields.get("key", b""), fields.get("otherwise", REMOTE_ADDRESS)
    if len(notes.errors) == before:
        if not key:
            notes.error(node.line, "'identity' requires 'key': the descriptor key whose values are API keys")
        elif key == otherwise:
            notes.error(node.line, "'key' and 'otherwise' of 'identity' must differ")
        if ("tiers" in fields) == ("tiers_file" in fields):
            notes.error(node.line, "'identity' requires one of 'tiers' and 'tiers_file', not both")
        elif "tiers_file" in fields and side is None:
            notes.error(fields["tiers_file"].line, "'tiers_file' of 'identity' must be a file name")
    if len(notes.errors) > before:
        return None
    tiers = _beside(notes, fields["tiers_file"], side) if side else _tiers(notes, fields["tiers"])
    return Identity(key, otherwise, fields.get("ipv6_prefix", IPV6_PREFIX), tiers)


IDENTITY: Final = MapReader("'identity'", LEVELS["identity"], null_is_absent=False, quoted=False)


def _beside(notes: Notes, named: YamlNode, side: TiersFile) -> dict[bytes, bytes]:
    """Read the tiers of a tiers file; its errors are noted under its name."""
    if side.failure:
        notes.error(named.line, f"'tiers_file' {side.failure}")
        return {}
    policy_file, notes.file = notes.file, side.name
    try:
        node = load_yaml(side.content)
    except YamlError as error:
        notes.error(error.line, "not valid YAML: a tiers file is a map from each tier to its list of keys")
    else:
        return _tiers(notes, node or YamlMap([], 1))
    finally:
        notes.file = policy_file
    return {}


def _tiers(notes: Notes, node: YamlNode) -> dict[bytes, bytes]:
    """Read a map from tiers to lists of keys; return the tier by the SHA-256 of each key."""
    tiers: dict[bytes, bytes] = {}
    if is_null(node):
        node = YamlMap([], node.line)
    if not isinstance(node, YamlMap):
        notes.error(node.line, "tiers must be a map from each tier to its list of keys")
        return tiers
    for name, keys in node.pairs:
        try:
            tier = name_without_star(notes, name)
            for digest, line in _digests(notes, keys):
                if tiers.setdefault(digest, tier) != tier:
                    notes.error(line, "this key is also in another tier: keep it in one")
        except _KeyError as wrong:
            notes.error(wrong.line, str(wrong))
        except WrongValueError as wrong:
            notes.error(name.line, f"a tier name must be {wrong}")
    return tiers


class _KeyError(ValueError):
    """An invalid key: the error and its line, without the key."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _digests(notes: Notes, node: YamlNode) -> list[tuple[bytes, int]]:
    if is_null(node):
        return []
    if not isinstance(node, YamlList):
        raise _KeyError(node.line, "a tier must be a list of keys: write each as '- key' or '- sha256:<hex>'")
    return [(_digest(notes, item), item.line) for item in node.items]


def _digest(notes: Notes, node: YamlNode) -> bytes:
    if not isinstance(node, YamlScalar) or is_null(node) or not node.text:
        raise _KeyError(node.line, "a key must be a non-empty text")
    if node.tag != BINARY_TAG and node.text.startswith(DIGEST):
        written = node.text.removeprefix(DIGEST)
        if _HEX.fullmatch(written) is None:
            raise _KeyError(node.line, "'sha256:' must be followed by the 64 hex digits of the key's SHA-256")
        return bytes.fromhex(written)
    try:
        return sha256(value_bytes(notes, node)).digest()
    except WrongValueError as wrong:
        raise _KeyError(node.line, f"a key must be {wrong}") from None
