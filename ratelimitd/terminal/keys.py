"""What is typed: bytes of a terminal to names of keys."""

from typing import Final

_SEQUENCES: Final = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down",
    b"\x1b[5~": "page_up", b"\x1b[6~": "page_down",
    b"\x1b[H": "home", b"\x1b[F": "end", b"\x1bOH": "home", b"\x1bOF": "end", b"\x1b[1~": "home", b"\x1b[4~": "end",
}  # fmt: skip
"""Of xterm (ctlseqs), in its normal and its application mode, and of the Linux console (console_codes(4))."""

_SINGLE: Final = {
    b"\r": "enter", b"\n": "enter", b"\x7f": "backspace", b"\x08": "backspace", b"\x03": "quit", b"\x04": "quit",
    b"\x0c": "redraw", b"\x15": "clear", b"\t": "tab",
}  # fmt: skip

_FINAL: Final = range(0x40, 0x7F)
"""Bytes that end a control sequence (ECMA-48, 5.4)."""

_UTF8: Final = ((0xF8, 1), (0xF0, 4), (0xE0, 3), (0xC0, 2))
"""Lengths of characters by their first byte (RFC 3629, 3)."""

_LONGEST: Final = 32
"""Bytes of a sequence; what goes on is none."""


class Typed:
    """Decodes what arrives in pieces. A character is a key of its own name."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that are complete."""
        self._rest += data
        keys = []
        while self._rest:
            length = _length(self._rest)
            if not length:
                break
            sequence, self._rest = self._rest[:length], self._rest[length:]
            keys.append(_name(sequence))
        return [key for key in keys if key]

    @property
    def waiting(self) -> bool:
        """Whether an escape has begun, which is the key Esc unless the rest follows at once."""
        return self._rest.startswith(b"\x1b")

    def flush(self) -> list[str]:
        """Return Esc if it is alone, and forget the rest."""
        rest, self._rest = self._rest, b""
        return ["escape"] if rest == b"\x1b" else []


def _length(data: bytes) -> int:
    """Return the length of the first key, 0 if it is not complete."""
    if data[:1] == b"\x1b":
        return _escape_length(data)
    needed = next((length for first, length in _UTF8 if data[0] >= first), 1)
    for at in range(1, needed):
        if at == len(data):
            return 0
        if data[at] & 0xC0 != 0x80:
            return at  # another encoding
    return needed


def _escape_length(data: bytes) -> int:
    if data[1:2] == b"\x1b":
        return 1
    if data[1:2] == b"O":
        return 3 if len(data) >= 3 else 0
    if data[1:2] != b"[":
        return min(len(data), 2) if len(data) > 1 else 0
    end = next((at for at in range(2, len(data)) if data[at] in _FINAL), 0)
    return end + 1 if end else len(data) if len(data) >= _LONGEST else 0


def _name(sequence: bytes) -> str:
    if sequence == b"\x1b":
        return "escape"
    if sequence in _SINGLE:
        return _SINGLE[sequence]
    if sequence[:1] == b"\x1b":
        return _SEQUENCES.get(sequence, "")
    character = sequence.decode(errors="ignore")
    return character if character.isprintable() else ""
