"""The values that this room hands over: requests, error responses, and summaries of exchanges.

What parses or frames a head returns an ``ErrorResponse`` where it rejects it, since that is the answer. A body that is
malformed raises ``bodies.BodyError`` instead: what that means depends on what was answered by then.
"""

from typing import NamedTuple

from ratelimitd.net.peers import plain

Header = tuple[bytes, bytes]
Headers = list[Header]
"""Names and values in the order and case in which they were sent."""

CHUNKED = -1
"""In place of a length: the body is chunked."""
UNTIL_CLOSE = -2
"""In place of a length: the body of a response ends with its connection."""


class ErrorResponse(NamedTuple):
    """A response that this room makes itself.

    Attributes:
        status: status of the response, 400 to 599.
        reason: reason for the log; contains nothing that a client sent.
        retry_after: seconds for Retry-After; None for no such header.
    """

    status: int
    reason: str
    retry_after: float | None = None


class Peer(NamedTuple):
    """The other end of a client's connection; the address is ``plain``, and empty on a unix socket."""

    address: str
    port: int


def peer_of(address: object) -> Peer:
    """Return the peer that a socket's address shows."""
    return Peer(plain(address[0]), address[1]) if isinstance(address, tuple) else Peer("", 0)


class RequestHead(NamedTuple):
    """The head of a request as it was sent; ``names`` are the names of ``headers`` in lower case, in their order."""

    method: bytes
    target: bytes
    version: bytes
    headers: Headers
    names: list[bytes]


class ResponseHead(NamedTuple):
    """The head of a response as it was sent; ``names`` are the names of ``headers`` in lower case, in their order."""

    status: int
    reason: bytes
    version: bytes
    headers: Headers
    names: list[bytes]


class Request:
    """A request that is framed unambiguously.

    Attributes:
        target: as sent, in origin form (``/a?b``) or ``*``; of an absolute target the part after the authority.
        path: path of the target, as sent.
        query: query of the target, as sent, without its question mark; empty if there is none.
        version: ``1.0`` or ``1.1``.
        headers: as sent, except that an absolute target replaces Host (RFC 9112 3.2.2). Must not be changed: equal
            requests share them.
        names: names of the headers, in lower case, in their order.
        authority: the requested host; empty if a 1.0 request names none.
        length: length of the body in bytes, or ``CHUNKED``.
        websocket: whether it asks for an upgrade that may be granted.
        scheme: ``http`` or ``https``, by the connection it came on.
        tag: set by the handler, for the function that renders error responses.
        client: address of the client, which has a share of the upstream's connections; the peer's, unless the handler
            finds another one behind it.
    """

    __slots__ = (
        "authority",
        "client",
        "headers",
        "length",
        "method",
        "names",
        "path",
        "peer",
        "query",
        "scheme",
        "tag",
        "target",
        "version",
        "websocket",
    )

    def __init__(self, head: RequestHead, framed: "Framed", peer: Peer, scheme: str) -> None:
        self.method, _, self.version, _, _ = head
        (
            self.target,
            self.path,
            self.query,
            self.authority,
            self.headers,
            self.names,
            self.length,
            _,
            _,
            self.websocket,
        ) = framed
        self.peer = peer
        self.client = peer.address
        self.scheme = scheme
        self.tag = b""


class Framed(NamedTuple):
    """The framing of a request; see ``Request`` for the attributes that it has too.

    Attributes:
        keep_alive: the client lets the connection persist.
        expects: the client waits for 100 before it sends the body.
    """

    target: bytes
    path: bytes
    query: bytes
    authority: bytes
    headers: Headers
    names: list[bytes]
    length: int
    keep_alive: bool
    expects: bool
    websocket: bool


class Endpoint(NamedTuple):
    """The address of an upstream's server; ``tls``: use TLS, and verify its certificate for ``host``."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> bytes:
        """The value of Host: without a port that the scheme implies (RFC 9110 4.2.3)."""
        shown = str(self)
        return shown.removesuffix(":443" if self.tls else ":80").encode()


class EndedBy(NamedTuple):
    """Why a client's connection was lost in the middle of an exchange: the side that ended it, and the reason."""

    side: str
    reason: str


BY_CLIENT = EndedBy("client", "client closed the connection")
BY_SLOWNESS = EndedBy("client", "client did not read the response in time")
BY_GATEWAY = EndedBy("gateway", "the gateway closed the connection")


class Summary(NamedTuple):
    """The end of an exchange.

    Attributes:
        status: status sent to the client, 0 if none was.
        received: bytes of the request body.
        sent: bytes of the response body.
        started: when the request head was read, in nanoseconds of the monotonic clock.
        first_byte: when the upstream's response head was read, by the same clock; 0 if none was.
        ended: when the response was written or given up, by the same clock.
        endpoint: the endpoint that answered or was asked last; None for a local response.
        retried: a second attempt was made.
        error: reason for failure, empty on success.
        cut: which side ended the response after its head was sent and before its end: ``client``, ``upstream`` or
            ``gateway``; empty if none did. A tunnel has no end that could be missing, so it is never cut.
    """

    status: int
    received: int
    sent: int
    started: int
    first_byte: int
    ended: int
    endpoint: Endpoint | None
    retried: bool
    error: str
    cut: str = ""
