"""Bounds on a reply, checked before hiredis reads it; no I/O.

The only one that hiredis has itself is 1,024 nested lists. It makes a list of as many places as its first line names,
keeps a string of half a gigabyte until it is whole, and searches a line from its begin again after each read.
"""

import re
from typing import Final

REPLY_BYTES: Final = 4 << 20
"""Bytes of one reply. CLUSTER SLOTS has 300 for a range of slots with three nodes, a script call less than 100 for each
charge; 4 MiB are 13,000 ranges, or 40,000 charges."""

LINE_BYTES: Final = 64 << 10
"""Bytes without the end of a line. Redis' errors are shorter than 1 KiB, and so is each line of INFO."""

LISTS: Final = 1 << 17
"""Lists in one reply, which are 4 bytes each for the sender and 80 for us. CLUSTER SLOTS has 7 for a range of slots
with three nodes, and at most 16,384 ranges."""

PLACES: Final = 1 << 16
"""Places of the large lists in one reply, 8 bytes each. CLUSTER SLOTS is one list, of at most 16,384 ranges."""

_LARGE: Final = re.compile(rb"\*(\d{4,10})\r\n")
_LARGE_OF_RESP3: Final = re.compile(rb"[>~|](\d{4,10})\r\n")
"""Large lists, of a thousand places or more; a script call of 128 charges has 769. Pushes, sets and attributes are
lists too: no connection asks for RESP3, but hiredis reads it."""

HEADER_BYTES: Final = 12
"""Bytes of a list's first line without its end: eleven digits are more than hiredis accepts."""


class Bounds:
    """What one connection has received of a reply that is not whole yet."""

    __slots__ = ("_bytes", "_line", "_lists", "_places", "_tail")

    def __init__(self) -> None:
        self._bytes = 0
        self._line = 0
        self._lists = 0
        self._places = 0
        self._tail = b""

    def problem(self, data: bytes) -> str:
        """Return why these bytes must not be read; empty if they may be."""
        if not self._bytes and not self._tail and _is_one_short_list(data):
            self._bytes = len(data)
            return ""
        seen = self._tail + data if self._tail else data
        large = _LARGE.findall(seen)
        if _has_resp3(seen):
            large += _LARGE_OF_RESP3.findall(seen)
        if large:
            self._places += sum(map(int, large))
            if self._places > PLACES:
                return f"lists of more than {PLACES:,} places"
        if self._bytes:
            self._lists += data.count(b"*")
            if self._lists > LISTS:
                return f"more than {LISTS:,} lists"
        self._bytes += len(data)
        if self._bytes > REPLY_BYTES:
            return f"more than {REPLY_BYTES >> 20} MiB"
        if data.endswith(b"\n"):
            self._tail = b""
            self._line = 0
            return ""
        return self._unended(seen)

    def _unended(self, seen: bytes) -> str:
        """Keep the last line, which may be the begin of a list, and count its bytes."""
        last = len(seen) - seen.rfind(b"\n") - 1
        self._line = last if last < len(seen) else self._line + last - len(self._tail)
        self._tail = seen[-min(last, HEADER_BYTES) :]
        return f"a line of more than {LINE_BYTES >> 10} KiB" if self._line > LINE_BYTES else ""

    def whole(self) -> None:
        """Note that a reply was read."""
        self._bytes = self._lists = self._places = 0


def _is_one_short_list(data: bytes) -> bool:
    """Whether these bytes have no list but one at their begin, with less than a thousand places, and end a line.

    So are most replies to script calls. To look for regular expressions would be a tenth of the work for a lone call.
    """
    return (
        data.startswith(b"*")
        and data.endswith(b"\n")
        and len(data) <= LINE_BYTES
        and _CR in data[1 : len(b"*1000")]
        and _LIST not in data[1:]
        and not _has_resp3(data)
    )


def _has_resp3(data: bytes) -> bool:
    """Whether a list of RESP3 may begin in these bytes.

    To look for each of them takes less time than a search for one of a set. They are numbers, since ``in`` makes and
    drops an exception for a text of bytes.
    """
    return _PUSH in data or _SET in data or _ATTRIBUTES in data


_LIST, _PUSH, _SET, _ATTRIBUTES, _CR = b"*>~|\r"
