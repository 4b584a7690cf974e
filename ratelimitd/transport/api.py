"""The interface between a gRPC service and its transport.

A transport passes unary calls to the service in batches: the calls that one iteration of the event loop completed, as
far as the service can take them without holding up the loop; the others wait for the next iterations. The service may
process a batch as a whole. It responds to each call separately, at once or later.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple, Protocol

METADATA_BYTES: Final = 64 << 10
"""Maximum size of a request's headers, counted as in RFC 9113 6.5.2. grpcio's own limit is 16 KiB, grpc-go's 16 MiB; no
Envoy sends more than its own 60 KiB of a request's headers."""

METADATA_HEADERS: Final = 1000
"""Maximum number of headers of a request, which the nghttp2 transport enforces: ten times Envoy's limit of 100."""


class GrpcStatus(IntEnum):
    """gRPC status codes (grpc/doc/statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class GrpcError(Exception):
    """Raised by a stream handler to end the call with this status and message."""

    def __init__(self, status: GrpcStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Call(Protocol):
    """A unary call. ``respond`` or ``fail`` completes it; on a completed or cancelled call they have no effect."""

    @property
    def body(self) -> bytes:
        """The request message."""

    @property
    def deadline(self) -> int:
        """Deadline of the call in µs of the event loop's clock; 0 if it has none."""

    @property
    def metadata(self) -> Mapping[str, Sequence[bytes]]:
        """Request headers by lower-case name; empty unless the server keeps metadata."""

    @property
    def answered(self) -> bool:
        """Whether the call is completed or cancelled, so that no response can be sent."""

    def respond(self, body: bytes) -> None:
        """Complete the call with a response message."""

    def fail(self, status: GrpcStatus, message: str) -> None:
        """Complete the call with an error status."""


class Stream(Protocol):
    """A streaming call. Its handler iterates over the requests, sends responses, and returns to end it with OK."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield each request message until the client half-closes the stream."""

    async def send(self, body: bytes) -> None:
        """Send one response message."""


BatchHandler = Callable[[Sequence[Call], int], tuple[int, int]]
"""Takes calls, from the first one on and at least one, until they cost as much as the second argument or more. Returns
how many it took, and their cost. The others are passed to it again later."""

StreamHandler = Callable[[Stream], Awaitable[None]]


class Handlers(NamedTuple):
    """The handlers of a server, by full method name (``/package.Service/Method``).

    Attributes:
        exclusive: streaming methods of which, taken together, a client needs no more than one call at a time per
            connection. The nghttp2 transport refuses another one until the client has closed its side of the first.
    """

    unary: Mapping[str, BatchHandler]
    streams: Mapping[str, StreamHandler]
    exclusive: Collection[str] = ()


class Refusal(StrEnum):
    """Why a server refuses a client that has reached it."""

    ADDRESS = "address"
    CERTIFICATE_NAME = "certificate_name"
    CONNECTIONS = "connections"
    FILES = "files"
    HANDSHAKE = "handshake"
    HANDSHAKES = "handshakes"
    NO_H2 = "no_h2"


Refused = Callable[[Refusal, str, str], None]
"""Receives each refusal: the reason, the address of the client ("" if unknown), and what was found instead."""


def ignore(reason: Refusal, peer: str, detail: str) -> None:
    """Do nothing: refusals are not reported."""


class GrpcServer(Protocol):
    """A transport bound to an address."""

    @property
    def address(self) -> str:
        """Listening address, ``host:port`` with the actual port."""

    async def start(self) -> None:
        """Start to serve."""

    async def stop(self, grace: float) -> None:
        """Accept no new call, wait up to ``grace`` seconds for calls in flight, then close all connections."""
