"""Framing of messages: where a message ends (RFC 9112 6.3). Pure.

Request smuggling needs two parsers that disagree about the end of a message, so every ambiguous head is rejected.
docs/http-framing.md lists these heads, and what h11 and httptools make of them.
"""

import re
from typing import NamedTuple

from .model import CHUNKED, UNTIL_CLOSE, ErrorResponse, Framed, Headers, RequestHead, ResponseHead

LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_HOST = rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
AUTHORITY = re.compile(_HOST)
ORIGIN = re.compile(rb"(/[!\"$->@-~]*)(?:\?([!\"$-~]*))?")
_ABSOLUTE = re.compile(rb"(?i:https?)://(" + _HOST + rb")((?:/[!\"$->@-~]*)?)(?:\?([!\"$-~]*))?")
_WATCHED = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"))
_LISTS = frozenset((b"connection", b"upgrade"))
SINGLE = frozenset(
    b"host content-length content-location content-type"  # RFC 9110 7.2, 8
    b" from max-forwards referer user-agent"  # 10.1, 7.6.2
    b" authorization proxy-authorization"  # 11
    b" if-modified-since if-range if-unmodified-since"  # 13.1
    b" content-range range date"  # 14, 6.6.1
    b" origin access-control-request-method"  # RFC 6454 7.3, Fetch 3.3.2
    b" sec-websocket-key sec-websocket-version"  # RFC 6455 11.3
    b" depth destination overwrite"  # RFC 4918 10
    b" dpop grpc-timeout".split()  # RFC 9449 4.3, gRPC over HTTP/2
)
"""Fields of requests that are no lists: a second line is malformed (RFC 9110 5.3), and programs differ on which they
read. Cookie is not among them: a hop from HTTP/2 may leave its lines apart."""
_BODILESS = frozenset((204, 304))


class FramedResponse(NamedTuple):
    """The framing of a response.

    Attributes:
        length: length of the body in bytes, ``CHUNKED`` or ``UNTIL_CLOSE``.
        keep_alive: the upstream lets the connection persist.
    """

    length: int
    keep_alive: bool


def frame_request(head: RequestHead) -> Framed | ErrorResponse:
    """Frame a request, or reject it: with 405 for CONNECT, 417 for an unknown expectation, 400 for all else."""
    method, target, version, headers, names = head
    seen = _watched(headers, names)
    aimed = _aim(method, target)
    if seen is None or aimed is None:
        return _unaimed(method, seen)
    if len(set(names)) < len(names) and (twice := _repeated(names)):
        return ErrorResponse(400, f"{twice} more than once")
    length = _misdirected(seen, version) or _request_length(seen, version)
    if isinstance(length, ErrorResponse):
        return length
    expects = version == b"1.1" and b"expect" in seen
    if expects and seen[b"expect"].lower() != b"100-continue":
        return ErrorResponse(417, "unknown expectation")
    sent, path, query, authority = aimed
    if authority:
        headers, names = _with_host(headers, names, authority)
    framed = Framed(method, version, target, names, headers)
    framed.target, framed.path, framed.query = sent, path, query
    framed.authority = authority or seen.get(b"host", b"")
    framed.length = length
    framed.keep_alive = _keeps(seen, version)
    framed.expects = expects and length != 0
    may_switch = b"upgrade" in seen and length == 0 and method == b"GET" and version == b"1.1"
    framed.websocket = may_switch and _is_websocket(seen)
    return framed


def frame_response(method: bytes, head: ResponseHead) -> FramedResponse | ErrorResponse:
    """Frame the response to a request with ``method``, or reject it with 502."""
    seen = _watched(head.headers, head.names)
    if seen is None:
        return ErrorResponse(502, "response: Content-Length or Transfer-Encoding more than once")
    coding, length = seen.get(b"transfer-encoding"), seen.get(b"content-length")
    if coding is not None and (length is not None or head.version != b"1.1" or coding.lower() != b"chunked"):
        return ErrorResponse(502, "response: Transfer-Encoding is not chunked alone")
    if length is not None and not LENGTH.fullmatch(length):
        return ErrorResponse(502, "response: malformed Content-Length")
    keep = _keeps(seen, head.version)
    if method == b"HEAD" or head.status < 200 or head.status in _BODILESS:
        return FramedResponse(0, keep)
    if coding is None and length is None:
        return FramedResponse(UNTIL_CLOSE, keep_alive=False)
    return FramedResponse(CHUNKED if length is None else int(length), keep)


