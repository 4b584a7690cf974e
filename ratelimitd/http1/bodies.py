"""Bodies in their framing on the wire, piece by piece. Pure."""

import re

from .heads import invalid_bytes, invalid_start, parse_request
from .model import CHUNKED, ErrorResponse, Headers

MAX_EXTENSION_BYTES = 256
"""Of one chunk; extensions are hardly used, and Node bounds those of a body at 16 KiB since CVE-2024-22019."""
MAX_TRAILER_BYTES = 8 * 1024
"""Of all trailers; nginx's bound for one header line."""
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;[\t -~\x80-\xff]{0,%d})?\r\n" % MAX_EXTENSION_BYTES,
)
_SIZE_LINE_BYTES = 15 + 1 + MAX_EXTENSION_BYTES + 2
_TRAILER_HEAD = b"GET / HTTP/1.1\r\n"
_NOT_TRAILERS = frozenset(
    b"connection content-length host keep-alive proxy-connection te trailer transfer-encoding upgrade via"
    b" authorization cookie proxy-authenticate proxy-authorization set-cookie www-authenticate"
    b" content-encoding content-range content-type age alt-svc cache-control date expect expires forwarded location"
    b" max-forwards range retry-after vary warning".split()
)
"""Fields of framing and route, of authentication, of the content, and of how to take a message (RFC 9110 6.5.1)."""


class BodyError(ValueError):
    """A body is not framed as its head said. The text is for the log."""


class Counted:
    """The reader of a body with Content-Length."""

    __slots__ = ("done", "left", "trailers")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0
        self.trailers: Headers = []

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take the body's part of ``data``. Returns that part and the bytes after the body."""
        if len(data) < self.left:
            self.left -= len(data)
            return data, b""
        piece, rest = data[: self.left], data[self.left :]
        self.left = 0
        self.done = True
        return piece, rest


class Endless:
    """The reader of a body that ends with its connection."""

    __slots__ = ("done", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers: Headers = []

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take all of ``data``."""
        return data, b""


class Chunks:
    """The reader of a chunked body (RFC 9112 7.1), which is strict: CRLF, no blanks, nothing before a size."""

    __slots__ = ("_held", "_left", "_tail", "done", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers: Headers = []
        self._held = b""  # the beginning of a line
        self._left = 0  # bytes of the open chunk and of the CRLF after it
        self._tail = False  # the last chunk was read

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take the body's part of ``data``. Returns the data in it and the bytes after the body; raises BodyError."""
        if self._held:
            data = self._held + data
            self._held = b""
        pieces: list[bytes] = []
        at = 0
        while not self._tail:
            if self._left:
                at = self._take(data, at, pieces)
                if self._left:
                    return b"".join(pieces), b""
            line = _SIZE_LINE.match(data, at)
            if line is None:
                self._held = _unfinished_size(data, at)
                return b"".join(pieces), b""
            at = line.end()
            size = int(line[1], 16)
            self._tail = size == 0
            self._left = size + 2 if size else 0
        return b"".join(pieces), self._finish(data, at)

    def _take(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Take the part of the open chunk that came, and of the CRLF after it."""
        end = min(at + self._left, len(data))
        content = min(end, at + max(self._left - 2, 0))
        if content > at:
            pieces.append(data[at:content])
        tail = data[content:end]
        left = self._left - (content - at)
        if tail and not b"\r\n"[2 - left :].startswith(tail):
            raise BodyError("chunk is longer than its size")
        self._left -= end - at
        return end

    def _finish(self, data: bytes, at: int) -> bytes:
        """Read the trailers; the empty line after them ends the body."""
        if data.startswith(b"\r\n", at):
            self.done = True
            return data[at + 2 :]
        end = data.find(b"\r\n\r\n", at)
        if end < 0:
            if len(data) - at > MAX_TRAILER_BYTES or invalid_start(data[at:]):
                raise BodyError("trailers are malformed or too long")
            self._held = data[at:]
            return b""
        self.trailers = parse_trailers(data[at : end + 4])
        self.done = True
        return data[end + 4 :]


def _unfinished_size(data: bytes, at: int) -> bytes:
    """Return the beginning of a size line; raises BodyError if it cannot become one."""
    rest = data[at:]
    if len(rest) >= _SIZE_LINE_BYTES or (rest and not _could_be_size(rest)):
        raise BodyError("malformed chunk size")
    return rest


def _could_be_size(rest: bytes) -> bool:
    return any(_SIZE_LINE.fullmatch(rest + end) is not None for end in (b"\r\n", b"\n", b""))


def parse_trailers(block: bytes) -> Headers:
    """Parse trailers, which end with an empty line; raises BodyError.

    Fields that frame, route, authorise or describe content are dropped (RFC 9110 6.5.1).
    """
    if len(block) > MAX_TRAILER_BYTES or invalid_bytes(block):
        raise BodyError("malformed trailers")
    parsed = parse_request(_TRAILER_HEAD + block)
    if isinstance(parsed, ErrorResponse):
        raise BodyError("malformed trailers")
    return [(name, value) for name, value in parsed.headers if name.lower() not in _NOT_TRAILERS]


class Discard:
    """A sink for the rest of a body that has no other use, so that its connection can go on."""

    def body(self, piece: bytes) -> None:
        """Drop it."""

    def body_end(self) -> None:
        """Do nothing."""


Body = Counted | Endless | Chunks


def request_body(length: int) -> Body:
    """Make the reader of a request body."""
    return Chunks() if length == CHUNKED else Counted(length)


def response_body(length: int) -> Body:
    """Make the reader of a response body."""
    if length >= 0:
        return Counted(length)
    return Chunks() if length == CHUNKED else Endless()


def chunk(data: bytes) -> bytes:
    """Frame a piece of data, which must not be empty, as a chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Headers) -> bytes:
    """Return the end of a chunked body."""
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % trailer for trailer in trailers])
