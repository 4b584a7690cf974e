"""JSON Schema of gateway files, made of the readers that the parser reads them by."""

from typing import Final

from ratelimitd.config.readers import Reader
from ratelimitd.config.schema import (
    DRAFT,
    FLAG_WORDS,
    KINDS,
    LEAVES,
    SOME_TEXT,
    Schema,
    Tables,
    any_case,
    described,
    not_null,
    one_needed,
    pattern,
    schema_of,
)

from .about import ACTIONS as ABOUT_ACTIONS
from .about import GATEWAY
from .cors_fields import ORIGIN_REGEX, OriginReader, any_or_header, any_or_method
from .fields import (
    PSEUDO_HEADERS,
    STATUSES,
    TOKEN,
    OrFalse,
    ca_file,
    cidr,
    endpoint,
    header_name,
    host,
    method,
    statuses,
    upstream_host,
)
from .file import HOST_PORT, UpstreamsReader, gateway_reader, inline_or_path, route_path
from .matching import TEXT_KINDS
from .rate_limits import UNITS, ActionReader, ignored, override_unit
from .rate_limits import pattern as expression

_PATH: Final[Schema] = {**SOME_TEXT, **pattern("/.*", "a path, which begins with /")}
_METHOD: Final = TOKEN.pattern.replace("A-Za-z", "A-Z")


def gateway_schema(policies: dict[str, Schema]) -> Schema:
    """Return the schema of a gateway file, for the proxy and for Envoy.

    ``policies``: the definitions that the schema of a policy refers to, with the policy itself as ``policy``.
    """
    made = schema_of(TABLES, gateway_reader(for_envoy=True))
    return {"$schema": DRAFT, "title": "Gateway file of ratelimitd", **made, "definitions": policies}


def _or_false(tables: Tables, reader: OrFalse) -> Schema:
    """Return the schema of a map or false. Texts are how YAML 1.2 reads no and off."""
    return {
        **schema_of(tables, reader.item),
        "type": ["object", "boolean", "string"],
        "not": {"const": True},
        **pattern(FLAG_WORDS, "a map, or false"),
    }


def _upstreams(tables: Tables, reader: UpstreamsReader) -> Schema:
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"minLength": 1},
        "additionalProperties": schema_of(tables, reader.item),
    }


def _origin(tables: Tables, _reader: OriginReader) -> Schema:
    return {"anyOf": [SOME_TEXT, schema_of(tables, ORIGIN_REGEX)]}


def _action(tables: Tables, reader: ActionReader) -> Schema:
    """Return the schema of a map with one action."""
    return {
        "type": "object",
        "properties": {
            key: described(schema_of(tables, inner), ABOUT_ACTIONS[key]) for key, inner in reader.keys.items()
        },
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }


_LEAVES: Final[dict[Reader, Schema]] = {
    **LEAVES,
    HOST_PORT: {"type": "string", **pattern("[^/\\s]*:[0-9]+", HOST_PORT.wanted)},
    route_path: _PATH,
    expression: SOME_TEXT,
    ignored: {},
    header_name: {
        **SOME_TEXT,
        **pattern(
            f"{TOKEN.pattern}|{'|'.join(PSEUDO_HEADERS)}", f"a header name, or one of {', '.join(PSEUDO_HEADERS)}"
        ),
    },
    method: {**SOME_TEXT, **pattern(_METHOD, "a method in upper case, such as GET")},
    any_or_method: {**SOME_TEXT, **pattern(_METHOD, "a method in upper case, such as GET, or *")},
    any_or_header: {**SOME_TEXT, **pattern(TOKEN.pattern, "a header name, or *")},
    host: SOME_TEXT,
    cidr: SOME_TEXT,
    endpoint: {**SOME_TEXT, **pattern("[hH][tT][tT][pP][sS]?://.+", "a URL of scheme, host and port")},
    upstream_host: {"anyOf": [{"enum": ["keep", "rewrite"]}, SOME_TEXT]},
    ca_file: SOME_TEXT,
    override_unit: {"anyOf": [{"enum": list(UNITS)}, {"type": "string", **pattern(any_case(UNITS), ", ".join(UNITS))}]},
    inline_or_path: {
        "anyOf": [
            {"$ref": "#/definitions/policy"},
            {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/policy"}},
            not_null(SOME_TEXT),
        ]
    },
}

TABLES: Final = Tables(
    kinds={
        **KINDS,
        OrFalse: _or_false,
        UpstreamsReader: _upstreams,
        OriginReader: _origin,
        ActionReader: _action,
    },
    leaves={**_LEAVES, statuses: schema_of(Tables(KINDS, LEAVES, {}, {}), STATUSES)},
    about=GATEWAY,
    more={
        "an upstream": one_needed("url", "endpoints"),
        "'string_match'": one_needed(*TEXT_KINDS[:-1], "safe_regex"),
    },
)
