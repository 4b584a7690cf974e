r"""A descriptor as people type it: ``key=value[,key=value]…``.

A value may hold ``=``. A comma is written ``\,`` and a backslash ``\\``. ``key=`` is an empty value.
"""

import re
from typing import Final

Entries = tuple[tuple[bytes, bytes], ...]

_PIECE: Final = re.compile(r"(?:[^,\\]|\\.)*", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def parse(text: str) -> Entries:
    """Read the entries of one descriptor; raises ValueError that says what to write."""
    entries, at = [], 0
    while True:
        piece = _PIECE.match(text, at)
        end = piece.end() if piece else at
        entries.append(_entry(text[at:end]))
        if end == len(text):
            return tuple(entries)
        if text[end] != ",":
            raise ValueError(r"a backslash stands before a comma or a backslash: write \\ for one")
        at = end + 1


def show(entries: Entries) -> str:
    """Write a descriptor the way ``parse`` reads it; bytes that are not UTF-8 as ``\\xff``."""
    return ",".join(f"{_escape(key)}={_escape(value)}" for key, value in entries)


def encode(text: str) -> bytes:
    """Return the bytes of a word of the command line, UTF-8 or not."""
    return text.encode(errors="surrogateescape")


def _entry(piece: str) -> tuple[bytes, bytes]:
    key, equals, value = piece.partition("=")
    if not key:
        raise ValueError(r"an entry without a key: write key=value, and \, for a comma in a value")
    if not equals:
        raise ValueError(f"{piece!r} is no entry: write {piece}=value, or {piece}= for an empty value")
    return encode(_ESCAPED.sub(r"\1", key)), encode(_ESCAPED.sub(r"\1", value))


def _escape(part: bytes) -> str:
    return part.decode(errors="backslashreplace").replace("\\", "\\\\").replace(",", "\\,")
