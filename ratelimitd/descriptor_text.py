r"""Text form of a descriptor, for the command line: ``key=value[,key=value]…``.

A value may contain ``=``. A comma is written ``\,`` and a backslash ``\\``. ``key=`` is an empty value.
"""

import re
from typing import Final

Entries = tuple[tuple[bytes, bytes], ...]

_PIECE: Final = re.compile(r"(?:[^,\\]|\\.)*", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def parse(text: str) -> Entries:
    """Parse the entries of one descriptor. Raises ValueError with a message that says what to write."""
    entries, at = [], 0
    while True:
        piece = _PIECE.match(text, at)
        end = piece.end() if piece else at
        entries.append(_entry(text[at:end]))
        if end == len(text):
            return tuple(entries)
        if text[end] != ",":
            raise ValueError(r"a backslash must be followed by a comma or a backslash: write \\ for a backslash")
        at = end + 1


def show(entries: Entries) -> str:
    """Format a descriptor as ``parse`` reads it; bytes that are not UTF-8 become ``\\xff``."""
    return ",".join(f"{_escape(key)}={_escape(value)}" for key, value in entries)


def encode(text: str) -> bytes:
    """Return the bytes of a command-line argument, which need not be UTF-8."""
    return text.encode(errors="surrogateescape")


def _entry(piece: str) -> tuple[bytes, bytes]:
    key, equals, value = piece.partition("=")
    if not key:
        raise ValueError(r"entry without a key: write key=value, and \, for a comma in a value")
    if not equals:
        raise ValueError(f"{piece!r} is not an entry: write {piece}=value, or {piece}= for an empty value")
    return encode(_ESCAPED.sub(r"\1", key)), encode(_ESCAPED.sub(r"\1", value))


def _escape(part: bytes) -> str:
    return part.decode(errors="backslashreplace").replace("\\", "\\\\").replace(",", "\\,")
