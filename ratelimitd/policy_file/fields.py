"""The keys of a policy file, level by level, and the parser of each value.

envoyproxy/ratelimit does not check the level of keys: one of its keys at the wrong level is allowed and ignored, and
so it is here. One of our own keys at the wrong level is an error, since no existing file relies on it.
"""

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Final

from ratelimitd.algorithms import ALGORITHMS, HOLDS_MOST, SECOND
from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import (
    SHOWN_MAX,
    Fields,
    Keys,
    Reader,
    WrongValueError,
    as_it_is,
    as_name,
    as_value,
    flag,
    number,
    parsed,
    scalar,
)
from ratelimitd.config.suggest import did_you_mean
from ratelimitd.config.values import UINT32_MAX, positive_duration
from ratelimitd.config.yaml_nodes import BINARY_TAG, YamlList, YamlMap, YamlNode, YamlScalar, resolve
from ratelimitd.policy import LEASE, STAR, Charging, OnStoreFailure

UPSTREAM_KEYS: Final = frozenset(
    {
        *("domain", "descriptors"),
        *("key", "value", "rate_limit", "metadata", "shadow_mode", "quota_mode"),
        *("detailed_metric", "value_to_metric", "share_threshold"),
        *("unit", "requests_per_unit", "unlimited", "name", "replaces"),
    }
)


