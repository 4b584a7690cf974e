"""Normalization of request targets: one path for all its spellings, for routes and limits.

The rules are those of Envoy 1.40 with ``normalize_path``, ``merge_slashes`` and
``path_with_escaped_slashes_action: REJECT_REQUEST``, and a test compares the results: unreserved characters are decoded
(RFC 3986, 6.2.2.2), dot segments are removed, slashes are merged. Unlike Envoy, it rejects what two programs could
interpret differently: a backslash, a percent sign without two hex digits, and a dot segment with parameters
(``/..;x/``).
"""

import re
from typing import Final, NamedTuple

_NOT_PLAIN: Final = re.compile(rb'["%<>\\^`{|}#\x00-\x20\x7f-\xff]|//|/\.')
"""A path without a match is already normalized."""
_REFUSED: Final = re.compile(rb"[\\#\x00-\x20\x7f-\xff]")
_REFUSED_IN_QUERY: Final = re.compile(rb"[#\x00-\x20\x7f-\xff]")
_ESCAPE: Final = re.compile(rb'%([0-9A-Fa-f]{2})?|["<>^`{|}]')
_READ_APART: Final = re.compile(rb"^//|/(?:\.|%2[Ee]){1,2}(?:/|$)")
"""Where programs resolve a path differently: some take ``//a/b`` for a host and ``/b``, merge slashes before they
remove dot segments (nginx), or remove none."""
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_REFUSED_ESCAPES: Final = frozenset(b"/\\\x00")
_SLASHES: Final = frozenset((b"%2F", b"%2f"))
_DOTS_AT_SLASH: Final = re.compile(rb"(?i)(?:^|%2F)\.\.?(?:;.*?)?%2F|%2F\.\.?(?:;.*)?$")
"""A program that decodes the path before it removes dot segments finds more of them than Envoy."""
_DOTS_WITH_PARAMETERS: Final = (b".;", b"..;")


class PathError(ValueError):
    """An invalid target, to be answered with 400. The text gives the reason without repeating the target."""


class Target(NamedTuple):
    """The normalized path, and the query as sent; None if there is no question mark."""

    path: bytes
    query: bytes | None

    @property
    def full(self) -> bytes:
        """Path and query, as in Envoy's ``:path``."""
        return self.path if self.query is None else b"%b?%b" % (self.path, self.query)


def target(path: bytes, query: bytes | None = None, *, encoded_slash: bool = False) -> Target:
    """Normalise the path of a target in origin form, as ``normalise`` does. Raises PathError."""
    if query is not None and _REFUSED_IN_QUERY.search(query):
        raise PathError("the query contains a character that must be percent-encoded")
    return Target(normalise(path, encoded_slash=encoded_slash), query)


def resolved(path: bytes, query: bytes, *, encoded_slash: bool = False) -> bytes | None:
    """Return the target that an upstream gets in place of a valid one that it may resolve differently; None: as sent.

    ``query`` is as sent, without its question mark.
    """
    if _READ_APART.search(path) is None:
        return None
    return target(path, query or None, encoded_slash=encoded_slash).full


def normalise(path: bytes, *, encoded_slash: bool = False) -> bytes:
    """Return the normalized path. Normalization is idempotent. Raises PathError.

    ``encoded_slash``: ``%2F`` is part of a segment, as with Envoy's KEEP_UNCHANGED, unless a dot segment is next to it.
    """
    if path[:1] != b"/":
        raise PathError("the path does not begin with a slash")
    if _NOT_PLAIN.search(path) is None:
        return path
    if _REFUSED.search(path):
        raise PathError("the path contains a backslash, or a character that must be percent-encoded")
    segments = _ESCAPE.sub(_escaped_or_slash if encoded_slash else _escaped, path).split(b"/")[1:]
    if encoded_slash and any(map(_DOTS_AT_SLASH.search, segments)):
        raise PathError("the path contains a dot segment next to an escaped slash")
    if any(segment.startswith(_DOTS_WITH_PARAMETERS) for segment in segments):
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


def _escaped_or_slash(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0] in _SLASHES else _escaped(found)


def _escaped(found: re.Match[bytes]) -> bytes:
    """Decode escaped unreserved characters, escape characters that need it, and keep other escapes unchanged."""
    if found[0] == b"%":
        raise PathError("the path contains a percent sign without two hex digits")
    if found[1] is None:
        return b"%%%02X" % found[0][0]
    character = int(found[1], 16)
    if character in _REFUSED_ESCAPES:
        raise PathError("the path contains an escaped slash, backslash or NUL")
    return bytes((character,)) if character in _UNRESERVED else found[0]
