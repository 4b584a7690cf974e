"""JSON Schema of policy files and overlays, made of the tables that the parser reads them by.

A key of envoyproxy/ratelimit at another level is valid and ignored: editors show a warning there, which says where it
belongs. A key of ours at another level is an error, as it is for the parser.
"""

from collections.abc import Mapping
from typing import Final

from ratelimitd.config.file_kinds import OVERLAY as OVERLAY_KEY
from ratelimitd.config.readers import Reader, as_it_is
from ratelimitd.config.schema import (
    DRAFT,
    DURATION,
    FLAG,
    KINDS,
    LEAVES,
    TEXT,
    Schema,
    Tables,
    any_case,
    described,
    not_null,
    nullable,
    pattern,
    schema_of,
    whole_number,
)

from .about import OVERLAY, POLICY
from .fields import (
    KEY_PLACES,
    LEVELS,
    OWN_KEYS,
    TOP,
    UPSTREAM_KEYS,
    DurationReader,
    MapWithReader,
    amount,
    descriptor_key,
    key_of_callers,
    list_node,
    map_node,
    name_bytes,
    plain_flag,
    plain_name,
    positive,
    value_bytes,
)
from .limits import LIMITS_MAX, UNIT_NAMES, UNITS
from .overlay import ENTRIES_MAX, ENTRY, FILE, LEVELS_MAX, OF_DOMAIN, OF_LIMIT, domain_glob, path_reader

_TEXT: Final[Schema] = {"type": ["string", "integer", "boolean"]}
"""A scalar that is no number with a fraction, which envoyproxy/ratelimit rejects."""

_SOME_TEXT: Final[Schema] = {**_TEXT, "minLength": 1}
_SOME: Final[Schema] = {**not_null(TEXT), "minLength": 1}
_NAME: Final[Schema] = {**TEXT, **pattern("[^*]+", "a non-empty text without '*'")}


def _reference(level: str) -> Schema:
    return {"$ref": f"#/definitions/{level}"}


def _duration(reader: DurationReader) -> Schema:
    bounds: Schema = {"minimum": reader.least, "maximum": reader.most}
    return {"type": ["string", "integer"], **bounds, **pattern(DURATION, reader.wanted)}


TABLES: Final = Tables(
    kinds={
        **KINDS,
        DurationReader: lambda _, reader: _duration(reader),
        MapWithReader: lambda _, reader: _reference(reader.key),
    },
    leaves={
        **LEAVES,
        plain_name: _TEXT,
        plain_flag: FLAG,
        value_bytes: _TEXT,
        name_bytes: _TEXT,
        descriptor_key: _SOME_TEXT,
        key_of_callers: _NAME,
        amount: {"anyOf": [{"enum": ["auto"]}, whole_number(positive)]},
        domain_glob: _SOME,
        path_reader: {"type": "array", "minItems": 1, "maxItems": LEVELS_MAX, "items": _SOME},
    },
    about=OVERLAY,
    more={
        ENTRY.what: {
            "not": {"propertyNames": {"enum": sorted(ENTRY.keys.keys() - OF_LIMIT.keys() - OF_DOMAIN.keys())}}
        },
    },
)

_TIERS: Final[Schema] = {
    "type": ["object", "null"],
    "propertyNames": {"pattern": "^[^*]+$"},
    "additionalProperties": {"type": ["array", "null"], "items": _SOME},
}

_SAID: Final[Schema] = {"not": {"enum": [False, None]}}

_UNIT: Final[Schema] = {"type": "string", **pattern(any_case([*UNITS]), f"one of {UNIT_NAMES}")}

_LIMIT: Final[Schema] = {
    "if": {
        "not": {
            "anyOf": [{"required": ["concurrent"]}, {"required": ["unlimited"], "properties": {"unlimited": _SAID}}]
        }
    },
    "then": {"required": ["unit"], "properties": {"unit": _UNIT}},
}
"""What a limit needs. The unit of one that is unlimited is not read."""

_MORE: Final[Mapping[str, Schema]] = {
    TOP: {"required": ["domain"]},
    "identity": {"required": ["key"], "oneOf": [{"required": ["tiers"]}, {"required": ["tiers_file"]}]},
    "descriptors": {"required": ["key"]},
    "rate_limit": {**_LIMIT, "type": ["object", "null"]},
    "rate_limits": _LIMIT,
    "replaces": {"required": ["name"]},
}
"""What a level needs, by its name."""

