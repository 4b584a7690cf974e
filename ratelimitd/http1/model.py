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


class Fields:
    """The fields of a head in their order, as lines or as headers; each is made of the other where it is asked for.

    Equal messages share them: nothing of them may be changed.

    Attributes:
        names: names in lower case.
        plain: taken by ``plain``.
    """

    __slots__ = ("_headers", "_lines", "names", "plain")

    def __init__(
        self,
        names: list[bytes],
        headers: Headers | None = None,
        lines: list[bytes] | None = None,
        *,
        plain: bool = False,
    ) -> None:
        self.names = names
        self.plain = plain
        self._headers = headers
        self._lines = lines

    @property
    def headers(self) -> Headers:
        """Names and values as sent. Made anew each time of a plain head, so that one in a cache does not grow."""
        made = self._headers
        return (
            [_header(line, name) for line, name in zip(self.lines, self.names, strict=True)] if made is None else made
        )

    @property
    def lines(self) -> list[bytes]:
        """``name: value``, without the line's end."""
        made = self._lines
        return [b"%b: %b" % header for header in self.headers] if made is None else made

    def value(self, index: int) -> bytes:
        """Return the value of the field at an index of ``names``."""
        made = self._headers
        return self.lines[index][len(self.names[index]) + 2 :] if made is None else made[index][1]

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of all fields of a name in lower case."""
        return [self.value(index) for index, each in enumerate(self.names) if each == name]


def _header(line: bytes, name: bytes) -> Header:
    return line[: len(name)], line[len(name) + 2 :]


class ResponseHead(Fields):
    """The head of a response as it was sent.

    Attributes:
        present: set of the names.
        prefix: what ``headers.to_client`` begins the head for a client with, once it was made.
    """

    __slots__ = ("prefix", "present", "reason", "status", "version")

    def __init__(
        self,
        status: int,
        reason: bytes,
        version: bytes,
        names: list[bytes],
        headers: Headers | None = None,
        lines: list[bytes] | None = None,
        *,
        plain: bool = False,
    ) -> None:
        super().__init__(names, headers, lines, plain=plain)
        self.status = status
        self.reason = reason
        self.version = version
        self.present = frozenset(names)
        self.prefix = b""


class Framed(Fields):
    """A request head that is framed; see ``Request`` for the attributes that it has too.

    Attributes:
        asked: target as sent.
        keep_alive: the client lets the connection persist.
        expects: the client waits for 100 before it sends the body.
        kept: the lines that go on for a peer that is not trusted, once ``headers.to_upstream`` made them.
    """

    __slots__ = (
        "asked",
        "authority",
        "expects",
        "keep_alive",
        "kept",
        "length",
        "method",
        "path",
        "query",
        "target",
        "version",
        "websocket",
    )

    def __init__(
        self,
        method: bytes,
        version: bytes,
        asked: bytes,
        names: list[bytes],
        headers: Headers | None = None,
        lines: list[bytes] | None = None,
        *,
        plain: bool = False,
    ) -> None:
        super().__init__(names, headers, lines, plain=plain)
        self.method = method
        self.version = version
        self.asked = self.target = self.path = asked
        self.query = self.authority = self.kept = b""
        self.length = 0
        self.keep_alive = self.expects = self.websocket = False


class Request:
    """A request that is framed unambiguously.

    Attributes:
        target: as sent, in origin form (``/a?b``) or ``*``; of an absolute target the part after the authority.
        path: path of the target, as sent.
        query: query of the target, as sent, without its question mark; empty if there is none.
        version: ``1.0`` or ``1.1``.
        head: fields as sent, except that an absolute target replaces Host (RFC 9112 3.2.2).
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
        "head",
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

    def __init__(self, head: Framed, peer: Peer, scheme: str) -> None:
        self.head = head
        self.method = head.method
        self.target = head.target
        self.path = head.path
        self.query = head.query
        self.version = head.version
        self.names = head.names
        self.authority = head.authority
        self.length = head.length
        self.websocket = head.websocket
        self.peer = peer
        self.client = peer.address
        self.scheme = scheme
        self.tag = b""

    @property
    def headers(self) -> Headers:
        """Names and values in order, as sent. Made anew each time it is read, for most requests."""
        return self.head.headers

    def value(self, index: int) -> bytes:
        """Return the value of the header at an index of ``names``."""
        return self.head.value(index)


class Endpoint(NamedTuple):
    """The address of an upstream's server.

    Attributes:
        tls: use TLS, and verify its certificate for ``server_name``, or for the host if that is empty.
    """

    host: str
    port: int
    tls: bool = False
    server_name: str = ""

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
