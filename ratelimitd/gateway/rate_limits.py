"""``rate_limits`` of a route: Envoy's route.v3.RateLimit, read by Envoy's names."""

from collections.abc import Callable
from typing import Any, Final

from ratelimitd.config.problems import Notes
from ratelimitd.config.yaml_nodes import YamlMap, YamlNode, YamlScalar
from ratelimitd.policy import Unit
from ratelimitd.policy.fields import UINT32_MAX, WrongValueError

from .fields import (
    Fields,
    Level,
    Reader,
    any_text,
    flag,
    header_name,
    list_of,
    number,
    octets,
    only_one,
    plain,
    read_map,
    text,
)
from .matching import TEXT_KINDS, PatternError, regex
from .model import (
    Action,
    DestinationCluster,
    EnvoyOnly,
    GenericKey,
    HeaderMatch,
    HeaderValueMatch,
    MaskedRemoteAddress,
    QueryMatch,
    QueryParameters,
    QueryParameterValueMatch,
    RateLimit,
    RemoteAddress,
    RequestHeaders,
    SourceCluster,
    TextMatch,
)

UINT64_MAX: Final = (1 << 64) - 1
"""``hits_addend`` is a UInt64Value; YAML's whole numbers end at an int64 here, which is more than any limit holds."""


def pattern(notes: Notes, node: YamlNode) -> str:
    """Read an RE2 expression."""
    written = text(notes, node)
    try:
        regex(written)
    except PatternError as error:
        raise WrongValueError(f"an RE2 expression ({error})") from None
    return written


def _safe_regex(notes: Notes, node: YamlNode) -> str:
    level: Level = {"regex": pattern, "google_re2": _ignored}
    return str(read_map(notes, node, "'safe_regex'", level, "regex").get("regex", ""))


def _ignored(_notes: Notes, _node: YamlNode) -> None:
    """Google RE2 is what both use; the field is an older way to ask for it."""


_STRING_MATCH: Final[Level] = {
    **dict.fromkeys(TEXT_KINDS[:-1], any_text),
    "safe_regex": _safe_regex,
    "ignore_case": flag,
}


def _string_match(notes: Notes, node: YamlNode) -> TextMatch | None:
    fields = read_map(notes, node, "'string_match'", _STRING_MATCH)
    kind = only_one(notes, node, "'string_match'", fields, *TEXT_KINDS[:-1], "safe_regex")
    if kind is None:
        notes.error(node.line, f"'string_match' needs one of {', '.join(TEXT_KINDS[:-1])}, safe_regex")
        return None
    return TextMatch("regex" if kind == "safe_regex" else kind, fields[kind], fields.get("ignore_case", False))


_ENVOY_HEADER: Final[Level] = {
    "name": header_name,
    "string_match": _string_match,
    "present_match": flag,
    "invert_match": flag,
    "treat_missing_header_as_empty": flag,
}
_HEADER: Final[Level] = {
    **_ENVOY_HEADER,
    **dict.fromkeys(TEXT_KINDS[:-1], any_text),
    "regex": pattern,
    "present": flag,
    "invert": flag,
}
"""Shorter names in a route's match, which is not Envoy's."""


def header_match(notes: Notes, node: YamlNode) -> HeaderMatch:
    """Read a matcher of a header in a route, in Envoy's words or as ``{name: …, exact: …}``."""
    return _header(notes, node, _HEADER)


def _envoy_header(notes: Notes, node: YamlNode) -> HeaderMatch:
    return _header(notes, node, _ENVOY_HEADER)


