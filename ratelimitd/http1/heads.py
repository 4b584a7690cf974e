"""From the bytes of a message's head to its fields and framing. Pure, but for a cache of parsed heads.

httptools finds the fields of a head; what it accepts against RFC 9112 is rejected here and in ``framing``.
"""

import re
from typing import Generic, TypeVar

import httptools

from .framing import FramedResponse, frame_request, frame_response
from .model import ErrorResponse, Framed, Headers, RequestHead, ResponseHead
from .options import ServerOptions
from .plain import plain_request, plain_response

T = TypeVar("T")
MAX_HEADS = 512
MAX_HEAD_BYTES, MAX_HEAD_FIELDS = 1024, 28
"""Heads that a cache holds, and the longest of them: a browser's has 600 to 900 bytes in 15 to 20 fields."""
MAX_SEEN = 4096
"""Hashes of heads that were seen once, in each cache."""
REQUEST_HEADS_BYTES = MAX_HEADS * (7 << 10) + MAX_SEEN * 128
RESPONSE_HEADS_BYTES = MAX_HEADS * (12 << 10) + MAX_SEEN * 128
"""Each cache when it is full: the longest requests took 5 to 6 KiB each, with their fields and what is sent on, and the
longest responses 8 to 9.5 KiB."""
LINE_END = b"\r\n"
_CR = 0x0D
_FIELD_BYTES = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_SIMPLE = re.compile(rb"[A-Z]+ [^ ]+")  # a request line of HTTP 0.9
_KNOWN_METHOD = b"PUT"
_OTHER_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Z-]{1,64}")
"""A token (RFC 9110 5.6.2) in capitals: an application that takes ``post`` for POST would step round routes of POST."""
_NO_METHODS = frozenset((b"CONNECT", b"PRI"))
"""No method for a proxy of paths, and the beginning of HTTP/2 (RFC 9113 3.4)."""
_STATUS_LINES = {b"HTTP/1.1 ": b"1.1", b"HTTP/1.0 ": b"1.0"}
_VERSIONS = {b" HTTP/1.1\r\n": b"1.1", b" HTTP/1.0\r\n": b"1.0"}


class HeadCache(Generic[T]):
    """Cache of parsed heads: clients repeat identical request heads; upstreams repeat theirs until Date changes.

    Parsing takes a third of the time of a request, and its result depends on the bytes alone. A head is stored when it
    is seen for the second time; the first time leaves its hash and no more. Storing every head would make the garbage
    collector traverse them, which cost more than parsing where no two heads are equal. A full cache is cleared.
    """

    def __init__(self) -> None:
        self._parsed: dict[bytes, T] = {}
        self._seen: set[int] = set()
        self.get = self._parsed.get

    def __repr__(self) -> str:
        return f"<HeadCache: {len(self._parsed)} parsed, {len(self._seen)} seen>"

    def put(self, raw: bytes, parsed: T, names: list[bytes]) -> None:
        """Store a parsed head, if it was seen before and is within ``MAX_HEAD_BYTES`` and ``MAX_HEAD_FIELDS``."""
        mark = hash(raw)
        if mark not in self._seen:
            if len(self._seen) >= MAX_SEEN:
                self._seen.clear()
            self._seen.add(mark)
        elif len(raw) <= MAX_HEAD_BYTES and len(names) <= MAX_HEAD_FIELDS:
            if len(self._parsed) >= MAX_HEADS:
                self._parsed.clear()
            self._parsed[raw] = parsed


_requests: HeadCache[Framed] = HeadCache()
_responses: HeadCache[tuple[ResponseHead, FramedResponse]] = HeadCache()


def take_request(
    partial: bytearray, data: bytes, options: ServerOptions
) -> tuple[Framed, bytes] | ErrorResponse | None:
    """Take a request head: ``partial`` is what earlier reads brought of it, ``data`` what one more read brought.

    Returns the head and the bytes after it. Returns None while the head is not complete; ``data`` is in
    ``partial`` then. ``partial`` is empty before the first read and after a head was taken.
    """
    whole = _joined(partial, data) if partial else data
    end = whole.find(b"\r\n\r\n") + 4
    if end < 4 or end > options.max_head:
        if not partial:
            partial += data
        return _incomplete(partial, len(data), options)
    if partial:
        partial.clear()
    read = read_request(whole[:end])
    if isinstance(read, ErrorResponse) and options.methods == "any":
        read = read_other_method(whole[:end], read)
    if isinstance(read, ErrorResponse):
        return read
    if len(read.asked) > options.max_target:
        return ErrorResponse(414, "request target is too long")
    if len(read.names) > options.max_headers:
        return ErrorResponse(431, "too many headers")
    if read.length > options.max_body:
        return ErrorResponse(413, "request body is too large")
    return read, whole[end:]


