"""One request to a server and its complete response, on a connection of its own; framing is as strict as a proxy's."""

import asyncio
import re
import ssl
from typing import NamedTuple

from ratelimitd.net.connect import connect

from .interfaces import TunnelEnd
from .model import Endpoint, ErrorResponse, Headers, ResponseHead
from .options import UpstreamOptions
from .responses import lines_of, persistence, request_head
from .upstream_connection import UpstreamConnection

_WORD = re.compile(rb"[!-~]+")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
_OURS = frozenset((b"content-length", b"transfer-encoding", b"connection"))
_WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))
"""Methods whose requests have a Content-Length also if it is 0 (RFC 9110 8.6)."""


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
    head = _head(endpoint, method, target, headers or [], body)
    secure = (tls or ssl.create_default_context()) if endpoint.tls else None
    loop = asyncio.get_running_loop()
    fetching, connection = _Fetch(max_body), None
    try:
        async with asyncio.timeout(seconds):
            connection = await connect(
                lambda: UpstreamConnection(fetching, loop),
                endpoint.host,
                endpoint.port,
                ssl=secure,
                server_hostname=(endpoint.server_name or endpoint.host) if secure else None,
            )
            if not connection.open:
                raise ConnectError(f"{endpoint} closed the connection at once")
            connection.begin(fetching, method, head + body, websocket=False)
            connection.complete()
            return await fetching.result
    except TimeoutError:
        raise FetchTimeoutError(f"no whole response from {endpoint} within {seconds:g} s") from None
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"cannot connect to {endpoint}: {error}") from error
    finally:
        if connection is not None:
            connection.abort()


class _Fetch:
    """The requester of one response and the home of its connection, whose only deadline is the caller's."""

    def __init__(self, max_body: int) -> None:
        self.options = UpstreamOptions()
        self.result: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()
        self._left = max_body
        self._head: ResponseHead | None = None
        self._pieces: list[bytes] = []

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
        """Take the head, unless it announces too large a body."""
        self._head = head
        if length > self._left:
            self._fail(ResponseTooLargeError("response body is too large"))

    def data(self, piece: bytes) -> None:
        """Take a piece of the body, unless the body is too large."""
        self._left -= len(piece)
        if self._left < 0:
            self._fail(ResponseTooLargeError("response body is too large"))
        else:
            self._pieces.append(piece)

    def read(self) -> None:
        """Do nothing."""

    def end(self, trailers: Headers) -> None:  # noqa: ARG002 -- a Requester; trailers are of no use here
        """Return the response to the caller."""
        if self._head is not None and not self.result.done():
            fetched = Fetched(self._head.status, self._head.headers, b"".join(self._pieces))
            self.result.set_result(fetched)

    def lost(self, error: ErrorResponse, *, unheard: bool) -> None:  # noqa: ARG002 -- a Listener
        """Raise the reason in the caller."""
        self._fail(RemoteProtocolError(error.reason))

    def writing_paused(self, *, paused: bool) -> None:
        """Do nothing: the request was written at once, and its caller bounds it."""

    def switched(self, head: ResponseHead) -> TunnelEnd:
        """Not called, as no tunnel was asked for."""
        raise NotImplementedError

    def _fail(self, error: FetchError) -> None:
        if not self.result.done():
            self.result.set_exception(error)


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