def _header(notes: Notes, node: YamlNode, level: Level) -> HeaderMatch:
    fields = read_map(notes, node, "a header to match", level, "name")
    kinds = ("string_match", *TEXT_KINDS, "present_match", "present")
    kind = only_one(notes, node, "a header to match", fields, *(kind for kind in kinds if kind in level))
    match = fields.get("string_match")
    if kind in TEXT_KINDS:
        match = TextMatch(str(kind), fields[str(kind)])
    present = fields.get("present_match", True) and fields.get("present", True)
    invert = fields.get("invert_match", False) or fields.get("invert", False)
    return HeaderMatch(
        fields.get("name", b""), match, present, invert, fields.get("treat_missing_header_as_empty", False)
    )


_QUERY: Final[Level] = {"name": octets, "string_match": _string_match, "present_match": flag}


def _query_match(notes: Notes, node: YamlNode) -> QueryMatch:
    fields = read_map(notes, node, "a query parameter to match", _QUERY, "name")
    only_one(notes, node, "a query parameter to match", fields, "string_match", "present_match")
    return QueryMatch(fields.get("name", b""), fields.get("string_match"), fields.get("present_match", True))


_VALUE: Final[Level] = {"descriptor_key": octets, "descriptor_value": octets, "expect_match": flag}


def _generic_key(fields: Fields) -> Action:
    return GenericKey(fields.get("descriptor_key", b"generic_key"), fields["descriptor_value"])


def _request_headers(fields: Fields) -> Action:
    return RequestHeaders(fields["header_name"], fields["descriptor_key"], fields.get("skip_if_absent", False))


def _query_parameters(fields: Fields) -> Action:
    skip = fields.get("skip_if_absent", False)
    return QueryParameters(fields["query_parameter_name"], fields["descriptor_key"], skip)


def _masked(fields: Fields) -> Action:
    return MaskedRemoteAddress(fields.get("v4_prefix_mask_len", 32), fields.get("v6_prefix_mask_len", 128))


def _header_value_match(fields: Fields) -> Action:
    key = fields.get("descriptor_key", b"header_match")
    return HeaderValueMatch(key, fields["descriptor_value"], fields.get("expect_match", True), fields["headers"])


def _query_parameter_value_match(fields: Fields) -> Action:
    key, expect = fields.get("descriptor_key", b"query_match"), fields.get("expect_match", True)
    return QueryParameterValueMatch(key, fields["descriptor_value"], expect, fields["query_parameters"])


_Form = tuple[Level, tuple[str, ...], Callable[[Fields], Action]]

_ACTIONS: Final[dict[str, _Form]] = {
    "generic_key": (
        {"descriptor_value": octets, "descriptor_key": octets},
        ("descriptor_value",),
        _generic_key,
    ),
    "request_headers": (
        {"header_name": header_name, "descriptor_key": octets, "skip_if_absent": flag},
        ("header_name", "descriptor_key"),
        _request_headers,
    ),
    "query_parameters": (
        {"query_parameter_name": octets, "descriptor_key": octets, "skip_if_absent": flag},
        ("query_parameter_name", "descriptor_key"),
        _query_parameters,
    ),
    "remote_address": ({}, (), lambda _: RemoteAddress()),
    "masked_remote_address": (
        {"v4_prefix_mask_len": number(0, 32), "v6_prefix_mask_len": number(0, 128)},
        (),
        _masked,
    ),
    "header_value_match": (
        {**_VALUE, "headers": list_of(_envoy_header, least=1)},
        ("descriptor_value", "headers"),
        _header_value_match,
    ),
    "query_parameter_value_match": (
        {**_VALUE, "query_parameters": list_of(_query_match, least=1)},
        ("descriptor_value", "query_parameters"),
        _query_parameter_value_match,
    ),
    "destination_cluster": ({}, (), lambda _: DestinationCluster()),
    "source_cluster": ({}, (), lambda _: SourceCluster()),
}

_ENVOY_ACTIONS: Final = ("dynamic_metadata", "metadata", "extension", "remote_address_match")
_ENVOY_FIELDS: Final = ("disable_key", "apply_on_stream_done", "x_ratelimit_option")


