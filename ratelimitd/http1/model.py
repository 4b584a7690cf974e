"""The values this room hands over: what a client asked, what went wrong, how it ended."""

from typing import NamedTuple

Header = tuple[bytes, bytes]
Headers = list[Header]
"""Names and values in the order and case they came in."""

CHUNKED = -1
"""In place of a length: the body is in chunks."""
UNTIL_CLOSE = -2
"""In place of a length: the body of a response ends where its connection does."""


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
    """The other end of a client's connection; the address is empty on a unix socket."""

    address: str
    port: int


class RequestHead(NamedTuple):
    """The head of a request as it was sent; ``names`` are those of the headers in lower case, in their order."""

    method: bytes
    target: bytes
    version: bytes
    headers: Headers
    names: list[bytes]


class ResponseHead(NamedTuple):
    """The head of a response as it was sent; ``names`` are those of the headers in lower case, in their order."""

    status: int
    reason: bytes
    version: bytes
    headers: Headers
    names: list[bytes]


class Request:
    """A request whose framing is beyond doubt.

    Attributes:
        target: as sent, in origin form (``/a?b``) or ``*``; of an absolute target the part after the authority.
        path: of the target, as sent.
        query: of the target, as sent, without its question mark; empty where there is none.
        version: ``1.0`` or ``1.1``.
        headers: as sent, but Host, which an absolute target replaces (RFC 9112 3.2.2). Not to be changed: equal
            requests share them.
        names: of the headers, in lower case, in their order.
        authority: the host asked for; empty where a 1.0 request names none.
        length: of the body in bytes, or ``CHUNKED``.
        websocket: whether it asks for a tunnel that may be granted.
        scheme: ``http`` or ``https``, of the connection it came on.
        tag: the handler's own, for whoever renders a refusal.
    """

    __slots__ = (
        "authority",
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
        self.scheme = scheme
        self.tag = b""


class Framed(NamedTuple):
    """What ``framing`` made of a request's head; ``Request`` explains what it has too.

    Attributes:
        keep_alive: the client wants to go on with this connection.
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
    """Where an upstream listens. ``tls`` speaks TLS to it and checks its certificate for the host."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Summary(NamedTuple):
    """How an exchange ended.

    Attributes:
        status: that the client was sent; 0 where none was.
        received: bytes of the request's body.
        sent: bytes of the response's body.
        started: nanoseconds of the monotonic clock when the head was read.
        first_byte: the same, when the upstream's head was read; 0 where none was.
        ended: the same, when all was written, or given up.
        endpoint: that answered, or was asked last; None for a local answer.
        retried: a second attempt was made.
        error: why it is not as it should be, in plain words; empty where it is.
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