def grants_websocket(head: ResponseHead) -> bool:
    """Return whether a head grants an upgrade to WebSocket."""
    seen = _watched(head.headers, head.names)
    return seen is not None and head.status == 101 and _is_websocket(seen)


def _watched(headers: Headers, names: list[bytes]) -> dict[bytes, bytes] | None:
    """Return the headers that framing depends on; None if one is repeated that must not be."""
    seen: dict[bytes, bytes] = {}
    for name in _WATCHED.intersection(names):
        if names.count(name) == 1:
            seen[name] = headers[names.index(name)][1]
        elif name in _LISTS:
            seen[name] = b",".join([value for key, (_, value) in zip(names, headers, strict=True) if key == name])
        else:
            return None
    return seen


def _repeated(names: list[bytes]) -> str:
    """Return the name of a repeated field that is no list; empty if there is none."""
    return next((name.decode() for name in names if name in SINGLE and names.count(name) > 1), "")


def _unaimed(method: bytes, seen: dict[bytes, bytes] | None) -> ErrorResponse:
    if method == b"CONNECT":
        return ErrorResponse(405, "CONNECT")
    if seen is None:
        return ErrorResponse(400, "Host, Content-Length, Transfer-Encoding or Expect more than once")
    return ErrorResponse(400, "request target is neither a path, an http URL nor OPTIONS *")


def _misdirected(seen: dict[bytes, bytes], version: bytes) -> ErrorResponse | None:
    host = seen.get(b"host")
    if host is None:
        return ErrorResponse(400, "Host is missing") if version == b"1.1" else None
    return None if AUTHORITY.fullmatch(host) else ErrorResponse(400, "malformed Host")


def _request_length(seen: dict[bytes, bytes], version: bytes) -> int | ErrorResponse:
    coding, length = seen.get(b"transfer-encoding"), seen.get(b"content-length")
    if coding is None:
        if length is None:
            return 0
        return int(length) if LENGTH.fullmatch(length) else ErrorResponse(400, "malformed Content-Length")
    if length is not None:
        return ErrorResponse(400, "Transfer-Encoding with Content-Length")
    if version != b"1.1":
        return ErrorResponse(400, "Transfer-Encoding in HTTP 1.0")
    return CHUNKED if coding.lower() == b"chunked" else ErrorResponse(400, "Transfer-Encoding is not chunked alone")


def _aim(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
    """Split a target into the one to send on, path, query and the authority of an absolute one; None: it is invalid."""
    if method == b"CONNECT":
        return None
    if (origin := ORIGIN.fullmatch(target)) is not None:
        path, query = origin.groups(b"")
        return target, path, query, b""
    if target == b"*":
        return (target, target, b"", b"") if method == b"OPTIONS" else None
    if (absolute := _ABSOLUTE.fullmatch(target)) is None:
        return None
    authority, path, query = absolute.groups(b"")
    asks = absolute[3] is not None  # ``?`` alone is a query, which is empty
    if not path and not asks and method == b"OPTIONS":
        return b"*", b"*", b"", authority
    path = path or b"/"
    return (b"%b?%b" % (path, query) if asks else path), path, query, authority


def _with_host(headers: Headers, names: list[bytes], authority: bytes) -> tuple[Headers, list[bytes]]:
    """Replace Host in place, or add it (a 1.0 request need not have one)."""
    if b"host" not in names:
        return [(b"Host", authority), *headers], [b"host", *names]
    at = names.index(b"host")
    return [*headers[:at], (headers[at][0], authority), *headers[at + 1 :]], names


def _keeps(seen: dict[bytes, bytes], version: bytes) -> bool:
    """Return whether the connection persists: with 1.1 unless ``close``, with 1.0 if ``keep-alive``."""
    connection = seen.get(b"connection")
    if connection is None:
        return version == b"1.1"
    tokens = _tokens(connection)
    return b"close" not in tokens and (version == b"1.1" or b"keep-alive" in tokens)


def _tokens(value: bytes) -> set[bytes]:
    if b"," not in value:
        return {value.lower()}
    return {token.strip(b" \t").lower() for token in value.split(b",")}


def _is_websocket(seen: dict[bytes, bytes]) -> bool:
    return b"upgrade" in _tokens(seen.get(b"connection", b"")) and seen.get(b"upgrade", b"").lower() == b"websocket"