class RateLimitReader:
    """Reads rate limits; ``for_envoy`` keeps what only Envoy can do, which is an error otherwise."""

    def __init__(self, *, for_envoy: bool) -> None:
        self._for_envoy = for_envoy

    def read(self, notes: Notes, node: YamlNode) -> RateLimit | None:
        """Read one item of ``rate_limits``; None when it is wrong, which is then noted."""
        level: dict[str, Reader] = {
            "actions": list_of(self._action, least=1),
            "hits_addend": self._hits,
            "limit": self._limit,
            "stage": number(0, 10),
            **dict.fromkeys(_ENVOY_FIELDS, _as_it_is),
        }
        before = len(notes.errors)
        fields = read_map(notes, node, "an item of 'rate_limits'", level, "actions")
        for key in (*_ENVOY_FIELDS, *(("stage",) if fields.get("stage") else ())):
            if key in fields:
                self._only_envoy(notes, fields[key].line if key != "stage" else node.line, key)
        if len(notes.errors) > before:
            return None
        hits: Fields = fields.get("hits_addend", {})
        negative = hits.get("is_negative_hits", False)
        return RateLimit(fields["actions"], hits.get("number"), negative, fields.get("limit"), plain(node))

    def _only_envoy(self, notes: Notes, line: int, what: str) -> None:
        if not self._for_envoy:
            notes.error(line, f"'{what}' is something only Envoy can do: leave it out, or use Envoy before this file")

    def _action(self, notes: Notes, node: YamlNode) -> Action | None:
        if not isinstance(node, YamlMap) or len(node.pairs) != 1:
            raise WrongValueError("a map with one action, such as {remote_address: {}}")
        ((name, value),) = node.pairs
        kind = name.text if isinstance(name, YamlScalar) else ""
        if kind in _ENVOY_ACTIONS:
            self._only_envoy(notes, name.line, kind)
            return EnvoyOnly(kind)
        if kind not in _ACTIONS:
            known = ", ".join((*_ACTIONS, *(_ENVOY_ACTIONS if self._for_envoy else ())))
            notes.error(name.line, f"unknown action '{kind[:50]}': there are {known}")
            return None
        level, needed, make = _ACTIONS[kind]
        before = len(notes.errors)
        fields = read_map(notes, value, f"'{kind}'", level, *needed)
        return make(fields) if len(notes.errors) == before and all(key in fields for key in needed) else None

    def _hits(self, notes: Notes, node: YamlNode) -> Fields:
        level: Level = {"number": number(0, UINT64_MAX), "is_negative_hits": flag, "format": _as_it_is}
        fields = read_map(notes, node, "'hits_addend'", level)
        if "format" in fields:
            self._only_envoy(notes, node.line, "format")
        return fields

    def _limit(self, notes: Notes, node: YamlNode) -> tuple[int, Unit] | None:
        fields = read_map(notes, node, "'limit'", {"rate_limit": _override, "dynamic_metadata": _as_it_is})
        if "dynamic_metadata" in fields:
            self._only_envoy(notes, node.line, "dynamic_metadata")
        override: tuple[int, Unit] | None = fields.get("rate_limit")
        return override


def _as_it_is(_notes: Notes, node: YamlNode) -> Any:
    return node


def _unit(notes: Notes, node: YamlNode) -> Unit:
    name = text(notes, node)
    units = [unit.name for unit in Unit if unit not in (Unit.UNKNOWN, Unit.WEEK)]
    if name.upper() not in units:
        raise WrongValueError(f"one of {', '.join(units)}")
    return Unit[name.upper()]


def _override(notes: Notes, node: YamlNode) -> tuple[int, Unit] | None:
    level: Level = {"requests_per_unit": number(0, UINT32_MAX), "unit": _unit}
    fields = read_map(notes, node, "'rate_limit'", level, "requests_per_unit", "unit")
    return (fields["requests_per_unit"], fields["unit"]) if len(fields) == len(level) else None