_VALUES: Final[Mapping[tuple[str, str], Schema]] = {
    (TOP, "domain"): _SOME_TEXT,
    ("descriptors", "metadata"): {"type": "object"},
    ("identity", "tiers"): _TIERS,
    ("identity", "tiers_file"): not_null(TEXT),
    ("replaces", "name"): _SOME_TEXT,
    **{
        (level, "unit"): {"anyOf": [{"enum": UNIT_NAMES.split(", ")}, {"not": {"type": ["array", "object"]}}]}
        for level in ("rate_limit", "rate_limits")
    },
}
"""Schemas in place of those of the readers, by level and key."""

_BESIDE: Final[Mapping[tuple[str, str], Schema]] = {
    ("descriptors", "rate_limits"): {"minItems": 1, "maxItems": LIMITS_MAX},
    **{(level, "unit_multiplier"): {"minimum": 1} for level in ("rate_limit", "rate_limits")},
    ("rate_limits", "unlimited"): {"not": {"const": True}},
}
"""What the parser checks of a value beside its reader, likewise."""


def policy_schema() -> Schema:
    """Return the schema of a policy file."""
    return {"$schema": DRAFT, "title": "Policy of ratelimitd", **_level(TOP), "definitions": policy_definitions()}


def policy_definitions() -> dict[str, Schema]:
    """Return the definitions that the schema of a policy refers to; ``policy`` is the policy itself."""
    levels = {level: _level(level) for level in LEVELS if level != TOP}
    return {"policy": _level(TOP), **levels, "ignored": _IGNORED}


def overlay_schema() -> Schema:
    """Return the schema of an overlay."""
    made = schema_of(TABLES, FILE)
    made["properties"][OVERLAY_KEY]["maxItems"] = ENTRIES_MAX
    levels = {level: _level(level) for level in ("reserve", "queue")}
    return {"$schema": DRAFT, "title": "Overlay of ratelimitd", **made, "definitions": {**levels, "ignored": _IGNORED}}


_IGNORED: Final[Schema] = {
    "type": ["object", "array", "string", "integer", "boolean", "null"],
    "propertyNames": {"enum": sorted({*UPSTREAM_KEYS, *OWN_KEYS})},
    "properties": {"metadata": {}},
    "additionalProperties": {"$ref": "#/definitions/ignored"},
    "items": {"allOf": [{"type": "object"}, {"$ref": "#/definitions/ignored"}]},
}
"""The value of a key at a level that does not read it: known keys, lists of maps, and no number with a fraction."""


def _level(level: str) -> Schema:
    """Return the schema of a level. A key without a description is a KeyError, so each key has one."""
    keys, about, more = LEVELS[level], POLICY[level], _MORE.get(level, {})
    needed = more.get("required", ())
    made: Schema = {
        "type": "object",
        "properties": {
            key: described(_value(level, key, reader, needed=key in needed), about[key]) for key, reader in keys.items()
        },
    }
    if level != "identity":
        made["patternProperties"] = {f"^{key}$": _misplaced(key) for key in sorted(UPSTREAM_KEYS - keys.keys())}
    return {**made, "additionalProperties": False, **more}


def _value(level: str, key: str, reader: Reader, *, needed: bool) -> Schema:
    """Return the schema of a value. Of keys of envoyproxy/ratelimit null is their default."""
    made = {**(_VALUES.get((level, key)) or _of_reader(key, reader)), **_BESIDE.get((level, key), {})}
    return nullable(made) if key in UPSTREAM_KEYS and level != "identity" and not needed else made


def _of_reader(key: str, reader: Reader) -> Schema:
    if reader is list_node:
        return {"type": "array", "items": _reference(key)}
    if reader is map_node or (reader is as_it_is and key in LEVELS):
        return _reference(key)
    return schema_of(TABLES, reader)


def _misplaced(key: str) -> Schema:
    where = f"'{key}' is ignored here: write it {KEY_PLACES[key]}"
    return {"deprecationMessage": where, **({} if key == "metadata" else {"allOf": [_reference("ignored")]})}
