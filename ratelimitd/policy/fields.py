"""The keys a policy file may hold, level by level, and how each value is read.

envoyproxy/ratelimit checks keys flat: one of its keys at the wrong level is legal and means nothing, and the same
holds here. A key of ours at the wrong level is an error, since nobody has files that rely on it.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.config.problems import Notes
from ratelimitd.config.yaml_nodes import BINARY_TAG, YamlList, YamlMap, YamlNode, YamlScalar, resolve

from .model import OnStoreFailure

UINT32_MAX: Final = (1 << 32) - 1
"""``requests_per_unit`` is a uint32 in envoy/service/ratelimit/v3/rls.proto."""

SHOWN_MAX: Final = 200
"""Characters of a wrong value that an error repeats: enough to find it, short enough for a log line."""

Fields = dict[str, Any]
"""Values of one map by key. A key that is absent, null or wrong is not in it."""

Reader = Callable[[YamlNode], Any]
"""Makes a value of a node, or raises WrongValueError with what it should be."""

UPSTREAM_KEYS: Final = frozenset(
    {
        *("domain", "descriptors"),
        *("key", "value", "rate_limit", "metadata", "shadow_mode", "quota_mode"),
        *("detailed_metric", "value_to_metric", "share_threshold"),
        *("unit", "requests_per_unit", "unlimited", "name", "replaces"),
    }
)

OWN_KEYS: Final[Mapping[str, str]] = {
    "default_algorithm": "at the top of the file, beside 'domain'",
    "all_or_nothing": "at the top of the file, beside 'domain'",
    "identity": "at the top of the file, beside 'domain'",
    "otherwise": "in 'identity'",
    "tiers": "in 'identity'",
    "tiers_file": "in 'identity'",
    "ipv6_prefix": "in 'identity'",
    "rate_limits": "in a descriptor",
    "on_store_failure": "in a descriptor, or in an item of 'rate_limits'",
    "algorithm": "in 'rate_limit', or in an item of 'rate_limits'",
    "burst": "in 'rate_limit', or in an item of 'rate_limits'",
    "unit_multiplier": "in 'rate_limit', or in an item of 'rate_limits'",
    "count_rejected": "in 'rate_limit', or in an item of 'rate_limits'",
}
"""Keys envoyproxy/ratelimit does not have, and where each is to be written."""


class WrongValueError(ValueError):
    """Says what a value should be, not what it is."""


Level = Mapping[str, Reader]
"""One kind of map: the keys that mean something in it, each with its reader."""


def _scalar(node: YamlNode, wanted: str) -> YamlScalar:
    if not isinstance(node, YamlScalar):
        raise WrongValueError(f"{wanted}, not a {'list' if isinstance(node, YamlList) else 'map'}")
    return node


def _text(node: YamlNode) -> str:
    return _scalar(node, "text").text


def octets(node: YamlNode) -> bytes:
    """Read text as bytes, base64 where its tag is !!binary; raises WrongValueError."""
    scalar = _scalar(node, "text")
    if scalar.tag != BINARY_TAG:
        return scalar.text.encode()
    try:
        return base64.b64decode("".join(scalar.text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise WrongValueError("base64, as its tag !!binary says") from None


def _flag(node: YamlNode) -> bool:
    value = resolve(_scalar(node, "true or false"))
    if not isinstance(value, bool):
        raise WrongValueError("true or false (without quotes)")
    return value


def whole(node: YamlNode, least: int, most: int) -> int:
    """Read a whole number within bounds; raises WrongValueError."""
    wanted = f"a whole number from {least} to {most}"
    value = resolve(_scalar(node, wanted))
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise WrongValueError(f"{wanted} (without quotes)")
    return value


def _count(node: YamlNode) -> int:
    return whole(node, 0, UINT32_MAX)


def _on_store_failure(node: YamlNode) -> OnStoreFailure:
    names = [member.name.lower() for member in OnStoreFailure]
    text = _text(node)
    if text not in names:
        raise WrongValueError(f"one of {', '.join(names)}")
    return OnStoreFailure[text.upper()]


def _algorithm(node: YamlNode) -> str:
    text = _text(node)
    if text not in ALGORITHMS:
        raise WrongValueError(f"one of {', '.join(ALGORITHMS)}")
    return text


def _list(node: YamlNode) -> YamlList:
    if not isinstance(node, YamlList):
        raise WrongValueError("a list")
    return node


def _map(node: YamlNode) -> YamlMap:
    if not isinstance(node, YamlMap):
        raise WrongValueError("a map")
    return node


def _as_it_is(node: YamlNode) -> YamlNode:
    return node


REPLACED: Final[Level] = {"name": _text}
LIMIT: Final[Level] = {
    "unit": _text,
    "requests_per_unit": _count,
    "unlimited": _flag,
    "name": _text,
    "replaces": _list,
    "algorithm": _algorithm,
    "burst": _count,
    "unit_multiplier": _count,
    "count_rejected": _flag,
}
ITEM: Final[Level] = {**LIMIT, "shadow_mode": _flag, "quota_mode": _flag, "on_store_failure": _on_store_failure}
DESCRIPTOR: Final[Level] = {
    "key": octets,
    "value": octets,
    "rate_limit": _map,
    "rate_limits": _list,
    "descriptors": _list,
    "shadow_mode": _flag,
    "quota_mode": _flag,
    "detailed_metric": _flag,
    "value_to_metric": _flag,
    "share_threshold": _flag,
    "metadata": _as_it_is,
    "on_store_failure": _on_store_failure,
}
ROOT: Final[Level] = {
    "domain": octets,
    "descriptors": _list,
    "default_algorithm": _algorithm,
    "all_or_nothing": _flag,
    "identity": _as_it_is,
}


def read_fields(notes: Notes, node: YamlMap, level: Level) -> Fields:
    """Check every key of a map and read those that mean something at this level; what is wrong is noted."""
    values: dict[str, tuple[int, YamlNode]] = {}
    for key_node, value in node.pairs:
        key = _key(notes, key_node)
        if key is not None:
            values[key] = (key_node.line, value)
    fields: Fields = {}
    for key, (line, value) in values.items():
        reader = level.get(key)
        if reader is not None:
            _read(notes, key, value, reader, fields)
        elif key in OWN_KEYS:
            notes.error(line, f"config error, '{key}' means nothing here: write it {OWN_KEYS[key]}")
        elif key != "metadata":
            _skim(notes, value)
    return fields


def maps_of(notes: Notes, items: YamlList) -> list[YamlMap]:
    """Return the items of a list that has to hold maps; others are noted."""
    maps = []
    for item in items.items:
        if isinstance(item, YamlMap):
            maps.append(item)
        else:
            notes.error(item.line, f"config error, yaml file contains list of type other than map: {shown(item)}")
    return maps


def shown(node: YamlNode) -> str:
    """Show a node in an error, a scalar as Go would print it."""
    if not isinstance(node, YamlScalar):
        return "a list" if isinstance(node, YamlList) else "a map"
    value = resolve(node)
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return str(value).lower()
    return (str(value) if isinstance(value, int) else node.text)[:SHOWN_MAX]


def _key(notes: Notes, node: YamlNode) -> str | None:
    if not isinstance(node, YamlScalar) or not isinstance(resolve(node), str):
        notes.error(node.line, f"config error, key is not of type string: {shown(node)}")
        return None
    if node.text not in UPSTREAM_KEYS and node.text not in OWN_KEYS:
        notes.error(node.line, f"config error, unknown key '{node.text[:SHOWN_MAX]}'")
        return None
    return node.text


def _read(notes: Notes, key: str, node: YamlNode, reader: Reader, fields: Fields) -> None:
    if isinstance(node, YamlScalar) and reader is not _as_it_is:
        value = resolve(node)
        if value is None:
            return
        if isinstance(value, float):
            notes.error(node.line, "error checking config")
            return
    try:
        fields[key] = reader(node)
    except WrongValueError as wrong:
        before = len(notes.errors)
        _skim(notes, node)
        if len(notes.errors) == before:
            notes.error(node.line, f"error loading config file: '{key}' must be {wrong}")


def _skim(notes: Notes, node: YamlNode) -> None:
    """Check what is read by nobody as envoyproxy/ratelimit checks it: keys, lists and kinds of leaves."""
    if isinstance(node, YamlMap):
        for key_node, value in node.pairs:
            if _key(notes, key_node) not in (None, "metadata"):
                _skim(notes, value)
    elif isinstance(node, YamlList):
        for item in maps_of(notes, node):
            _skim(notes, item)
    elif isinstance(resolve(node), float):
        notes.error(node.line, "error checking config")
