"""Readers of values that only a gateway file contains; see ``ratelimitd.config.readers``."""

import re
from dataclasses import dataclass
from typing import Any, Final

from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import ChoiceReader, ListReader, MapReader, WrongValueError, number, text
from ratelimitd.config.values import network, origin
from ratelimitd.config.yaml_nodes import YamlList, YamlMap, YamlNode, YamlScalar, resolve
from ratelimitd.http1 import Endpoint

from .model import CaFile

TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
PSEUDO_HEADERS: Final = (":path", ":method", ":authority", ":scheme")
"""Parts of a request that have names like headers, as in Envoy."""

HEADER_NAME: Final = f"a header name, or one of {', '.join(PSEUDO_HEADERS)}"

_AUTHORITY: Final = re.compile(r"(?:[0-9A-Za-z._-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?")
_HOST: Final = re.compile(r"\*?[0-9a-z._\[\]:-]*\*?")


def header_name(notes: Notes, node: YamlNode) -> bytes:
    """Read the name of a header, or :path, :method, :authority or :scheme as in Envoy. Returns it in lower case."""
    name = text(notes, node)
    if name not in PSEUDO_HEADERS and not TOKEN.fullmatch(name):
        raise WrongValueError(HEADER_NAME)
    return name.lower().encode()


def method(notes: Notes, node: YamlNode) -> bytes:
    """Read a method. Methods are case-sensitive (RFC 9110, 9.1), and all registered methods are in upper case."""
    name = text(notes, node)
    if not TOKEN.fullmatch(name) or name != name.upper():
        raise WrongValueError("a method in upper case, such as GET")
    return name.encode()


def host(notes: Notes, node: YamlNode) -> bytes:
    """Read a host to match. Returns it in lower case, without a dot at its end."""
    name = text(notes, node).lower().removesuffix(".")
    bare = name.strip("*")
    port = bare.rpartition("]")[2] if "[" in bare else bare
    if not name or not _HOST.fullmatch(name) or ":" in port or (name[0] == name[-1] == "*" and name != "*"):
        raise WrongValueError("a host without a port, such as example.org, *.example.org, example.* or *")
    return name.encode()


def cidr(notes: Notes, node: YamlNode) -> str:
    """Read an address or a network (CIDR)."""
    try:
        return network(text(notes, node))
    except ValueError:
        raise WrongValueError("an address or a network without host bits, such as 10.0.0.0/8 or ::1") from None


def endpoint(notes: Notes, node: YamlNode) -> Endpoint:
    """Read the URL of an upstream."""
    try:
        scheme, host, port = origin(text(notes, node))
    except ValueError:
        raise WrongValueError(_URL) from None
    return Endpoint(host, port, scheme == "https")


def upstream_host(notes: Notes, node: YamlNode) -> bytes | None:
    """Read the Host that an upstream gets: None for ``keep``, empty for ``rewrite``."""
    written = text(notes, node)
    if written == "keep":
        return None
    if written == "rewrite":
        return b""
    if not _AUTHORITY.fullmatch(written):
        raise WrongValueError("keep, rewrite (the host of its URL), or a host such as app.example.org")
    return written.encode()


def ca_file(notes: Notes, node: YamlNode) -> CaFile:
    """Read the name of a PEM file."""
    return CaFile(text(notes, node), node.line)


methods: Final = ChoiceReader({name: name for name in ("known", "any")}, "known or any")
"""Reads which methods requests may have."""

encoded_slash: Final = ChoiceReader(
    {"keep": True, "reject": False}, "keep (%2F is allowed in paths, and stays as it is) or reject"
)
"""Reads whether encoded slashes are kept."""

_URL: Final = "a URL of scheme, host and port, such as http://localhost:8081; requests keep their own path"


@dataclass(frozen=True)
class OrFalse:
    """Reads a map, or ``false`` as None; ``off`` is the same in YAML 1.1."""

    item: MapReader

    def __call__(self, notes: Notes, node: YamlNode) -> Any:
        """Read the value. ``true`` is an error, as any other value that is no map."""
        off = isinstance(node, YamlScalar) and resolve(node) is False
        return None if off else self.item(notes, node)


STATUSES: Final = ListReader(number(400, 599))


def statuses(notes: Notes, node: YamlNode) -> frozenset[int]:
    """Read a list of statuses of responses that count as failures."""
    return frozenset(STATUSES(notes, node))


_TEXTS: Final = frozenset(
    (
        *("descriptor_key", "descriptor_value", "header_name", "query_parameter_name", "name", "default_value", "key"),
        *("exact", "prefix", "suffix", "contains", "regex", "disable_key", "format"),
    )
)
"""Envoy's string fields: their values stay strings even if they look like numbers."""


def envoy_json(node: YamlNode) -> Any:
    """Convert a node to Envoy's JSON form."""
    if isinstance(node, YamlMap):
        return {key.text: _text_of(key.text, value) for key, value in node.pairs if isinstance(key, YamlScalar)}
    if isinstance(node, YamlList):
        return [envoy_json(item) for item in node.items]
    return resolve(node)


def _text_of(key: str, value: YamlNode) -> Any:
    if isinstance(value, YamlScalar) and key in _TEXTS:
        return value.text
    return value.text.upper() if isinstance(value, YamlScalar) and key == "unit" else envoy_json(value)
