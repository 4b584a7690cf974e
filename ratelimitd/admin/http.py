"""What an HTTP request and its response are here, and the table that leads from one to the other."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Request(NamedTuple):
    """A request, read to its end.

    Attributes:
        method: in capitals.
        path: percent-decoded, without the query.
        query, headers: the first value of each name; header names in any case.
        body: at most ``server.BODY_BYTES``.
        peer: the caller's IP address, "" where nobody knows it.
        raw_query: the query as it was sent, percent-encoded, with every value of a name.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    peer: str = ""
    raw_query: str = ""


class Response(NamedTuple):
    """A response. A body that comes in chunks gives way to the event loop between them by itself.

    ``headers`` are those besides Content-Type.
    """

    status: int
    body: bytes | AsyncGenerator[bytes, None]
    content_type: str = TEXT
    headers: Mapping[str, str] = NO_HEADERS


def as_json(status: int, value: Mapping[str, object], headers: Mapping[str, str] = NO_HEADERS) -> Response:
    """Return a response for people and programs that nobody may keep."""
    body = json.dumps(value, indent=2).encode() + b"\n"
    return Response(status, body, JSON, {"Cache-Control": "no-store", **headers})


Handler = Callable[[Request], Awaitable[Response]]


class Route(NamedTuple):
    """What answers a path, whatever the method (as upstream), and one line of help."""

    handler: Handler
    help: str


Routes = Mapping[str, Route]
"""By path. A route for ``/`` answers every path that has none."""

NOT_FOUND: Final = Response(404, b"404 page not found\n")


async def respond(routes: Routes, request: Request) -> Response:
    """Answer a request from a table."""
    route = routes.get(request.path) or routes.get("/")
    return NOT_FOUND if route is None else await route.handler(request)
