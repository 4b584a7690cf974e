"""Names of a rule: its path from the root of its domain as bytes, and as text for metrics and logs."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

_NEEDS_CARE: Final = re.compile(r"[:|]|[0-9]\.[0-9]")
_IPV4: Final = re.compile(r"(?<![0-9])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9])")

OVERRIDE: Final = b"="
"""First byte of the path of an override; a node's path begins with a digit or is empty."""


def is_override(path: bytes) -> bool:
    """Whether a path is that of an override, a limit that the request carries."""
    return path.startswith(OVERRIDE)


def place_of(path: bytes) -> bytes:
    """Return the path, by which bounds are kept; one for all overrides of a domain, since a caller names their keys."""
    return OVERRIDE if is_override(path) else path


def path_of(names: Iterable[bytes]) -> bytes:
    """Return the path with these names, each prefixed with its length."""
    return b"".join([b"%d:%b" % (len(name), name) for name in names])


def names_of(path: bytes) -> Iterator[bytes]:
    """Yield the names of a path."""
    at = len(OVERRIDE) if path.startswith(OVERRIDE) else 0
    while at < len(path):
        length, _, _ = path[at:].partition(b":")
        at += len(length) + 1
        yield path[at : at + int(length)]
        at += int(length)


def rule_name(domain: bytes, path: bytes) -> str:
    """Return domain and path as metrics name the limits of a rule; it contains no value of a request."""
    return ".".join(map(metric_part, (domain, *names_of(path))))


def metric_part(text: bytes) -> str:
    """Escape a part of a metric name: ``:`` and ``|`` end names in statsd, and dots of an IPv4 address split them."""
    part = text.decode(errors="replace")
    if _NEEDS_CARE.search(part) is None:
        return part
    part = part.replace(":", "_").replace("|", "_")
    return _IPV4.sub(lambda address: address[0].replace(".", "_"), part)
