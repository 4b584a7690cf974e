"""The headers that routes and limits read: those that the upstream gets, since a limit by another one limits nothing.

Envoy cleans the head before its filters read it, with the same result.
"""

from typing import Final

from ratelimitd.http1 import CLAIMS, PSEUDONYM, Fields, Headers, Request, connection_listed

_REPLACED: Final = b"x-forwarded-"
"""The beginning of the names that a client's word has no part in, unless it is a trusted proxy."""
_ADDED: Final = frozenset((b"X-Forwarded-For", b"Via"))
"""Lists, to which this hop is added."""
_OF_HOP: Final = frozenset((b"connection", b"te", b"upgrade"))
"""Names that are read though Connection lists them: it goes with them, and an upgrade is a request of its own kind."""


def is_claim(name: bytes) -> bool:
    """Return whether a header, by its name in lower case, reaches the upstream only as a trusted proxy sent it."""
    return name in CLAIMS or name == b"forwarded" or name.startswith(_REPLACED)


def reads_hops(wanted: frozenset[bytes]) -> bool:
    """Return whether routes or limits read a header to which the gateway adds, or that it replaces."""
    return b"via" in wanted or any(map(is_claim, wanted))


def heard(request: Request, *, trusted: bool, claims: bool) -> Fields:
    """Return the header fields of a request that routes and limits read.

    Those that Connection names are not among them: they end here (RFC 9110, 7.6.1). Nor are claims of a peer that is
    not ``trusted``: X-Forwarded-* are what the gateway says. It adds to what a trusted peer says. ``claims`` is the
    result of ``reads_hops``: only then is it worth the time.
    """
    named = connection_listed(request.head) - _OF_HOP
    if not named and not claims:
        return request.head
    replaced = claims and not trusted
    lines = zip(request.headers, request.names, strict=True)
    kept = [line for line, name in lines if name not in named and not (replaced and is_claim(name))]
    if claims:
        said = request.names if trusted else ()
        kept += [line for line in _ours(request) if line[0] in _ADDED or line[0].lower() not in said]
    return Fields([name.lower() for name, _ in kept], kept)


def _ours(request: Request) -> Headers:
    address, scheme = request.peer.address.encode(), request.scheme.encode()
    host = [(b"X-Forwarded-Host", request.authority)] if request.authority else []
    via = (b"Via", b"%b %b" % (request.version, PSEUDONYM))
    return [(b"X-Forwarded-For", address or b"unknown"), (b"X-Forwarded-Proto", scheme), *host, via]
