"""Documents and events of a service's ``/live/`` pages, and what to do when there are none."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from ratelimitd.http1 import ConnectError, Endpoint, FetchError, Headers, Received, fetch, receive

from .documents import VERSION, number, text
from .events import Event, EventError, Events, object_of

DOCUMENT_BYTES: Final = 8 << 20
"""Maximum size of a document: several times that of 100 limits with the longest names."""

ERROR_BYTES: Final = 64 << 10
"""Bytes of an error that are read from a stream: those of one are a line."""

SILENCE: Final = 45.0
"""Seconds without a byte after which a stream of events is given up: three heartbeats."""

_PORT: Final = (
    "Is it the debug port, and can it be reached from here? It is open on loopback alone by default: "
    "kubectl port-forward POD 6070, or --address HOST:PORT"
)
_OTHER: Final = "{} is not the debug port of ratelimitd, or that of an older version"

ADVICE: Final = {
    401: "the token is not that of the service: set ADMIN_TOKEN or ADMIN_TOKEN_FILE to it, or unset both, and keys are "
    "shown hashed",
    403: "the service accepts a token, and callers on other hosts, only as its settings say: ask through kubectl "
    "port-forward, or set ADMIN_REMOTE=true on the service",
    421: "the service is asked by a name that is not its own: give --address localhost:PORT",
    429: "too many requests without the right token: wait, and set ADMIN_TOKEN or ADMIN_TOKEN_FILE",
}
"""What to do about a status; what the service says of 404 has it."""

PASSING: Final = frozenset((429, 500, 502, 503, 504))
"""Statuses that may be another in a moment."""


class Source(NamedTuple):
    """The service that is asked. ``token``: "" for none; ``seconds``: for each document, and for a stream to begin."""

    endpoint: Endpoint
    token: str = ""
    seconds: float = 5.0

    @property
    def headers(self) -> Headers:
        """The headers of a request."""
        return [(b"Authorization", b"Bearer " + self.token.encode())] if self.token else []


class LiveError(Exception):
    """There is no document. The message says why, and what to do; ``passing``: asking again may help."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


async def document(source: Source, path: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return a document, such as that of ``overview``. Raises LiveError."""
    try:
        answer = await fetch(
            source.endpoint,
            b"GET",
            _target(path, query),
            seconds=source.seconds,
            max_body=DOCUMENT_BYTES,
            headers=source.headers,
        )
    except FetchError as error:
        raise _unreachable(error) from error
    if answer.status != 200:
        raise _refused(source, answer.status, answer.body)
    return _checked(source, answer.body)


async def decisions(source: Source, query: Mapping[str, str]) -> AsyncGenerator[Event | None, None]:
    """Yield None when the stream has begun, and then its events, without an end. Raises LiveError."""
    try:
        async with (
            asyncio.timeout(source.seconds) as beginning,
            receive(source.endpoint, b"GET", _target("decisions", query), headers=source.headers) as response,
        ):
            head = await response.head()
            if head.status != 200:
                raise _refused(source, head.status, await _start_of(response))
            beginning.reschedule(None)
            yield None
            events = Events()
            async with aclosing(response.pieces()) as pieces:
                while True:
                    async with asyncio.timeout(SILENCE):
                        piece = await anext(pieces, None)
                    if piece is None:
                        raise LiveError(f"{source.endpoint} ended the stream", passing=True)
                    for event in events.feed(piece):
                        yield event
    except TimeoutError:
        raise LiveError(f"{source.endpoint} sends nothing", passing=True) from None
    except EventError as error:
        raise LiveError(f"{_OTHER.format(source.endpoint)}: {error}") from error
    except FetchError as error:
        raise _unreachable(error) from error


async def _start_of(response: Received) -> bytes:
    """Return the body of an error, as far as it is of use."""
    body = b""
    async for piece in response.pieces():
        body += piece
        if len(body) > ERROR_BYTES:
            break
    return body


def _target(path: str, query: Mapping[str, str]) -> bytes:
    asked = urlencode(query, errors="surrogateescape")
    return f"/live/{path}{'?' if asked else ''}{asked}".encode()


def _unreachable(error: FetchError) -> LiveError:
    return LiveError(f"{error}. {_PORT}" if isinstance(error, ConnectError) else str(error), passing=True)


def _refused(source: Source, status: int, body: bytes) -> LiveError:
    """Return the error of a response, with the service's own words if it is one of ours."""
    try:
        said = text(object_of(body), "error")
    except EventError:
        said = ""
    advice = ADVICE.get(status, "")
    if status == 403 and "IDENTITY_SECRET" in said:
        advice = "set ADMIN_TOKEN or ADMIN_TOKEN_FILE to that of the service"
    if status == 404 and not said:
        advice = _OTHER.format(source.endpoint)
    why = "; ".join(each for each in (said, advice) if each)
    return LiveError(f"{source.endpoint} answered {status}{': ' if why else ''}{why}", passing=status in PASSING)


def _checked(source: Source, body: bytes) -> dict[str, Any]:
    try:
        found = object_of(body)
    except EventError:
        raise LiveError(_OTHER.format(source.endpoint)) from None
    version = number(found, "version")
    if version is None:
        raise LiveError(_OTHER.format(source.endpoint))
    if version != VERSION:
        raise LiveError(
            f"{source.endpoint} has version {version:g} of these documents, and this program reads {VERSION}: use the "
            "program of the service's version"
        )
    return found
