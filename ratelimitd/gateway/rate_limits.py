"""Readers of a route's ``rate_limits``: Envoy's route.v3.RateLimit with Envoy's names."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import (
    Fields,
    Keys,
    ListReader,
    MapFound,
    MapReader,
    WrongValueError,
    any_text,
    as_it_is,
    flag,
    name_octets,
    number,
    octets,
    text,
    value_octets,
)
from ratelimitd.config.values import UINT32_MAX
from ratelimitd.config.yaml_nodes import YamlMap, YamlNode, YamlScalar
from ratelimitd.policy import Override, Unit

from .fields import envoy_json, header_name
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
from .spellings import HOST_NAMES, host_expression

UINT64_MAX: Final = (1 << 64) - 1
"""``hits_addend`` is a UInt64Value. YAML integers are int64 here, which is more than any limit."""


def pattern(notes: Notes, node: YamlNode) -> str:
    """Read an RE2 expression."""
    written = text(notes, node)
    try:
        regex(written)
    except PatternError as error:
        raise WrongValueError(f"an RE2 expression ({error})") from None
    return written


def check_expression(found: MapFound, expression: str) -> None:
    """Note an error if an expression that is made of what a map says is not valid or too large."""
    try:
        regex(expression)
    except PatternError as error:
        found.error(f"has an RE2 expression that cannot be extended ({error})")


def ignored(_notes: Notes, _node: YamlNode) -> None:
    """Accept Envoy's deprecated field that selects RE2, which is always used."""


def _string_match(found: MapFound) -> TextMatch | None:
    kind = found.only_one(*TEXT_KINDS[:-1], "safe_regex")
    if kind is None:
        found.error(f"needs one of {', '.join(TEXT_KINDS[:-1])}, safe_regex")
        return None
    return TextMatch(
        "regex" if kind == "safe_regex" else kind, found.fields[kind], found.fields.get("ignore_case", False)
    )


_STRING_MATCH: Final = MapReader(
    "'string_match'",
    {
        **dict.fromkeys(TEXT_KINDS[:-1], any_text),
        "safe_regex": MapReader(
            "'safe_regex'",
            {"regex": pattern, "google_re2": ignored},
            ("regex",),
            lambda found: found.fields.get("regex", ""),
        ),
        "ignore_case": flag,
    },
    make=_string_match,
)


def _header_match(found: MapFound) -> HeaderMatch:
    fields = found.fields
    kinds = ("string_match", *TEXT_KINDS, "present_match", "present")
    kind = found.only_one(*(kind for kind in kinds if kind in found.reader.keys))
    match = fields.get("string_match")
    if kind in TEXT_KINDS:
        match = TextMatch(str(kind), fields[str(kind)])
    if match is not None and fields.get("name") in HOST_NAMES:
        if _has_port(match):
            found.error("needs a host without a port, which does not count")
        check_expression(found, host_expression(match))
    present = fields.get("present_match", True) and fields.get("present", True)
    invert = fields.get("invert_match", False) or fields.get("invert", False)
    return HeaderMatch(
        fields.get("name", b""), match, present, invert, fields.get("treat_missing_header_as_empty", False)
    )


def _has_port(match: TextMatch) -> bool:
    """Return whether a condition on a host, except ``exact``, could only hold for one with a port."""
    return match.kind in ("prefix", "suffix", "contains") and ":" in match.text and "[" not in match.text


_ENVOY_HEADER: Final[Keys] = {
    "name": header_name,
    "string_match": _STRING_MATCH,
    "present_match": flag,
    "invert_match": flag,
    "treat_missing_header_as_empty": flag,
}
_SHORT_HEADER: Final[Keys] = {
    **dict.fromkeys(TEXT_KINDS[:-1], any_text),
    "regex": pattern,
    "present": flag,
    "invert": flag,
}
_ENVOY_HEADER_MATCH: Final = MapReader("a header to match", _ENVOY_HEADER, ("name",), _header_match)

HEADER_MATCH: Final = replace(_ENVOY_HEADER_MATCH, keys={**_ENVOY_HEADER, **_SHORT_HEADER})
"""A header of a route's match, in Envoy's form or in the short form ``{name: …, exact: …}``."""


def _query_match(found: MapFound) -> QueryMatch:
    found.only_one("string_match", "present_match")
    fields = found.fields
    return QueryMatch(fields.get("name", b""), fields.get("string_match"), fields.get("present_match", True))


_QUERY_MATCH: Final = MapReader(
    "a query parameter to match",
    {"name": octets, "string_match": _STRING_MATCH, "present_match": flag},
    ("name",),
    _query_match,
)

_VALUE: Final[Keys] = {"descriptor_key": name_octets, "descriptor_value": value_octets, "expect_match": flag}


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


_Form = tuple[Keys, tuple[str, ...], Callable[[Fields], Action]]

_FORMS: Final[dict[str, _Form]] = {
    "generic_key": (
        {"descriptor_value": value_octets, "descriptor_key": name_octets},
        ("descriptor_value",),
        _generic_key,
    ),
    "request_headers": (
        {"header_name": header_name, "descriptor_key": name_octets, "skip_if_absent": flag},
        ("header_name", "descriptor_key"),
        _request_headers,
    ),
    "query_parameters": (
        {"query_parameter_name": octets, "descriptor_key": name_octets, "skip_if_absent": flag},
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
        {**_VALUE, "headers": ListReader(_ENVOY_HEADER_MATCH, least=1)},
        ("descriptor_value", "headers"),
        _header_value_match,
    ),
    "query_parameter_value_match": (
        {**_VALUE, "query_parameters": ListReader(_QUERY_MATCH, least=1)},
        ("descriptor_value", "query_parameters"),
        _query_parameter_value_match,
    ),
    "destination_cluster": ({}, (), lambda _: DestinationCluster()),
    "source_cluster": ({}, (), lambda _: SourceCluster()),
}


