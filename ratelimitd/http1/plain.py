"""Heads that are plainly right, taken line by line. Pure.

Most heads are. ``plain_request`` and ``plain_response`` return None for all others, which go to ``heads`` and
``framing``: these alone reject a head, and what is taken here they take with the same fields. A plain name has letters,
digits and hyphens, so no program reads it as another one; a plain line is sent on as it came.
"""

from .framing import AUTHORITY, LENGTH, ORIGIN, FramedResponse
from .model import CHUNKED, UNTIL_CLOSE, Framed, ResponseHead

_MARKED = bytes(0 if byte < 0x20 or byte == 0x7F else byte for byte in range(256))
"""Marks control bytes, also the tab, which is a blank that a value does not begin or end with; few heads have one."""
_NAME_BYTES = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_USUAL = (
    *b"Accept Accept-Charset Accept-Encoding Accept-Language Access-Control-Request-Headers Authorization".split(),
    *b"Access-Control-Request-Method Baggage Cache-Control Connection Content-Encoding Content-Length".split(),
    *b"Content-Type Cookie DNT Forwarded From Host If-Match If-Modified-Since If-None-Match Origin Pragma".split(),
    *b"Priority Range Referer Sec-CH-UA Sec-CH-UA-Mobile Sec-CH-UA-Platform Sec-Fetch-Dest Sec-Fetch-Mode".split(),
    *b"Sec-Fetch-Site Sec-Fetch-User Sec-GPC Traceparent Tracestate Upgrade-Insecure-Requests User-Agent".split(),
    *b"Via X-API-Key X-Api-Key X-Forwarded-For X-Forwarded-Host X-Forwarded-Port X-Forwarded-Proto".split(),
    *b"X-Real-IP X-Request-ID X-Request-Id X-Requested-With sec-ch-ua sec-ch-ua-mobile".split(),
    *b"Accept-Ranges Access-Control-Allow-Credentials Access-Control-Allow-Origin Age Allow Alt-Svc".split(),
    *b"Content-Disposition Content-Language Content-Location Content-Range Content-Security-Policy Date".split(),
    *b"ETag Etag Expires Keep-Alive Last-Modified Link Location Referrer-Policy Retry-After Server".split(),
    *b"Set-Cookie Strict-Transport-Security Transfer-Encoding Vary X-Cache X-Content-Type-Options".split(),
    *b"X-Frame-Options X-Powered-By X-RateLimit-Limit X-RateLimit-Remaining X-RateLimit-Reset".split(),
    *b"X-XSS-Protection sec-ch-ua-platform".split(),
)
KNOWN: dict[bytes, bytes] = {spelt: name.lower() for name in _USUAL for spelt in (name, name.lower())}
"""Usual names in lower case, by how they are spelt. It is as long as it is: what a message brings is not added."""
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"))
_JUDGED = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"te"))
"""Names of requests that change more than the line they are in."""
_JUDGED_OF_RESPONSES = frozenset((b"host", b"expect", b"upgrade"))
_PERSISTS = {b"keep-alive": True, b"Keep-Alive": True, b"close": False}
_BODILESS = frozenset((204, 304))
_OK = b"HTTP/1.1 200 OK"


def plain_request(raw: bytes) -> Framed | None:
    """Read and frame a complete request head; None if it is not plain."""
    lines = _lines(raw)
    words = lines.pop(0).split(b" ") if lines else []
    if len(words) != 3 or words[2] != b"HTTP/1.1" or words[0] not in _METHODS or ORIGIN.fullmatch(words[1]) is None:
        return None
    names = _names(lines)
    present = frozenset(names)
    if b"host" not in present or len(present) != len(names) or not _JUDGED.isdisjoint(present):
        return None
    host = lines[names.index(b"host")][6:]
    length, keeps = _length(lines, names, present), _keeps(lines, names, present)
    if length is None or keeps is None or AUTHORITY.fullmatch(host) is None:
        return None
    framed = Framed(words[0], b"1.1", words[1], names, lines=lines, plain=True)
    framed.path, _, framed.query = words[1].partition(b"?")
    framed.authority = host
    framed.length = max(length, 0)
    framed.keep_alive = keeps
    return framed


def plain_response(method: bytes, raw: bytes) -> tuple[ResponseHead, FramedResponse] | None:
    """Read and frame the complete head of a response to a request with ``method``; None if it is not plain."""
    lines = _lines(raw)
    start = lines.pop(0) if lines else b""
    status = 200 if start == _OK else _status(start)
    names = _names(lines)
    present = frozenset(names)
    if status == 0 or not names or not _JUDGED_OF_RESPONSES.isdisjoint(present):
        return None
    length, keeps = _length(lines, names, present), _keeps(lines, names, present)
    if length is None or keeps is None or (len(present) != len(names) and _repeats(names)):
        return None
    if method == b"HEAD" or status in _BODILESS:
        length = 0
    elif length == UNTIL_CLOSE:
        keeps = False
    return ResponseHead(status, start[13:], b"1.1", names, lines=lines, plain=True), FramedResponse(length, keeps)


def _lines(raw: bytes) -> list[bytes]:
    """Split a head into the lines before its empty line; empty if it has a byte or a blank that is not plain."""
    lines = raw.split(b"\r\n")
    if len(lines) < 3 or lines.pop() or lines.pop():
        return []
    if b"\0" in b"".join(lines).translate(_MARKED):
        return []
    return [] if b" \r\n" in raw or b":  " in raw else lines


def _names(lines: list[bytes]) -> list[bytes]:
    """Return the names of header lines in lower case; empty if a line has no plain name with ``: `` behind it."""
    names: list[bytes] = []
    for line in lines:
        spelt, colon, _ = line.partition(b": ")
        name = KNOWN.get(spelt)
        if name is None:
            if spelt.translate(None, _NAME_BYTES):
                return []
            name = spelt.lower()
        if not colon or not name:
            return []
        names.append(name)
    return names


def _length(lines: list[bytes], names: list[bytes], present: frozenset[bytes]) -> int | None:
    """Return the length that the headers give, ``UNTIL_CLOSE`` if they give none; None if they are not plain."""
    if b"content-length" in present:
        digits = lines[names.index(b"content-length")][16:]
        return int(digits) if LENGTH.fullmatch(digits) and b"transfer-encoding" not in present else None
    if b"transfer-encoding" in present:
        return CHUNKED if lines[names.index(b"transfer-encoding")][19:] == b"chunked" else None
    return UNTIL_CLOSE


def _keeps(lines: list[bytes], names: list[bytes], present: frozenset[bytes]) -> bool | None:
    """Return whether the connection persists; None if Connection says anything else."""
    return _PERSISTS.get(lines[names.index(b"connection")][12:]) if b"connection" in present else True


def _repeats(names: list[bytes]) -> bool:
    """Return whether a header is repeated that says how long the response or its connection is."""
    return names.count(b"content-length") + names.count(b"transfer-encoding") > 1 or names.count(b"connection") > 1


def _status(start: bytes) -> int:
    """Return the status of a plain status line of a final response, which has a reason; 0 for any other."""
    code, reason = start[9:12], start[12:14]
    if start[:9] != b"HTTP/1.1 " or not code.isdigit() or len(reason) < 2 or reason[:1] != b" " or reason[1:] == b" ":
        return 0
    status = int(code)
    return status if 200 <= status <= 599 else 0
