"""Reader of a route's ``cors``."""

import re
from dataclasses import dataclass
from typing import Final

from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import Keys, ListReader, MapFound, MapReader, WrongValueError, flag, seconds, text
from ratelimitd.config.yaml_nodes import YamlMap, YamlNode

from .cors import ANY, EXPOSED
from .fields import header_name, method
from .model import Cors, TextMatch
from .rate_limits import pattern

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
"""Methods by default: those of HTTP APIs."""

HEADERS: Final = ("Authorization", "Content-Type", "X-API-Key", "X-Request-Id")
"""Request headers by default: what an API needs that reads JSON and knows its callers by a key or a token."""

_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<sub>\*\.)?(?P<host>[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]+|\*))?"
)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}

_WANTED: Final = (
    "an origin as browsers send it, such as https://app.example.org or http://localhost:5173; https://*.example.org "
    "and http://localhost:* are supported, '*' is any origin, and {regex: ...} an RE2 expression"
)

ORIGIN_REGEX: Final = MapReader(
    "an origin", {"regex": pattern}, ("regex",), lambda found: TextMatch("regex", found.fields.get("regex", ""))
)


@dataclass(frozen=True)
class OriginReader:
    """Reads an origin, in which a label or the port may be any, or a map with an expression."""

    keys: Keys

    def __call__(self, notes: Notes, node: YamlNode) -> TextMatch:
        """Read the origin. Raises WrongValueError."""
        if isinstance(node, YamlMap):
            match: TextMatch = ORIGIN_REGEX(notes, node)
            return match
        written = text(notes, node)
        return ANY if written == ANY.text else _origin(written)


def _origin(written: str) -> TextMatch:
    found = _ORIGIN.fullmatch(written)
    if found is None:
        meant = written.lower().rstrip("/")
        raise WrongValueError(f"{_WANTED}: write {meant}" if _ORIGIN.fullmatch(meant) else _WANTED)
    scheme, sub, host, port = found.group("scheme", "sub", "host", "port")
    if port is not None and port == _DEFAULT_PORTS.get(scheme):
        raise WrongValueError(
            f"an origin as browsers send it, without a default port: write {written[: -len(port) - 1]}"
        )
    if not sub and port != "*":
        return TextMatch("exact", written)
    before = "[a-z0-9_.-]+\\." if sub else ""
    after = ":[0-9]+" if port == "*" else f":{port}" if port else ""
    return TextMatch("regex", f"{re.escape(scheme)}://{before}{re.escape(host)}{after}")


def any_or_method(notes: Notes, node: YamlNode) -> str:
    """Read a method, or ``*`` for any. Raises WrongValueError."""
    return "*" if text(notes, node) == "*" else method(notes, node).decode()


def any_or_header(notes: Notes, node: YamlNode) -> str:
    """Read the name of a header, or ``*`` for any. Raises WrongValueError."""
    written = text(notes, node)
    if written != "*" and header_name(notes, node)[:1] == b":":
        raise WrongValueError("a header name")
    return written


def _cors(found: MapFound) -> Cors | None:
    fields = found.fields
    origins, methods, headers = (fields.get(key, ()) for key in ("origins", "methods", "headers"))
    exposed, credentials, age = (
        fields.get("expose_headers", ()),
        fields.get("credentials", False),
        fields.get("max_age"),
    )
    if credentials and ANY in origins:
        found.error(
            "has credentials: true and origin '*', by which any site could read responses to the cookies of its "
            "visitors: list the origins"
        )
    if credentials and "*" in (*methods, *headers, *exposed):
        found.error("has credentials: true, and browsers do not take '*' as any name then: list the names")
    return Cors(
        origins,
        methods or METHODS,
        headers or HEADERS,
        (*EXPOSED, *exposed),
        None if age is None else max(1, round(age)),
        credentials,
    )


CORS: Final = MapReader(
    "'cors'",
    {
        "origins": ListReader(OriginReader(ORIGIN_REGEX.keys), least=1),
        "methods": ListReader(any_or_method, least=1),
        "headers": ListReader(any_or_header, least=1),
        "expose_headers": ListReader(any_or_header),
        "max_age": seconds,
        "credentials": flag,
    },
    ("origins",),
    _cors,
)
