"""Commands as Redis reads them: RESP, an array of bulk strings (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""

from collections.abc import Sequence
from typing import Final

Word = bytes | str | int

_SHORT: Final = 256
"""Lengths and counts whose lines are made once: those of all but the longest keys and arguments, and calls."""

_LINES: Final[list[bytes]] = [b"\r\n$%d\r\n" % length for length in range(_SHORT)]
_COUNTS: Final[list[bytes]] = [b"*%d" % count for count in range(_SHORT)]
_END: Final = b"\r\n"


def encode(words: Sequence[Word]) -> bytes:
    """Return the bytes of a command."""
    count = len(words)
    parts: list[bytes] = [_COUNTS[count] if count < _SHORT else b"*%d" % count]
    for word in words:
        text = word if isinstance(word, bytes) else _text(word)
        length = len(text)
        parts.append(_LINES[length] if length < _SHORT else b"\r\n$%d\r\n" % length)
        parts.append(text)
    parts.append(_END)
    return b"".join(parts)


def _text(word: str | int) -> bytes:
    return word.encode() if isinstance(word, str) else str(word).encode()
