"""What a service says to a transport, whichever one carries it.

Unary calls reach a service as the list that one turn of the event loop completed, so that a service may work on them
together; each call is answered on its own, now or later.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol


class Status(IntEnum):
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
    """Ends a stream with this status."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Call(Protocol):
    """One unary call. ``respond`` or ``fail`` answers it; a second answer, or one to a cancelled call, does nothing."""

    @property
    def body(self) -> bytes:
        """The request message."""

    @property
    def deadline(self) -> int:
        """The caller stops waiting at this time of the event loop's clock, µs; 0: never."""

    def respond(self, body: bytes) -> None:
        """Answer with a message."""

    def fail(self, status: Status, message: str) -> None:
        """Answer with an error."""


class Stream(Protocol):
    """One streaming call: iterate over the requests, send the responses, return to end it with OK."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield each request message until the caller half-closes."""

    async def send(self, body: bytes) -> None:
        """Send one response message."""


BatchHandler = Callable[[Sequence[Call]], None]
StreamHandler = Callable[[Stream], Awaitable[None]]


class Handlers(NamedTuple):
    """What a server serves, by full method name (``/package.Service/Method``)."""

    unary: Mapping[str, BatchHandler]
    streams: Mapping[str, StreamHandler]


class Server(Protocol):
    """A listening transport."""

    @property
    def address(self) -> str:
        """Where it listens: ``host:port`` with the port it really got."""

    async def start(self) -> None:
        """Serve from now on."""

    async def stop(self, grace: float) -> None:
        """Take no new call, give those in flight ``grace`` seconds, then end."""