def value_bytes(_notes: Notes, node: YamlNode) -> bytes:
    """Read a value as bytes, from base64 if its tag is !!binary: then it may have any. Raises WrongValueError."""
    written = scalar(node, "text")
    if written.tag != BINARY_TAG:
        return as_value(written.text).encode()
    try:
        return base64.b64decode("".join(written.text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise WrongValueError("base64, as the !!binary tag requires") from None


def name_without_star(notes: Notes, node: YamlNode) -> bytes:
    """Read a name that is not a pattern. Raises WrongValueError."""
    name = name_bytes(notes, node)
    if not name or STAR in name:
        raise WrongValueError("a non-empty text without '*'")
    return name


def name_bytes(notes: Notes, node: YamlNode) -> bytes:
    """Read a name as bytes, also from !!binary. Raises WrongValueError."""
    octets = value_bytes(notes, node)
    as_name(octets.decode(errors="replace"))
    return octets


def _name(_notes: Notes, node: YamlNode) -> str:
    return as_name(scalar(node, "text").text)


def _flag(notes: Notes, node: YamlNode) -> bool:
    return flag(notes, scalar(node, "true or false"))


def _one_of(node: YamlNode, names: Collection[str]) -> str:
    text = scalar(node, "text").text
    if text not in names:
        raise WrongValueError(f"one of {', '.join(names)}")
    return text


def _algorithm(_notes: Notes, node: YamlNode) -> str:
    return _one_of(node, ALGORITHMS)


def _on_store_failure(_notes: Notes, node: YamlNode) -> OnStoreFailure:
    return OnStoreFailure[_one_of(node, [member.name.lower() for member in OnStoreFailure]).upper()]


def _charging(_notes: Notes, node: YamlNode) -> Charging:
    return Charging[_one_of(node, [member.name.lower() for member in Charging if member]).upper()]


def _descriptor_key(notes: Notes, node: YamlNode) -> bytes:
    """Read the key of a descriptor. Raises WrongValueError."""
    return _matched(name_bytes(notes, node))


def _key_of_callers(notes: Notes, node: YamlNode) -> bytes:
    """Read a key of ``identity``. Raises WrongValueError."""
    return _matched(name_without_star(notes, node))


def _matched(key: bytes) -> bytes:
    if key == LEASE:
        raise WrongValueError(
            f"another key: entries with '{LEASE.decode()}' are removed before a descriptor is matched"
        )
    return key


def _list(_notes: Notes, node: YamlNode) -> YamlList:
    if not isinstance(node, YamlList):
        raise WrongValueError("a list")
    return node


def _map(_notes: Notes, node: YamlNode) -> YamlMap:
    if not isinstance(node, YamlMap):
        raise WrongValueError("a map")
    return node


def _map_with(key: str, first: str) -> Reader:
    """Make a reader of the map of a key, whose ``first`` key is a number of which a bare one is meant."""

    def read(notes: Notes, node: YamlNode) -> YamlMap:
        try:
            return _map(notes, node)
        except WrongValueError as wrong:
            number = node.text if isinstance(node, YamlScalar) and node.text.isdecimal() else "10"
            raise WrongValueError(
                f"{wrong}: write {key}: {{{first}: {number[:SHOWN_MAX]}}}, or {key}: {{}} for the defaults"
            ) from None

    return read


_positive: Final = number(1, UINT32_MAX)


def _amount(notes: Notes, node: YamlNode) -> int:
    """Read what a request holds; 0 stands for ``auto``. Raises WrongValueError."""
    if scalar(node, "text").text == "auto":
        return 0
    try:
        return int(_positive(notes, node))
    except WrongValueError as wrong:
        raise WrongValueError(f"auto, or {wrong}") from None


def _ttl(_notes: Notes, node: YamlNode) -> int:
    """Read how long a hold lasts at most, in µs. Raises WrongValueError."""
    wanted = "a duration from 1s to 24h, such as 300s or 10m"
    seconds: float = parsed(positive_duration, wanted)(_notes, node)
    if not 1 <= seconds <= TTL_MOST:
        raise WrongValueError(wanted)
    return round(seconds * SECOND)


TTL_MOST: Final = 86_400
"""Seconds that a hold lasts at most: no answer takes a day, and what is held for ever is lost."""


def _wait(_notes: Notes, node: YamlNode) -> int:
    """Read how long a request waits at most, in µs. Raises WrongValueError."""
    wanted = "a duration from 10ms to 1h, such as 10s or 500ms"
    seconds: float = parsed(positive_duration, wanted)(_notes, node)
    if not WAIT_LEAST <= seconds <= WAIT_MOST:
        raise WrongValueError(wanted)
    return round(seconds * SECOND)


WAIT_LEAST, WAIT_MOST = 0.01, 3_600
"""Seconds that a request waits at most: 10 ms are a turn of a busy event loop, and no client waits an hour."""

LENGTH_MOST: Final = 10_000
"""Requests that wait for a counter at most: as many as the proxy has connections by default."""

_count: Final = number(0, UINT32_MAX)
"""``requests_per_unit`` is a uint32 in envoy/service/ratelimit/v3/rls.proto."""

_LIMIT: Final[Keys] = {
    "unit": _name,
    "requests_per_unit": _count,
    "unlimited": _flag,
    "name": _name,
    "replaces": _list,
    "algorithm": _algorithm,
    "burst": _count,
    "unit_multiplier": _count,
    "count_rejected": _flag,
    "charge": _charging,
    "reserve": _map_with("reserve", "amount"),
    "concurrent": number(0, HOLDS_MOST),
    "ttl": _ttl,
    "queue": _map_with("queue", "length"),
}

NOT_ALLOWED: Final = "error checking config"
"""Text of envoyproxy/ratelimit for a value that is neither text, nor a whole number, nor a bool."""

FRACTION: Final = "; for 0.5 a second write 30 a minute"

TOP: Final = "the top of the file"

LEVELS: Final[Mapping[str, Keys]] = {
    TOP: {
        "domain": name_bytes,
        "descriptors": _list,
        "default_algorithm": _algorithm,
        "default_charge": _charging,
        "all_or_nothing": _flag,
        "identity": as_it_is,
    },
    "identity": {
        "key": _key_of_callers,
        "otherwise": _key_of_callers,
        "tiers": as_it_is,
        "tiers_file": as_it_is,
        "ipv6_prefix": number(1, 128),
    },
    "descriptors": {
        "key": _descriptor_key,
        "value": value_bytes,
        "rate_limit": _map,
        "rate_limits": _list,
        "descriptors": _list,
        "shadow_mode": _flag,
        "quota_mode": _flag,
        "detailed_metric": _flag,
        "value_to_metric": _flag,
        "share_threshold": _flag,
        "metadata": as_it_is,
        "on_store_failure": _on_store_failure,
    },
    "rate_limit": _LIMIT,
    "rate_limits": {**_LIMIT, "shadow_mode": _flag, "quota_mode": _flag, "on_store_failure": _on_store_failure},
    "replaces": {"name": _name},
    "reserve": {"amount": _amount, "start": _positive, "ttl": _ttl},
    "queue": {"length": number(1, LENGTH_MOST), "timeout": _wait},
}
"""The keys of a map, by the key whose value is the map or a list of such maps.

Below ``metadata`` and ``tiers`` any key is allowed.
"""

PLACES: Final[Mapping[str, str]] = {
    TOP: "at the top of the file, next to 'domain'",
    "identity": "in 'identity'",
    "descriptors": "in a descriptor",
    "rate_limit": "in 'rate_limit'",
    "rate_limits": "in an item of 'rate_limits'",
    "replaces": "in an item of 'replaces'",
    "reserve": "in 'reserve'",
    "queue": "in 'queue'",
}
"""The places of the levels, as errors and warnings name them."""

KEY_PLACES: Final[Mapping[str, str]] = {
    key: ", or ".join(place for level, place in PLACES.items() if key in LEVELS[level])
    for level in PLACES
    for key in LEVELS[level]
}
"""Where each key is allowed."""

OWN_KEYS: Final[Mapping[str, str]] = {key: places for key, places in KEY_PLACES.items() if key not in UPSTREAM_KEYS}
"""Keys that envoyproxy/ratelimit does not have, and where each is allowed."""


_ALL_KEYS: Final = (*sorted(UPSTREAM_KEYS), *OWN_KEYS)


def read_fields(notes: Notes, node: YamlMap, level: str) -> Fields:
    """Check every key of a map, and read those of this level; errors are noted."""
    given: dict[str, tuple[int, YamlNode]] = {}
    for key_node, value in node.pairs:
        key = _key(notes, key_node)
        if key is not None:
            given[key] = (key_node.line, _from_its_key(key_node.line, value))
    keys, fields = LEVELS[level], Fields()
    for key, (line, value) in given.items():
        reader = keys.get(key)
        if reader is not None:
            _read(notes, key, value, reader, fields)
        elif key in OWN_KEYS:
            notes.error(line, f"config error, '{key}' is not allowed here: write it {OWN_KEYS[key]}")
        elif key != "metadata":
            _skim(notes, value)
    return fields


def _from_its_key(line: int, value: YamlNode) -> YamlNode:
    """Return a map below its key as one that begins there, as a person says; not one of an anchor, which is above."""
    return value._replace(line=line) if isinstance(value, YamlMap) and value.line > line else value


def maps_of(notes: Notes, items: YamlList) -> list[YamlMap]:
    """Return the items of a list of maps; an item that is not a map is noted as an error."""
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
        hint = did_you_mean(node.text[:SHOWN_MAX], _ALL_KEYS)
        notes.error(node.line, f"config error, unknown key '{node.text[:SHOWN_MAX]}'{hint}")
        return None
    return node.text


INSTEAD_OF_NOTHING: Final[Mapping[str, str]] = {
    "reserve": "write reserve: {} for the defaults",
    "queue": "write queue: {} for the defaults",
}
"""By key, what to write in place of no value. Of the keys of envoyproxy/ratelimit it is their default; of one of ours
it would leave out what is meant, such as a limit on requests in progress."""


def _read(notes: Notes, key: str, node: YamlNode, reader: Reader, fields: Fields) -> None:
    if isinstance(node, YamlScalar) and reader is not as_it_is:
        value = resolve(node)
        if value is None:
            if key in OWN_KEYS:
                instead = INSTEAD_OF_NOTHING.get(key, "give it a value")
                notes.error(node.line, f"'{key}' is empty: {instead}, or remove it")
            return
        if isinstance(value, float):
            notes.error(node.line, f"{NOT_ALLOWED}: '{key}' must be {_instead(notes, key, node, reader)}")
            return
    try:
        fields[key] = reader(notes, node)
    except WrongValueError as wrong:
        before = len(notes.errors)
        _skim(notes, node)
        if len(notes.errors) == before:
            notes.error(node.line, f"error loading config file: '{key}' must be {wrong}")


def _instead(notes: Notes, key: str, node: YamlScalar, reader: Reader) -> str:
    """Return what to write in place of a number that is not whole."""
    try:
        reader(notes, node)
    except WrongValueError as wrong:
        return f"{wrong}{FRACTION if key == 'requests_per_unit' else ''}"
    return f"text: write '{node.text[:SHOWN_MAX]}', with the quotes"


def _skim(notes: Notes, node: YamlNode) -> None:
    """Check an ignored value as envoyproxy/ratelimit does: keys, lists and types of leaves."""
    if isinstance(node, YamlMap):
        for key_node, value in node.pairs:
            if _key(notes, key_node) not in (None, "metadata"):
                _skim(notes, value)
    elif isinstance(node, YamlList):
        for item in maps_of(notes, node):
            _skim(notes, item)
    elif isinstance(resolve(node), float):
        notes.error(node.line, f"{NOT_ALLOWED}: write {node.text[:SHOWN_MAX]} in quotes")
