"""Requests and responses of the operators' pages, and the table of paths."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from enum import Enum, auto
from posixpath import normpath
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class PageRequest(NamedTuple):
    """A complete request.

    Attributes:
        method: upper case.
        path: percent-decoded, without the query.
        query, headers: the first value of each name; header names are case-insensitive.
        body: at most ``max_body`` of the port.
        peer: the caller's IP address, "" if unknown.
        raw_query: the query as sent, percent-encoded, with every value of a name.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    peer: str = ""
    raw_query: str = ""


Streaming = Literal["text", "document", "events", "decisions"]
"""Kinds of streamed responses; ``server.STREAMINGS`` has the bounds of each."""


class PageResponse(NamedTuple):
    """A response. A streamed body yields to the event loop between its chunks.

    Attributes:
        headers: those in addition to Content-Type.
        streaming: the bounds of a streamed body.
        authorized: the caller has the token: one that has not gives way to it.
    """

    status: int
    body: bytes | AsyncGenerator[bytes, None]
    content_type: str = TEXT
    headers: Mapping[str, str] = NO_HEADERS
    streaming: Streaming = "text"
    authorized: bool = False


UNSTORED: Final[Mapping[str, str]] = MappingProxyType(
    {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
)
"""Headers of a response that must not be cached, nor taken for anything but its Content-Type."""


def as_json(status: int, value: Mapping[str, object], headers: Mapping[str, str] = NO_HEADERS) -> PageResponse:
    """Return an indented JSON response that must not be cached."""
    body = json.dumps(value, indent=2).encode() + b"\n"
    return PageResponse(status, body, JSON, {**UNSTORED, **headers})


PageHandler = Callable[[PageRequest], Awaitable[PageResponse]]


class Access(Enum):
    """What a page gives to a caller, and so which requests of browsers ``origin.refusal`` refuses.

    Attributes:
        OPEN: probes and metrics, for which a kubelet, a sidecar or Prometheus may send any Host.
        READS: something to read; a page of another site must not be able to read it.
        CHANGES: something changes, or costs; a page of another site must not be able to ask for it.
    """

    OPEN = auto()
    READS = auto()
    CHANGES = auto()


class Page(NamedTuple):
    """The handler of a path, for every method (as upstream), one line of help, and which requests reach the handler."""

    handler: PageHandler
    help: str
    access: Access = Access.CHANGES


PageTable = Mapping[str, Page]
"""Pages by path. The page ``/`` answers every path without its own page."""


def cleaned(path: str) -> str:
    """Return a path without repeated slashes, ``.`` and ``..``; a slash at its end stays, as in Go."""
    plain = normpath(f"/{path.lstrip('/')}")
    return f"{plain}/" if path.endswith("/") and plain != "/" else plain


NOT_FOUND: Final = PageResponse(404, b"404 page not found\n")
