"""Which headers are forwarded, and which describe the forwarding. Pure; the rules are those of Caddy's reverse proxy.

Hop-by-hop headers are dropped first, so that a client cannot have the gateway's own dropped by naming them in
Connection. All other headers keep their order, case and bytes.
"""

import re

from .model import Headers, Request, ResponseHead

PSEUDONYM = b"ratelimitd"
"""The gateway's name in Via (RFC 9110 7.6.3)."""
_HOP = frozenset(
    b"alt-svc connection proxy-connection keep-alive proxy-authenticate proxy-authorization te trailer"
    b" transfer-encoding upgrade".split(),
)
_PERSISTENCE = frozenset((b"keep-alive", b"close"))
NEVER_HOP = frozenset(
    b"host content-length date"  # without them the message would be another one, or of another time
    b" x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-forwarded-prefix forwarded"
    b" x-real-ip".split()
)
"""Not dropped where Connection names them. The latter are a trusted proxy's: a client whose Connection it passes on
would hide its address."""
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_APPENDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"))
CLAIMS = frozenset(
    b"x-forwarded forwarded-for client-ip x-client-ip x-cluster-client-ip x-real-ip"  # nginx, and what PHP programs try
    b" true-client-ip cf-connecting-ip cf-connecting-ipv6 fastly-client-ip"  # CDNs
    b" cf-pseudo-ipv4 cf-visitor fly-client-ip x-appengine-user-ip x-azure-clientip x-azure-socketip"  # CDNs and clouds
    b" proxy-client-ip wl-proxy-client-ip http-client-ip http-x-forwarded-for"  # what Java programs try
    b" x-envoy-external-address x-envoy-original-path x-envoy-original-host"
    b" front-end-https x-url-scheme x-scheme"  # IIS, ingress-nginx
    b" x-original-forwarded-for x-original-host x-original-url x-rewrite-url".split()  # ingress-nginx, IIS, Symfony
)
"""Names by which proxies tell the address of a client, or the URL that they got, beside X-Forwarded-*."""
REMOVED = _HOP | _APPENDED | CLAIMS | {b"content-length", b"x-request-id"}
"""Names of which the client's header does not reach the upstream as it is, beside X-Forwarded-*."""
_PLAIN = b"-0123456789abcdefghijklmnopqrstuvwxyz"
_STRANGERS = _HOP | CLAIMS
_AS_HYPHENS = bytes.maketrans(b"!#$%&'*+.^_`|~", b"-" * 14)


def to_upstream(
    request: Request, *, trusted: bool, request_id: bytes = b"", read: frozenset[bytes] | None = frozenset()
) -> Headers:
    """Make the headers for an upstream.

    The forwarding headers (X-Forwarded-*, Forwarded) of a peer that is not trusted are replaced, and those in
    ``CLAIMS`` removed; to those of a trusted one a value is appended. Names such as X_Forwarded_For, which WSGI, CGI
    and PHP read as one in ``REMOVED`` or ``read``, are removed, unless ``read`` is None. ``request_id`` replaces
    X-Request-Id. Expect is dropped, as the gateway answers it; an upgrade that may be granted has its two headers at
    the end. The sender adds the headers that frame the message.
    """
    dropped = _dropped(request.headers, request.names)
    if not trusted:
        dropped = _STRANGERS if dropped is _HOP else dropped | CLAIMS
    if read is not None and b"".join(request.names).translate(None, _PLAIN):
        dropped = dropped.union([name for name in request.names if _reads_like(name, read)])
    kept, said = _sort(request, dropped, trusted=trusted, with_id=not request_id)
    kept.extend(_forwarding(request, said))
    kept.append((b"Via", b"%b %b" % (request.version, PSEUDONYM)))
    if request_id:
        kept.append((b"X-Request-Id", request_id))
    if request.websocket:
        kept += ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))
    elif b"te" in request.names and _takes_trailers(request.headers):
        kept.append((b"TE", b"trailers"))
    return kept


