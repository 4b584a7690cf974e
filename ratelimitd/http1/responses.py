"""Heads as bytes, and the error responses that this room makes itself. Pure, but for the date."""

import time
from collections.abc import Callable
from http import HTTPStatus

from .model import ErrorResponse, Header, Headers, Request

Render = Callable[[ErrorResponse, Request | None], tuple[Headers, bytes]]
"""Makes headers and body of an error response; the request is None if none could be read."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED_HEADER: Header = (b"Transfer-Encoding", b"chunked")
GRANTED: Headers = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_date = (0, b"")


def head(status: int, reason: bytes, headers: Headers) -> bytes:
    """Write the head of a response."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines_of(headers))


def request_head(method: bytes, target: bytes, host: bytes, lines: bytes) -> bytes:
    """Write the head of a request to an upstream, which is always of HTTP 1.1; ``lines`` are all but Host."""
    return b"".join((method, b" ", target, b" HTTP/1.1\r\nHost: ", host, b"\r\n", lines, b"\r\n"))


def lines_of(headers: Headers) -> bytes:
    """Write header lines, each with its end."""
    parts: list[bytes] = []
    for name, value in headers:
        parts.append(name)
        parts.append(b": ")
        parts.append(value)
        parts.append(b"\r\n")
    return b"".join(parts)


def error_answer(headers: Headers, body: bytes, status: int) -> bytes:
    """Write an error response that ends its connection."""
    length = (b"Content-Length", b"%d" % len(body))
    full = [*headers, date_header(), length, *persistence(b"1.1", keep=False)]
    return head(status, reason_of(status), full) + body


def persistence(version: bytes, *, keep: bool) -> Headers:
    """Return the Connection header, where ``version`` does not imply its value (RFC 9112 9.3)."""
    if not keep:
        return [(b"Connection", b"close")]
    return [(b"Connection", b"keep-alive")] if version == b"1.0" else []


def reason_of(status: int) -> bytes:
    """Return the reason phrase of a status; empty for an unknown one."""
    return _REASONS.get(status, b"")


def has_body(method: bytes, status: int) -> bool:
    """Return whether a response may have a body (RFC 9110 6.4.1)."""
    return method != b"HEAD" and status >= 200 and status not in {204, 304}


def date_header() -> Header:
    """Return the Date header, which is formatted once a second."""
    global _date  # noqa: PLW0603 -- one clock, one date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, imf_date(now))
    return (b"Date", _date[1])


def imf_date(seconds: int) -> bytes:
    """Write seconds of the epoch as RFC 9110 5.6.7 does; email.utils can too, but is 9 modules and 0.3 MB."""
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(seconds)
    date = (_DAYS[weekday], day, _MONTHS[month - 1], year, hour, minute, second)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % date


def render_text(error: ErrorResponse, request: Request | None) -> tuple[Headers, bytes]:  # noqa: ARG001 -- a Render
    """Render an error response as a line of text."""
    return [(b"Content-Type", b"text/plain; charset=utf-8")], b"%b\n" % error.reason.encode()
