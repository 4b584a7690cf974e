"""Conversion of HTTP/1.1 requests and responses to those of a handler. Pure."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote

from ratelimitd import http1

from .http import NO_HEADERS, PageRequest, PageResponse

WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib window bits by content coding of a request body (RFC 9110 8.4.1)."""


class HeaderValues(Mapping[str, str]):
    """The first value of each header; names are case-insensitive."""

    __slots__ = ("_values",)

    def __init__(self, headers: http1.Headers) -> None:
        """Bytes that are not UTF-8 are kept as surrogate escapes."""
        self._values = {
            name.decode("latin-1").lower(): value.decode(errors="surrogateescape") for name, value in reversed(headers)
        }

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def read(request: http1.Request, headers: Mapping[str, str], body: bytes) -> PageRequest:
    """Convert a request whose body was read."""
    query = request.query.decode()
    return PageRequest(
        method=request.method.decode(),
        path=path_of(request),
        query=dict(reversed(parse_qsl(query, keep_blank_values=True))) if query else NO_HEADERS,
        headers=headers,
        body=body,
        peer=request.peer.address,
        raw_query=query,
    )


def path_of(request: http1.Request) -> str:
    """Return the path, percent-decoded."""
    return unquote(request.path.decode())


def unpacked(body: bytes, coding: str, max_body: int) -> bytes | http1.ErrorResponse:
    """Decode a Content-Encoding; returns 413 for more than ``max_body`` bytes, and 400 for malformed data."""
    if not body or coding.lower() in {"", "identity"}:
        return body
    bits = WINDOW_BITS.get(coding.lower())
    if bits is None:
        return http1.ErrorResponse(400, "unsupported Content-Encoding")
    unpacking = zlib.decompressobj(bits)
    try:
        plain = unpacking.decompress(body, max_body + 1)
    except zlib.error:
        return http1.ErrorResponse(400, "request body does not match its Content-Encoding")
    if len(plain) > max_body:
        return http1.ErrorResponse(413, "request body is too large")
    if not unpacking.eof or unpacking.unused_data:
        return http1.ErrorResponse(400, "request body does not match its Content-Encoding")
    return plain


def headers_of(response: PageResponse) -> http1.Headers:
    """Return the headers of a response, without those for framing."""
    headers = {**response.headers, "Content-Type": response.content_type}
    return [(name.encode(), value.encode()) for name, value in headers.items()]
