"""One request to a server and its response, on a connection of its own; framing is as strict as a proxy's."""

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from ratelimitd.net.connect import connect

from .interfaces import TunnelEnd
from .model import Endpoint, ErrorResponse, Headers, ResponseHead
from .options import HIGH_WATER, UpstreamOptions
from .responses import lines_of, persistence, request_head
from .upstream_connection import UpstreamConnection

_WORD = re.compile(rb"[!-~]+")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
_OURS = frozenset((b"content-length", b"transfer-encoding", b"connection"))
_WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))
"""Methods whose requests have a Content-Length also if it is 0 (RFC 9110 8.6)."""
_TOO_LARGE: Final = "response body is too large"


class FetchError(Exception):
    """There is no response. The text gives the reason, and nothing of what the server sent."""


class ConnectError(FetchError):
    """There is no connection, so nothing was sent."""


class FetchTimeoutError(FetchError):
    """The response was not complete in time."""


class ResponseTooLargeError(FetchError):
    """The response body is larger than ``max_body``."""


class RemoteProtocolError(FetchError):
    """The connection ended too early, or the response is malformed."""


class Fetched(NamedTuple):
    """A response, with headers as sent."""

    status: int
    headers: Headers
    body: bytes


async def fetch(
    endpoint: Endpoint,
    method: bytes,
    target: bytes,
    *,
    seconds: float,
    max_body: int,
    headers: Headers | None = None,
    body: bytes = b"",
    tls: ssl.SSLContext | None = None,
) -> Fetched:
    """Ask a server, and read its response to the end. Redirections are not followed.

    Args:
        endpoint: the server; its name is resolved for each call.
        method: method in capitals.
        target: path and query, percent-encoded.
        seconds: from the first packet to the response's last byte.
        max_body: bytes of the response body.
        headers: headers other than Content-Length and Connection; Host is the endpoint unless it is among them.
        body: body of the request.
        tls: context for an endpoint with ``tls``; None: a context with the system's authorities.

    Raises:
        FetchError: of one of the kinds above.
        ValueError: method, target or headers cannot be written.
    """
    pieces: list[bytes] = []
    try:
        async with (
            asyncio.timeout(seconds),
            receive(endpoint, method, target, headers=headers, body=body, tls=tls) as response,
        ):
            head = await response.head()
            if response.length > max_body:
                raise ResponseTooLargeError(_TOO_LARGE)
            async for piece in response.pieces():
                max_body -= len(piece)
                if max_body < 0:
                    raise ResponseTooLargeError(_TOO_LARGE)
                pieces.append(piece)
    except TimeoutError:
        raise FetchTimeoutError(f"no whole response from {endpoint} within {seconds:g} s") from None
    return Fetched(head.status, head.headers, b"".join(pieces))


@asynccontextmanager
async def receive(
    endpoint: Endpoint,
    method: bytes,
    target: bytes,
    *,
    headers: Headers | None = None,
    body: bytes = b"",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator["Received"]:
    """Ask a server, and give its response as it comes, such as a stream of events.

    The caller bounds the time. Arguments and errors are those of ``fetch``; the connection ends with the context.
    """
    head = _head(endpoint, method, target, headers or [], body)
    secure = (tls or ssl.create_default_context()) if endpoint.tls else None
    loop = asyncio.get_running_loop()
    receiving = Received()
    try:
        connection = await connect(
            lambda: UpstreamConnection(receiving, loop),
            endpoint.host,
            endpoint.port,
            ssl=secure,
            server_hostname=(endpoint.server_name or endpoint.host) if secure else None,
        )
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"cannot connect to {endpoint}: {error}") from error
    try:
        if not connection.open:
            raise ConnectError(f"{endpoint} closed the connection at once")
        receiving.connection = connection
        connection.begin(receiving, method, head + body, websocket=False)
        connection.complete()
        yield receiving
    finally:
        connection.abort()


class Received:
    """The requester of one response and the home of its connection, whose only deadline is the caller's.

    Attributes:
        connection: set once it is made.
        length: of the body in bytes, ``CHUNKED`` or ``UNTIL_CLOSE``, after ``head``.
    """

    def __init__(self) -> None:
        self.options = UpstreamOptions()
        self.connection: UpstreamConnection | None = None
        self.length = 0
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._waiting = 0  # bytes of the pieces
        self._over: FetchError | bool = False
        self._changed = asyncio.Event()

    async def head(self) -> ResponseHead:
        """Wait for the head of the response. Raises FetchError."""
        while self._head is None:
            await self._more()
        return self._head

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes; while ``HIGH_WATER`` bytes wait, no more is read. Raises FetchError."""
        while self._pieces or self._over is not True:
            if not self._pieces:
                await self._more()
                continue
            piece = b"".join(self._pieces)
            self._pieces.clear()
            self._waiting = 0
            if self.connection is not None:
                self.connection.pause(paused=False)
            yield piece

    async def _more(self) -> None:
        if isinstance(self._over, FetchError):
            raise self._over
        self._changed.clear()
        await self._changed.wait()

    # the home's side

    def settle(self, connection: UpstreamConnection) -> None:
        """Close it, as no other request follows."""
        connection.close()

    def forget(self, connection: UpstreamConnection) -> None:
        """Do nothing; it is known nowhere else."""

    # the requester's side

    def interim(self, head: ResponseHead) -> None:
        """Ignore it."""

    def response(self, head: ResponseHead, length: int) -> None:
        """Take the head."""
        self._head, self.length = head, length
        self._changed.set()

    def data(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(piece)
        self._waiting += len(piece)
        if self._waiting > HIGH_WATER and self.connection is not None:
            self.connection.pause(paused=True)
        self._changed.set()

    def read(self) -> None:
        """Do nothing."""

    def end(self, trailers: Headers) -> None:  # noqa: ARG002 -- a Requester; trailers are of no use here
        """End the pieces."""
        self._over = True
        self._changed.set()

    def lost(self, error: ErrorResponse, *, unheard: bool) -> None:  # noqa: ARG002 -- a Listener
        """Raise the reason in the caller, after the pieces that have come."""
        self._over = RemoteProtocolError(error.reason)
        self._changed.set()

    def writing_paused(self, *, paused: bool) -> None:
        """Do nothing: the request was written at once, and its caller bounds it."""

    def switched(self, head: ResponseHead) -> TunnelEnd:
        """Not called, as no tunnel was asked for."""
        raise NotImplementedError


def _head(endpoint: Endpoint, method: bytes, target: bytes, headers: Headers, body: bytes) -> bytes:
    names = {name.lower() for name, _ in headers}
    lines = _WORD.fullmatch(method) and _WORD.fullmatch(target)
    if not lines or not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in headers):
        raise ValueError("method, target or a header has bytes that end it")
    if names & _OURS:
        raise ValueError("Content-Length, Transfer-Encoding and Connection are not the caller's")
    host = next((value for name, value in headers if name.lower() == b"host"), str(endpoint).encode())
    full = [header for header in headers if header[0].lower() != b"host"]
    if body or method in _WITH_BODY:
        full.append((b"Content-Length", b"%d" % len(body)))
    return request_head(method, target, host, lines_of([*full, *persistence(b"1.1", keep=False)]))