def _made(make: Callable[[Fields], Action], found: MapFound) -> Action | None:
    return make(found.fields) if found.sound else None


ACTIONS: Final[Keys] = {
    kind: MapReader(f"'{kind}'", keys, needed, partial(_made, make)) for kind, (keys, needed, make) in _FORMS.items()
}

ENVOY_ACTIONS: Final[Keys] = dict.fromkeys(
    ("dynamic_metadata", "metadata", "extension", "remote_address_match"), as_it_is
)
"""Actions that only Envoy supports."""

ENVOY_FIELDS: Final[Keys] = dict.fromkeys(("disable_key", "apply_on_stream_done", "x_ratelimit_option"), as_it_is)
"""Fields of a rate limit that only Envoy supports."""


@dataclass(frozen=True)
class ActionReader:
    """Reads a map with one action. An action that only Envoy supports is an error unless ``for_envoy``."""

    keys: Keys
    for_envoy: bool

    def __call__(self, notes: Notes, node: YamlNode) -> Action | None:
        """Read the action; None if it is invalid, which is noted. Raises WrongValueError."""
        if not isinstance(node, YamlMap) or len(node.pairs) != 1:
            raise WrongValueError("a map with one action, such as {remote_address: {}}")
        ((name, value),) = node.pairs
        kind = name.text if isinstance(name, YamlScalar) else ""
        if kind in ENVOY_ACTIONS:
            _only_envoy(notes, name.line, kind, for_envoy=self.for_envoy)
            return EnvoyOnly(kind)
        if kind not in ACTIONS:
            known = ", ".join(self.keys if self.for_envoy else ACTIONS)
            notes.error(name.line, f"unknown action '{kind[:50]}': must be one of {known}")
            return None
        action: Action | None = ACTIONS[kind](notes, value)
        return action


def _only_envoy(notes: Notes, line: int, what: str, *, for_envoy: bool) -> None:
    if not for_envoy:
        notes.error(line, f"'{what}' is supported only by Envoy: remove it, or run Envoy with this file")


def _hits(found: MapFound, *, for_envoy: bool) -> Fields:
    if "format" in found.fields:
        _only_envoy(found.notes, found.node.line, "format", for_envoy=for_envoy)
    return found.fields


def _limit(found: MapFound, *, for_envoy: bool) -> Override | None:
    if "dynamic_metadata" in found.fields:
        _only_envoy(found.notes, found.node.line, "dynamic_metadata", for_envoy=for_envoy)
    return found.fields.get("rate_limit")


UNITS: Final = tuple(unit.name for unit in Unit if unit not in (Unit.UNKNOWN, Unit.WEEK))
"""Units of ``limit``, in any case."""


def override_unit(notes: Notes, node: YamlNode) -> Unit:
    """Read the unit of a limit that replaces that of the policies."""
    name = text(notes, node)
    if name.upper() not in UNITS:
        raise WrongValueError(f"one of {', '.join(UNITS)}")
    return Unit[name.upper()]


_OVERRIDE: Final = MapReader(
    "'rate_limit'",
    {"requests_per_unit": number(0, UINT32_MAX), "unit": override_unit},
    ("requests_per_unit", "unit"),
    lambda found: Override(found.fields["requests_per_unit"], found.fields["unit"]) if found.sound else None,
)


def _rate_limit(found: MapFound, *, for_envoy: bool) -> RateLimit | None:
    """Make an item of ``rate_limits``; None if it is invalid, which is noted."""
    fields = found.fields
    for key in ENVOY_FIELDS:
        if key in fields:
            _only_envoy(found.notes, fields[key].line, key, for_envoy=for_envoy)
    if fields.get("stage"):
        _only_envoy(found.notes, found.node.line, "stage", for_envoy=for_envoy)
    if not found.sound:
        return None
    hits: Fields = fields.get("hits_addend", {})
    negative = hits.get("is_negative_hits", False)
    return RateLimit(fields["actions"], hits.get("number"), negative, fields.get("limit"), envoy_json(found.node))


def rate_limit_reader(*, for_envoy: bool) -> MapReader:
    """Return the reader of an item of ``rate_limits``. Features only of Envoy are an error unless ``for_envoy``."""
    hits: Keys = {"number": number(0, UINT64_MAX), "is_negative_hits": flag, "format": as_it_is}
    limit: Keys = {"rate_limit": _OVERRIDE, "dynamic_metadata": as_it_is}
    return MapReader(
        "an item of 'rate_limits'",
        {
            "actions": ListReader(ActionReader({**ACTIONS, **ENVOY_ACTIONS}, for_envoy), least=1),
            "hits_addend": MapReader("'hits_addend'", hits, make=partial(_hits, for_envoy=for_envoy)),
            "limit": MapReader("'limit'", limit, make=partial(_limit, for_envoy=for_envoy)),
            "stage": number(0, 10),
            **ENVOY_FIELDS,
        },
        ("actions",),
        partial(_rate_limit, for_envoy=for_envoy),
    )