def after_empty_line(partial: bytearray, data: bytes) -> bytes | None:
    """Return what follows an empty line, if a connection's next bytes, ``partial`` and ``data``, begin with one.

    RFC 9112 2.2: a server SHOULD ignore at least one before a request line, as clients of old send one after a body.
    It must be CRLF. ``partial`` is empty afterwards.
    """
    if not partial:
        return data[2:] if data.startswith(LINE_END) else None
    if partial != b"\r" or not data.startswith(b"\n"):
        return None
    partial.clear()
    return data[1:]


def take_response(
    partial: bytearray, data: bytes, method: bytes, max_head: int
) -> tuple[ResponseHead, FramedResponse, bytes] | ErrorResponse | None:
    """Take the head of a response to ``method``, as ``take_request`` takes that of a request."""
    whole = _joined(partial, data) if partial else data
    end = whole.find(b"\r\n\r\n") + 4
    if end > max_head or (end < 4 and len(partial or data) > max_head):
        return ErrorResponse(502, "response: head is too long")
    if end < 4:
        if not partial:
            partial += data
        flaw = _invalid_new(partial, len(data))
        return ErrorResponse(502, f"response: {flaw}") if flaw else None
    if partial:
        partial.clear()
    read = read_response(method, whole[:end])
    if isinstance(read, ErrorResponse):
        return read
    head, framed = read
    return head, framed, whole[end:]


def _joined(partial: bytearray, data: bytes) -> bytes:
    """Append a read to an incomplete head; returns all of it when the empty line has come, nothing before.

    After h11's ReceiveBuffer: the bytes before were searched by earlier calls, so only a separator that begins in the
    last three of them can still be found. Each byte is searched twice at most, however many reads bring the head.
    """
    searched = max(len(partial) - 3, 0)
    partial += data
    return b"" if partial.find(b"\r\n\r\n", searched) < 0 else bytes(partial)


def _incomplete(partial: bytearray, new: int, options: ServerOptions) -> ErrorResponse | None:
    """Return the reason to reject a head before it is complete, if one of the last ``new`` bytes gives one."""
    size, most = len(partial), options.max_target
    if size - new <= most < size and partial.find(b"\r\n", 0, most + 32) < 0:
        return ErrorResponse(414, "request target is too long")
    if size > options.max_head:
        return ErrorResponse(431, "request head is too long")
    flaw = _invalid_new(partial, new)
    return ErrorResponse(400, flaw) if flaw else None


def _invalid_new(partial: bytearray, new: int) -> str:
    """Give ``invalid_start`` of an incomplete head of which all but the last ``new`` bytes are known to be valid."""
    start = len(partial) - new
    if start and partial[start - 1] == _CR:
        start -= 1  # its LF may have come with the next read
    return invalid_start(partial[start:])


def read_request(raw: bytes) -> Framed | ErrorResponse:
    """Read and frame a complete request head. The result is shared with later equal heads and must not be changed."""
    cached = _requests.get(raw)
    if cached is not None:
        return cached
    framed = plain_request(raw) or judged_request(raw)
    if isinstance(framed, Framed):
        _requests.put(raw, framed, framed.names)
    return framed


def read_other_method(raw: bytes, refused: ErrorResponse) -> Framed | ErrorResponse:
    """Parse and frame a complete request head that was refused; ``refused`` unless it may be for its method alone.

    llhttp reads it with another method, which changes nothing about all that follows the method. The result is not
    cached: a listener that knows fewer methods has the same cache.
    """
    method = raw.partition(b" ")[0]
    if not _OTHER_METHOD.fullmatch(method) or method in _NO_METHODS:
        return refused
    head = parse_request(_KNOWN_METHOD + raw[len(method) :])
    if isinstance(head, ErrorResponse):
        return head
    return frame_request(head._replace(method=method))


def read_response(method: bytes, raw: bytes) -> tuple[ResponseHead, FramedResponse] | ErrorResponse:
    """Read and frame a complete response head; the request had ``method``. The result is shared: do not change it."""
    cached = _responses.get(raw) if method != b"HEAD" else None  # no other method changes the framing of a head
    if cached is not None:
        return cached
    read = plain_response(method, raw) or judged_response(method, raw)
    if not isinstance(read, ErrorResponse) and method != b"HEAD":
        _responses.put(raw, read, read[0].names)
    return read


