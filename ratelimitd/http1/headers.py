"""Which headers are forwarded, and which describe the forwarding. Pure; the rules are those of Caddy's reverse proxy.

Hop-by-hop headers are dropped first, so that a client cannot have the gateway's own dropped by naming them in
Connection. All other headers keep their order, case and bytes.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from .model import Fields, Framed, Headers, Request, ResponseHead
from .plain import KNOWN
from .responses import lines_of

PSEUDONYM = b"ratelimitd"
"""The gateway's name in Via (RFC 9110 7.6.3)."""
_HOP = frozenset(
    b"alt-svc connection proxy-connection keep-alive proxy-authenticate proxy-authorization te trailer"
    b" transfer-encoding upgrade".split(),
)
_LENGTH = frozenset((b"content-length",))
_NO_NAMES = frozenset[bytes]()
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
_NOTHING: Mapping[bytes, bytes] = MappingProxyType({})
_RESAID = _HOP | _APPENDED | {b"host", b"expect"}
_DROPPED = {
    (trusted, identified): _RESAID | (frozenset() if trusted else CLAIMS) | ({b"x-request-id"} if identified else set())
    for trusted in (True, False)
    for identified in (True, False)
}
"""Names of the lines that do not go on, by whether the peer is trusted, and whether X-Request-Id is replaced."""
_PLAIN = b"-0123456789abcdefghijklmnopqrstuvwxyz"
_AS_HYPHENS = bytes.maketrans(b"!#$%&'*+.^_`|~", b"-" * 14)


def to_upstream(
    request: Request,
    *,
    trusted: bool,
    request_id: bytes = b"",
    read: frozenset[bytes] | None = frozenset(),
    without: frozenset[bytes] = frozenset(),
    hop: bytes | None = None,
) -> bytes:
    """Make the header lines for an upstream, each with its end.

    The forwarding headers (X-Forwarded-*, Forwarded) of a peer that is not trusted are replaced, and those in
    ``CLAIMS`` removed; to those of a trusted one a value is appended. Names such as X_Forwarded_For, which WSGI, CGI
    and PHP read as one in ``REMOVED`` or ``read``, are removed, unless ``read`` is None. ``request_id`` replaces
    X-Request-Id. ``without`` are further names, in lower case, that are removed. ``hop`` is what ``this_hop`` returns
    for the request, if it was made before. Expect is dropped, as the gateway answers it; an upgrade that may be granted
    has its two headers at the end. The sender adds Host, before them, and the headers that frame the message.
    """
    said = _said(request.head) if trusted else _NOTHING
    parts = [
        _kept(request.head, trusted, request_id != b"", read, without),
        this_hop(request, said) if said or hop is None else hop,
    ]
    if request_id:
        parts += (b"X-Request-Id: ", request_id, b"\r\n")
    if request.websocket:
        parts.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    elif not request.head.plain and b"te" in request.names and _takes_trailers(request.headers):
        parts.append(b"TE: trailers\r\n")
    return b"".join(parts)


def _kept(
    head: Framed, trusted: bool, identified: bool, read: frozenset[bytes] | None, without: frozenset[bytes]
) -> bytes:
    """Return those of a request's lines that go on as they came.

    ``identified``: X-Request-Id is replaced. The lines are kept with a plain head, for equal requests: they depend on
    the head alone then, as no plain name is read as another one.
    """
    usual = head.plain and identified and not trusted and not without
    if usual and head.kept:
        return head.kept
    hop = _dropped(head)
    dropped = _DROPPED[trusted, identified]
    if hop is not _HOP or without:
        dropped = dropped.union(hop, without)
    if read is not None and not head.plain and b"".join(head.names).translate(None, _PLAIN):
        dropped = dropped.union([name for name in head.names if _reads_like(name, read)])
    kept = _joined(
        [
            line
            for line, name in zip(head.lines, head.names, strict=True)
            if name not in dropped and (trusted or not name.startswith(b"x-forwarded-"))
        ]
    )
    if usual:
        head.kept = kept
    return kept


