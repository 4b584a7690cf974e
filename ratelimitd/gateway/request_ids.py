"""X-Request-Id: the client's, or a new one."""

import random
import re
from typing import Final

from ratelimitd.http1 import Request

_VALID_ID: Final = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
"""A request id that is forwarded: the characters of UUIDs and trace ids, and no character that breaks a log."""

SERIES: Final = 65_536
"""Ids that begin alike: as many as four hexadecimal digits count."""


class RequestIds:
    """Ids in the form of a version 4 UUID: 104 random bits that the ids of a series share, and their number in it.

    An id must be unique, but need not be unpredictable: random bits for each request cost ten times as much.
    """

    __slots__ = ("_left", "_start")

    def __init__(self) -> None:
        self._start = b""
        self._left = 0

    def next(self) -> bytes:
        """Return an id that no other request has."""
        if not self._left:
            digits = b"%026x" % random.getrandbits(104)
            parts = (digits[:8], digits[8:12], b"4" + digits[12:15], b"a" + digits[15:18], digits[18:])
            self._start = b"-".join(parts)
            self._left = SERIES
        self._left -= 1
        return b"%b%04x" % (self._start, self._left)


_IDS: Final = RequestIds()


def new_id() -> bytes:
    """Return a new id."""
    return _IDS.next()


def request_id(request: Request) -> bytes:
    """Return the request's own id if it is valid, else a new id."""
    if b"x-request-id" in request.names:
        given = request.value(request.names.index(b"x-request-id"))
        if _VALID_ID.fullmatch(given):
            return given
    return new_id()
