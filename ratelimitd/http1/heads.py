"""From the bytes of a head to its fields. httptools finds them; what it forgives is refused here."""

import re

import httptools

from .model import Headers, Refusal, RequestHead, ResponseHead

_FIELD_BYTES = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_SIMPLE = re.compile(rb"[A-Z]+ [^ ]+")  # a request line of HTTP 0.9
_STATUS_LINES = {b"HTTP/1.1 ": b"1.1", b"HTTP/1.0 ": b"1.0"}
_VERSIONS = {b" HTTP/1.1\r\n": b"1.1", b" HTTP/1.0\r\n": b"1.0"}


class _Fields:
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


def parse_request(head: bytes) -> RequestHead | Refusal:
    """Read a request's head, which ends with its empty line."""
    if flaw := crooked(head):
        return Refusal(400, flaw)
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # it would read no further; neither do we let it
    except httptools.HttpParserError as error:
        return _unreadable(head, error)
    method, target = parser.get_method(), fields.text
    start = b"%b %b" % (method, target)
    version = _VERSIONS.get(head[len(start) : len(start) + 11])
    if version is None:
        return _misversioned(head) or Refusal(400, "request line is not three words with single spaces")
    return RequestHead(method, target, version, _trimmed(head, fields.headers), fields.names)


def parse_response(head: bytes) -> ResponseHead | Refusal:
    """Read a response's head, which ends with its empty line."""
    if flaw := crooked(head):
        return Refusal(502, f"response: {flaw}")
    fields = _Fields()
    parser = httptools.HttpResponseParser(fields)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        return Refusal(502, f"response: {_words(error)}")
    status, version = parser.get_status_code(), _STATUS_LINES.get(head[:9])
    if version is None or head[9:12] != b"%d" % status:
        return Refusal(502, "response: status line is not of HTTP 1.0 or 1.1")
    return ResponseHead(status, fields.text, version, _trimmed(head, fields.headers), fields.names)


def crooked(head: bytes) -> str:
    """Say what no head may hold: control bytes, or a CR or LF alone (RFC 9112 2.2); httptools knows folded lines."""
    rest = head.translate(None, _FIELD_BYTES)
    if rest == b"\r\n" * (len(rest) >> 1):
        return ""
    return "control byte in the head" if rest.strip(b"\r\n") else "CR or LF alone in the head"


def hopeless(part: bytes) -> str:
    """Say why the beginning of a head cannot become one, so that nobody waits for its end."""
    return crooked(part + b"\n" if part.endswith(b"\r") else part)


def _trimmed(head: bytes, headers: Headers) -> Headers:
    """Take off the blanks after values, which httptools leaves on."""
    if b" \r\n" in head or b"\t\r\n" in head:
        return [(name, value.rstrip(b" \t")) for name, value in headers]
    return headers


def _unreadable(head: bytes, error: Exception) -> Refusal:
    if refusal := _misversioned(head):
        return refusal
    if isinstance(error, httptools.HttpParserInvalidMethodError) and _is_word(head.split(b" ", 1)[0]):
        return Refusal(501, "unknown method")
    return Refusal(400, _words(error))


def _misversioned(head: bytes) -> Refusal | None:
    line = head[: head.find(b"\r\n")]
    named = line[-9:-3] == b" HTTP/" and line[-3:] not in {b"1.0", b"1.1"}
    return Refusal(505, "HTTP version is neither 1.0 nor 1.1") if named or _SIMPLE.fullmatch(line) else None


def _is_word(method: bytes) -> bool:
    return method.isalpha() and method.isupper()


def _words(error: Exception) -> str:
    return str(error)[:1].lower() + str(error)[1:]