def this_hop(request: Request, said: Mapping[bytes, bytes] = _NOTHING) -> bytes:
    """Make the lines of this hop: X-Forwarded-*, Forwarded and Via.

    Without ``said``, the forwarding headers of a trusted peer, they are equal for all requests with the same peer
    address, scheme, authority and version.
    """
    address, scheme, host = request.peer.address.encode(), request.scheme.encode(), request.authority
    prior, hops = said.get(b"x-forwarded-for"), said.get(b"forwarded")
    hop = _forwarded(address, scheme, host)
    way = [
        (b"X-Forwarded-For", b"%b, %b" % (prior, address) if prior else address or b"unknown"),
        (b"X-Forwarded-Proto", said.get(b"x-forwarded-proto") or scheme),
    ]
    if shown := said.get(b"x-forwarded-host") or host:
        way.append((b"X-Forwarded-Host", shown))
    way.append((b"Forwarded", b"%b, %b" % (hops, hop) if hops else hop))
    return lines_of(way) + _via(request.version)


def to_client(head: ResponseHead, ours: Headers, withheld: frozenset[bytes] = frozenset()) -> bytes:
    """Make the status line and the header lines for a client.

    ``ours`` replace the upstream's headers of the same names, except Vary, which is a list; ``withheld`` are the names,
    in lower case, of further ones that are dropped. The sender adds the headers that frame the message, except
    Content-Length, which is kept where a body may follow, and the empty line.
    """
    replaced = [name for name in [KNOWN.get(spelt) or spelt.lower() for spelt, _ in ours] if name in head.present]
    if replaced or withheld:
        names = withheld.union([name for name in replaced if name != b"vary"])
        prefix = _prefix(head, names)
    else:
        prefix = head.prefix
        if not prefix:
            head.prefix = prefix = _prefix(head, frozenset())
    return prefix + lines_of(ours)


def _prefix(head: ResponseHead, replaced: frozenset[bytes]) -> bytes:
    """Return the status line, the lines of the upstream that are kept, and Via."""
    left = _dropped(head) | replaced
    if head.status < 200 or head.status == 204:
        left = left | _LENGTH
    kept = [line for line, name in zip(head.lines, head.names, strict=True) if name not in left]
    return b"HTTP/1.1 %d %b\r\n%b%b" % (head.status, head.reason, _joined(kept), _via(head.version))


def trailers_to_client(head: ResponseHead, trailers: Headers, ours: Headers) -> Headers:
    """Make the trailers for a client: without those that are removed from the head, or replaced by ``ours``."""
    left = _dropped(head).union([name.lower() for name, _ in ours])
    return [trailer for trailer in trailers if trailer[0].lower() not in left]


def _dropped(head: Fields) -> frozenset[bytes]:
    """Return the names of hop-by-hop headers: Caddy's list, and those that Connection lists."""
    listed = connection_listed(head)
    return _HOP.union(listed) if listed else _HOP


def connection_listed(head: Fields) -> frozenset[bytes]:
    """Return the names, in lower case, of the headers that end here because Connection lists them (RFC 9110, 7.6.1).

    In a plain head, Connection says no more than whether the connection persists.
    """
    if head.plain or b"connection" not in head.names:
        return _NO_NAMES
    values = head.values(b"connection")
    if len(values) == 1 and values[0] in _PERSISTENCE:
        return _NO_NAMES
    return frozenset([word.strip(b" \t").lower() for value in values for word in value.split(b",")]) - NEVER_HOP


def _reads_like(name: bytes, read: frozenset[bytes]) -> bool:
    """Return whether a program that reads each such character as a hyphen takes a name for another one."""
    hyphened = name.translate(_AS_HYPHENS)
    if hyphened == name or name in read:
        return False
    return hyphened in REMOVED or hyphened in read or hyphened.startswith(b"x-forwarded-")


def _said(head: Framed) -> dict[bytes, bytes]:
    """Return the forwarding headers of a trusted peer, lines of one name joined as a list."""
    said: dict[bytes, bytes] = {}
    if _APPENDED.isdisjoint(head.names):
        return said
    dropped = _dropped(head)
    for (_, value), name in zip(head.headers, head.names, strict=True):
        if name in _APPENDED and name not in dropped:
            said[name] = said[name] + b", " + value if name in said else value
    return said


def _via(version: bytes) -> bytes:
    return b"Via: %b %b\r\n" % (version, PSEUDONYM)


def _joined(lines: list[bytes]) -> bytes:
    lines.append(b"")
    return b"\r\n".join(lines)


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