def to_client(head: ResponseHead, ours: Headers, withheld: frozenset[bytes] = frozenset()) -> Headers:
    """Make the headers for a client; ``ours`` replace the upstream's of the same names, except Vary, which is a list.

    ``withheld`` are the names, in lower case, of further headers of the upstream that are dropped.
    The sender adds the headers that frame the message, except Content-Length, which is kept where a body may follow.
    """
    left = _dropped(head.headers, head.names)
    if ours or withheld:
        left = left.union([name.lower() for name, _ in ours if name != b"Vary"], withheld)
    if head.status < 200 or head.status == 204:
        left = left.union((b"content-length",))
    kept = [header for header, name in zip(head.headers, head.names, strict=True) if name not in left]
    kept.append((b"Via", b"%b %b" % (head.version, PSEUDONYM)))
    kept += ours
    return kept


def trailers_to_client(head: ResponseHead, trailers: Headers, ours: Headers) -> Headers:
    """Make the trailers for a client: without those that are removed from the head, or replaced by ``ours``."""
    left = _dropped(head.headers, head.names).union([name.lower() for name, _ in ours])
    return [trailer for trailer in trailers if trailer[0].lower() not in left]


def _dropped(headers: Headers, names: list[bytes]) -> frozenset[bytes]:
    """Return the names of hop-by-hop headers: Caddy's list, and those that Connection lists."""
    if b"connection" not in names:
        return _HOP
    first = headers[names.index(b"connection")][1]
    if first in _PERSISTENCE and names.count(b"connection") == 1:
        return _HOP
    values = [value for (_, value), name in zip(headers, names, strict=True) if name == b"connection"]
    listed = {word.strip(b" \t").lower() for value in values for word in value.split(b",")}
    return _HOP.union(listed - NEVER_HOP)


def _reads_like(name: bytes, read: frozenset[bytes]) -> bool:
    """Return whether a program that reads each such character as a hyphen takes a name for another one."""
    hyphened = name.translate(_AS_HYPHENS)
    if hyphened == name or name in read:
        return False
    return hyphened in REMOVED or hyphened in read or hyphened.startswith(b"x-forwarded-")


def _sort(
    request: Request, dropped: frozenset[bytes], *, trusted: bool, with_id: bool
) -> tuple[Headers, dict[bytes, bytes]]:
    """Return the headers to keep, and the forwarding headers of a trusted peer, lines of one name joined as a list."""
    kept: Headers = []
    said: dict[bytes, bytes] = {}
    for header, name in zip(request.headers, request.names, strict=True):
        if name in dropped or name == b"expect":
            continue
        if name in _APPENDED:
            if trusted:
                said[name] = said[name] + b", " + header[1] if name in said else header[1]
        elif name.startswith(b"x-forwarded-"):
            if trusted:
                kept.append(header)
        elif with_id or name != b"x-request-id":
            kept.append(header)
    return kept, said


def _forwarding(request: Request, said: dict[bytes, bytes]) -> Headers:
    address, scheme, host = request.peer.address.encode(), request.scheme.encode(), request.authority
    prior, hops = said.get(b"x-forwarded-for"), said.get(b"forwarded")
    way = [
        (b"X-Forwarded-For", b"%b, %b" % (prior, address) if prior else address or b"unknown"),
        (b"X-Forwarded-Proto", said.get(b"x-forwarded-proto") or scheme),
    ]
    if shown := said.get(b"x-forwarded-host") or host:
        way.append((b"X-Forwarded-Host", shown))
    hop = _forwarded(address, scheme, host)
    way.append((b"Forwarded", b"%b, %b" % (hops, hop) if hops else hop))
    return way


def _forwarded(address: bytes, scheme: bytes, host: bytes) -> bytes:
    """Return one hop in the form of RFC 7239: IPv6 in brackets, and quotes around what is not a token."""
    node = b'"[%b]"' % address if b":" in address else address or b"unknown"
    hop = b"for=%b;proto=%b" % (node, scheme)
    if not host:
        return hop
    return b"%b;host=%b" % (hop, host if _TOKEN.fullmatch(host) else b'"%b"' % host)


def _takes_trailers(headers: Headers) -> bool:
    return any(
        b"trailers" in (word.strip(b" \t").lower() for word in value.split(b","))
        for name, value in headers
        if name.lower() == b"te"
    )
