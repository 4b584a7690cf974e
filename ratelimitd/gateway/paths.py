"""A request's target as routes and limits see it: one path for all the ways of writing it.

The rules are those of Envoy 1.40 with ``normalize_path``, ``merge_slashes`` and
``path_with_escaped_slashes_action: REJECT_REQUEST``, held against it by a test: unreserved characters are decoded
(RFC 3986, 6.2.2.2), dot segments removed, slashes merged. Stricter than Envoy, since two readers could disagree: a
backslash, a percent sign without two hex digits, and a dot segment with parameters (``/..;x/``) are refused.
"""

import re
from typing import Final, NamedTuple

_CARE: Final = re.compile(rb'["%<>\\^`{|}#\x00-\x20\x7f-\xff]|//|/\.')
"""Without any of these a path is what it seems."""
_REFUSED: Final = re.compile(rb"[\\#\x00-\x20\x7f-\xff]")
_REFUSED_IN_QUERY: Final = re.compile(rb"[#\x00-\x20\x7f-\xff]")
_ESCAPE: Final = re.compile(rb'%([0-9A-Fa-f]{2})?|["<>^`{|}]')
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_REFUSED_ESCAPES: Final = frozenset(b"/\\\x00")
_DOTS_AND_MORE: Final = (b".;", b"..;")


class PathError(ValueError):
    """A target to answer with 400; says why, without repeating it."""


class Target(NamedTuple):
    """A path, normalised, and the query as it was sent; None: there is no question mark."""

    path: bytes
    query: bytes | None

    @property
    def whole(self) -> bytes:
        """Both, as Envoy's ``:path`` has them."""
        return self.path if self.query is None else b"%b?%b" % (self.path, self.query)


def target(path: bytes, query: bytes | None = None) -> Target:
    """Normalise the path of a target in origin form. Raises PathError."""
    if query is not None and _REFUSED_IN_QUERY.search(query):
        raise PathError("the query contains a character that must be percent-encoded")
    return Target(normalise(path), query)


def normalise(path: bytes) -> bytes:
    """Return a path in its one form: what is in it comes out as it is when normalised again. Raises PathError."""
    if path[:1] != b"/":
        raise PathError("the path does not begin with a slash")
    if _CARE.search(path) is None:
        return path
    if _REFUSED.search(path):
        raise PathError("the path contains a backslash, or a character that must be percent-encoded")
    segments = _ESCAPE.sub(_escaped, path).split(b"/")[1:]
    if any(segment.startswith(_DOTS_AND_MORE) for segment in segments):
        raise PathError("the path contains a dot segment with parameters")
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    named = [segment for segment in kept if segment]
    folder = segments[-1] in (b"", b".", b"..") and named
    return b"/" + b"/".join(named) + (b"/" if folder else b"")


def _escaped(found: re.Match[bytes]) -> bytes:
    """Decode what needs no escape, escape what needs one, and leave any other escape as it is written."""
    if found[0] == b"%":
        raise PathError("the path contains a percent sign without two hex digits")
    if found[1] is None:
        return b"%%%02X" % found[0][0]
    character = int(found[1], 16)
    if character in _REFUSED_ESCAPES:
        raise PathError("the path contains an escaped slash, backslash or NUL")
    return bytes((character,)) if character in _UNRESERVED else found[0]