def judged_request(raw: bytes) -> Framed | ErrorResponse:
    """Parse and frame a request head of any kind."""
    head = parse_request(raw)
    return head if isinstance(head, ErrorResponse) else frame_request(head)


def judged_response(method: bytes, raw: bytes) -> tuple[ResponseHead, FramedResponse] | ErrorResponse:
    """Parse and frame a response head of any kind."""
    head = parse_response(raw)
    if isinstance(head, ErrorResponse):
        return head
    framed = frame_response(method, head)
    return framed if isinstance(framed, ErrorResponse) else (head, framed)


class _Callbacks:
    """Collects what httptools' callbacks report."""

    __slots__ = ("headers", "names", "text")

    def __init__(self) -> None:
        self.headers: Headers = []
        self.names: list[bytes] = []
        self.text = b""

    def on_url(self, url: bytes) -> None:
        self.text = url

    def on_status(self, reason: bytes) -> None:
        self.text = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))
        self.names.append(name.lower())


def parse_request(head: bytes) -> RequestHead | ErrorResponse:
    """Parse a request head, which ends with its empty line."""
    if flaw := invalid_bytes(head):
        return ErrorResponse(400, flaw)
    fields = _Callbacks()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # it stops at the end of the head, where the bytes it was given end too
    except httptools.HttpParserError as error:
        return _unreadable(head, error)
    method, target = parser.get_method(), fields.text
    start = b"%b %b" % (method, target)
    version = _VERSIONS.get(head[len(start) : len(start) + 11])
    if version is None:
        return _misversioned(head) or ErrorResponse(400, "request line is not three words with single spaces")
    return RequestHead(method, target, version, _trimmed(head, fields.headers), fields.names)


def parse_response(head: bytes) -> ResponseHead | ErrorResponse:
    """Parse a response head, which ends with its empty line."""
    if flaw := invalid_bytes(head):
        return ErrorResponse(502, f"response: {flaw}")
    fields = _Callbacks()
    parser = httptools.HttpResponseParser(fields)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        return ErrorResponse(502, f"response: {_words(error)}")
    status, version = parser.get_status_code(), _STATUS_LINES.get(head[:9])
    if version is None or head[9:12] != b"%d" % status:
        return ErrorResponse(502, "response: status line is not of HTTP 1.0 or 1.1")
    return ResponseHead(status, fields.text, version, fields.names, _trimmed(head, fields.headers))


def invalid_bytes(head: bytes | bytearray) -> str:
    """Describe the bytes that a head must not contain: control bytes, bare CR or LF (RFC 9112 2.2); empty if none.

    Folded lines are left to httptools.
    """
    rest = head.translate(None, _FIELD_BYTES)
    if rest == b"\r\n" * (len(rest) >> 1):
        return ""
    return "control byte in the head" if rest.strip(b"\r\n") else "CR or LF alone in the head"


def invalid_start(part: bytes | bytearray) -> str:
    """Describe the bytes that make an incomplete head invalid, whatever follows; empty if there are none."""
    return invalid_bytes(part + b"\n" if part.endswith(b"\r") else part)


def _trimmed(head: bytes, headers: Headers) -> Headers:
    """Remove trailing whitespace from values, which httptools keeps."""
    if b" \r\n" in head or b"\t\r\n" in head:
        return [(name, value.rstrip(b" \t")) for name, value in headers]
    return headers


def _unreadable(head: bytes, error: Exception) -> ErrorResponse:
    if rejected := _misversioned(head):
        return rejected
    if isinstance(error, httptools.HttpParserInvalidMethodError) and _is_word(head.split(b" ", 1)[0]):
        return ErrorResponse(501, "unknown method")
    return ErrorResponse(400, _words(error))


def _misversioned(head: bytes) -> ErrorResponse | None:
    line = head[: head.find(b"\r\n")]
    named = line[-9:-3] == b" HTTP/" and line[-3:] not in {b"1.0", b"1.1"}
    return ErrorResponse(505, "HTTP version is neither 1.0 nor 1.1") if named or _SIMPLE.fullmatch(line) else None


def _is_word(method: bytes) -> bool:
    return method.isalpha() and method.isupper()


def _words(error: Exception) -> str:
    return str(error)[:1].lower() + str(error)[1:]
