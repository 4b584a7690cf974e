"""How the keys and values of a gateway file are read. A reader makes a value of a node, or raises WrongValueError."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from ratelimitd.config import values
from ratelimitd.config.problems import Notes
from ratelimitd.config.yaml_nodes import YamlList, YamlMap, YamlNode, YamlScalar, is_null, resolve
from ratelimitd.http1.model import Endpoint
from ratelimitd.policy.fields import SHOWN_MAX, WrongValueError, whole

Fields = dict[str, Any]
Reader = Callable[[Notes, YamlNode], Any]
Level = Mapping[str, Reader]

_PORTS: Final = {"http": 80, "https": 443}
_TOKEN: Final = re.compile(r":?[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST: Final = re.compile(r"\*?[0-9a-z._\[\]:-]*\*?")


def read_map(notes: Notes, node: YamlNode, what: str, level: Level, *needed: str) -> Fields:
    """Read a map; a key that is absent, null or wrong is not in the result, and what is wrong is noted."""
    if not isinstance(node, YamlMap):
        notes.error(node.line, f"{what} must be a map with {', '.join(level)}")
        return {}
    fields: Fields = {}
    said = set()
    for key_node, value in node.pairs:
        key = key_node.text if isinstance(key_node, YamlScalar) else ""
        if key not in level:
            notes.error(key_node.line, f"unknown key '{key[:SHOWN_MAX]}': {what} has {', '.join(level)}")
        elif not is_null(value):
            said.add(key)
            try:
                fields[key] = level[key](notes, value)
            except WrongValueError as wrong:
                notes.error(value.line, f"'{key}' of {what} must be {wrong}")
    for key in needed:
        if key not in said:
            notes.error(node.line, f"{what} needs '{key}'")
    return fields


def only_one(notes: Notes, node: YamlNode, what: str, fields: Fields, *keys: str) -> str | None:
    """Return which of these keys is there; None when none is. More than one is noted."""
    found = [key for key in keys if key in fields]
    if len(found) > 1:
        notes.error(node.line, f"{what} has only one of {', '.join(keys)}")
    return found[0] if found else None


def text(_notes: Notes, node: YamlNode) -> str:
    """Read a text that is not empty."""
    if not isinstance(node, YamlScalar) or not node.text:
        raise WrongValueError("a text that is not empty")
    return node.text


def octets(notes: Notes, node: YamlNode) -> bytes:
    """Read a text that is not empty, as bytes."""
    return text(notes, node).encode()


def any_text(_notes: Notes, node: YamlNode) -> str:
    """Read a text, also an empty one."""
    if not isinstance(node, YamlScalar):
        raise WrongValueError("a text")
    return node.text


def flag(_notes: Notes, node: YamlNode) -> bool:
    """Read true or false."""
    value = resolve(node) if isinstance(node, YamlScalar) else None
    if not isinstance(value, bool):
        raise WrongValueError("true or false (without quotes)")
    return value


def number(least: int, most: int) -> Reader:
    """Make a reader of whole numbers within bounds."""
    return lambda _notes, node: whole(node, least, most)


def parsed(parser: Callable[[str], Any], wanted: str) -> Reader:
    """Make a reader of what a setting would be."""

    def read(_notes: Notes, node: YamlNode) -> Any:
        try:
            return parser(node.text if isinstance(node, YamlScalar) else "")
        except ValueError:
            raise WrongValueError(wanted) from None

    return read


seconds: Final = parsed(values.positive_duration, "a duration above 0, such as 500ms, 15s or 2m")
size: Final = parsed(values.size(1), "a size above 0, such as 8KiB, 10MiB or a number of bytes")
count: Final = number(1, 1_000_000)


def share(_notes: Notes, node: YamlNode) -> float:
    """Read a number above 0, up to 1."""
    value = resolve(node) if isinstance(node, YamlScalar) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise WrongValueError("a number above 0, up to 1, such as 0.5")
    return float(value)


def list_of(reader: Reader, *, least: int = 0) -> Reader:
    """Make a reader of a list."""

    def read(notes: Notes, node: YamlNode) -> tuple[Any, ...]:
        if not isinstance(node, YamlList) or len(node.items) < least:
            raise WrongValueError("a list" + (" that is not empty" if least else ""))
        values = []
        for item in node.items:
            try:
                values.append(reader(notes, item))
            except WrongValueError as wrong:
                notes.error(item.line, f"an item of this list must be {wrong}")
        return tuple(values)

    return read


def header_name(notes: Notes, node: YamlNode) -> bytes:
    """Read a header's name, or Envoy's :path, :method, :authority and :scheme, to lower case."""
    name = text(notes, node)
    if not _TOKEN.fullmatch(name) or (name[0] == ":" and name not in (":path", ":method", ":authority", ":scheme")):
        raise WrongValueError("the name of a header, or one of :path, :method, :authority, :scheme")
    return name.lower().encode()


def method(notes: Notes, node: YamlNode) -> bytes:
    """Read a method. They are told apart by case (RFC 9110, 9.1), and all that are known are in capitals."""
    name = text(notes, node)
    if not _METHOD.fullmatch(name) or name != name.upper():
        raise WrongValueError("a method in capitals, such as GET")
    return name.encode()


def host(notes: Notes, node: YamlNode) -> bytes:
    """Read a host to match, to lower case."""
    name = text(notes, node).lower()
    bare = name.strip("*")
    port = bare.rpartition("]")[2] if "[" in bare else bare
    if not _HOST.fullmatch(name) or ":" in port or (name[0] == name[-1] == "*" and name != "*"):
        raise WrongValueError("a host without a port, such as example.org, *.example.org, example.* or *")
    return name.encode()


def cidr(notes: Notes, node: YamlNode) -> str:
    """Read an address or a network."""
    try:
        return str(ipaddress.ip_network(text(notes, node)))
    except ValueError:
        raise WrongValueError("an address or a network without host bits, such as 10.0.0.0/8 or ::1") from None


def endpoint(notes: Notes, node: YamlNode) -> Endpoint:
    """Read the URL of an upstream."""
    try:
        url = urlsplit(text(notes, node))
        port = url.port
    except ValueError:
        raise WrongValueError(_URL) from None
    if url.scheme not in _PORTS or not url.hostname or url.path not in ("", "/") or url.query or url.fragment:
        raise WrongValueError(_URL)
    if url.username is not None or any(not " " < character < "\x7f" for character in url.netloc) or port == 0:
        raise WrongValueError(_URL)
    return Endpoint(url.hostname, port or _PORTS[url.scheme], url.scheme == "https")


_URL: Final = "a URL of scheme, host and port, such as http://localhost:8081: a request's own path goes on as it is"


_TEXTS: Final = frozenset(
    (
        *("descriptor_key", "descriptor_value", "header_name", "query_parameter_name", "name", "default_value", "key"),
        *("exact", "prefix", "suffix", "contains", "regex", "disable_key", "format"),
    )
)
"""Fields of Envoy's that are texts, whatever they look like."""


def plain(node: YamlNode) -> Any:
    """Return a node as the values of Envoy's JSON."""
    if isinstance(node, YamlMap):
        return {key.text: _text_of(key.text, value) for key, value in node.pairs if isinstance(key, YamlScalar)}
    if isinstance(node, YamlList):
        return [plain(item) for item in node.items]
    return resolve(node)


def _text_of(key: str, value: YamlNode) -> Any:
    if isinstance(value, YamlScalar) and key in _TEXTS:
        return value.text
    return value.text.upper() if isinstance(value, YamlScalar) and key == "unit" else plain(value)
