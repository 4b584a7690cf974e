"""Tables of pages over HTTP/1.1, on a separate port or on that of the proxy. Independent of the paths."""

import asyncio
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from ratelimitd import http1
from ratelimitd.http1 import ErrorResponse, Exchange, Server, ServerOptions, Sweeper, read_body, stream
from ratelimitd.net.listen import address, bind_each
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.metrics import SLICE_BYTES

from . import wire
from .http import NOT_FOUND, PageRequest, PageResponse, PageTable, cleaned
from .origin import refusal

BODY_BYTES: Final = 8 << 10
"""A larger request body is answered with 413, unless the port takes more. The worst case of this size, 2,048 empty
entries, takes 2 to 4 ms to read as JSON, and nothing may block the event loop for longer than 5 ms."""

BODY_SECONDS: Final = 10.0
"""Time to receive a request body, else 408. No caller of /json would wait that long for a decision."""

STREAM_SECONDS: Final = 60.0
"""Time for a client to read a streamed response, then the connection is closed. Prometheus' default timeout is 10 s."""

STREAMS: Final = 2
"""Streamed responses of a port at a time, then 503: two replicas of Prometheus scrape a target at once. Each turns the
event loop thousands of times, and holds what its client does not read."""

STREAM_STAYS: Final = 10.0
"""Seconds after which a streamed response gives way to another: Prometheus' default timeout."""

BUSY: Final = ErrorResponse(503, "this port has two such responses in progress; try again later", retry_after=1.0)

HEAD_SECONDS: Final = 10.0
"""Time to receive a request head, also the first of a connection: that of the proxy. A probe sends it at once."""

KEEPALIVE_SECONDS: Final = 75.0
"""Idle timeout between two requests of a connection: nginx's default."""

CLOSE_SECONDS: Final = 1.0
"""Time for responses in progress at shutdown; no probe needs an answer then."""

HEAD_BYTES: Final = 16 << 10
"""Maximum size of a request head; Node's limit. The longest admin token takes a quarter of it."""

HTTP_MOST: Final = 256
"""Connections of a port, then the idlest makes room: probes, Prometheus and operators have one each, callers of /json a
pool. One address has no lower bound while others are free: all of these may share that of one sidecar or node."""

log = get_logger(__name__)


async def respond(table: PageTable, request: PageRequest, hosts: Collection[str] = ()) -> PageResponse:
    """Answer a request from a table of pages, unless ``refusal`` does; ``hosts``: further names of this host in Host.

    ``//healthcheck`` is ``/healthcheck``, where Go's mux redirects to it.
    """
    request = request._replace(path=cleaned(request.path))
    page = table.get(request.path) or table.get("/")
    if page is None:
        return NOT_FOUND
    return refusal(page.access, request, hosts) or await page.handler(request)


class Pages:
    """Answers exchanges from a table of pages; an ``http1.Handler``."""

    __slots__ = ("_answering", "_hosts", "_max_body", "_streams", "_table")

    def __init__(self, table: PageTable, max_body: int = BODY_BYTES, hosts: Collection[str] = ()) -> None:
        self._table = table
        self._max_body = max_body
        self._hosts = hosts
        self._answering: set[asyncio.Task[None]] = set()
        self._streams: dict[asyncio.Task[None], float] = {}

    def __call__(self, request: http1.Request, exchange: Exchange) -> None:
        """Answer a request in a separate task."""
        task = asyncio.get_running_loop().create_task(self._answer(request, exchange))
        self._answering.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Cancel the requests in progress."""
        answering = tuple(self._answering)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    async def _answer(self, request: http1.Request, exchange: Exchange) -> None:
        try:
            body = await read_body(exchange, max_body=self._max_body, seconds=BODY_SECONDS)
            if body is not None:
                await self._respond(request, body, exchange)
        except Exception:
            log.exception("admin request failed", path=wire.path_of(request))
            exchange.refuse(ErrorResponse(500, "internal error"))

    async def _respond(self, request: http1.Request, body: bytes, exchange: Exchange) -> None:
        """Run the handler to its end even if the client disconnects: it may be in the middle of a reset."""
        headers = wire.HeaderValues(request.headers)
        plain = wire.unpacked(body, headers.get("Content-Encoding", ""), self._max_body)
        if isinstance(plain, ErrorResponse):
            exchange.client.keeps(able=False)
            exchange.refuse(plain)
        else:
            await self._send(exchange, await respond(self._table, wire.read(request, headers, plain), self._hosts))

    async def _send(self, exchange: Exchange, response: PageResponse) -> None:
        headers = wire.headers_of(response)
        if isinstance(response.body, bytes):
            exchange.respond(response.status, headers, response.body)
        elif self._may_stream():
            await stream(exchange, response.status, headers, response.body, seconds=STREAM_SECONDS)
        else:
            exchange.refuse(BUSY)

    def _may_stream(self) -> bool:
        """Take a place among the streamed responses for this task; a late one of a full port gives way."""
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        if this is None:
            return False
        if len(self._streams) >= STREAMS:
            oldest = min(self._streams, key=self._streams.__getitem__)
            if loop.time() - self._streams[oldest] < STREAM_STAYS:
                return False
            self._ended(oldest)
            oldest.cancel()
        self._streams[this] = loop.time()
        return True

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._answering.discard(task)
        self._streams.pop(task, None)


def port_bytes(max_body: int = BODY_BYTES) -> int:
    """Return the memory of a port whose clients send all of a request but its end, and do not read the pages."""
    requests = HTTP_MOST * (http1.CONNECTION_BYTES + HEAD_BYTES + max_body)
    return requests + STREAMS * (http1.HIGH_WATER + SLICE_BYTES)


class PageListener:
    """A port that serves pages.

    Attributes:
        host: as passed to ``listen``.
        port: the bound port.
        places: the open connections and the bounds of their number.
    """

    __slots__ = ("_pages", "_server", "host", "places", "port")

    def __init__(self, server: Server, pages: Pages, host: str, port: int) -> None:
        self.places = server.places
        self._server = server
        self._pages = pages
        self.host = host
        self.port = port

    @property
    def address(self) -> str:
        """``host:port``."""
        return address(self.host, self.port)

    async def close(self) -> None:
        """Stop listening and close all connections."""
        await self._server.stop(CLOSE_SECONDS)
        await self._pages.close()


class Clients(NamedTuple):
    """Bounds of the clients of a port.

    Attributes:
        most: open connections.
        trusted: networks of peers that may have any part of them.
        turned_away: called with the reason and the address of a client that got no place.
    """

    most: int = HTTP_MOST
    trusted: tuple[str, ...] = ()
    turned_away: Callable[[str, str], None] = http1.ignore


async def listen(
    table: PageTable,
    host: str,
    port: int,
    sweeper: Sweeper | None = None,
    max_body: int = BODY_BYTES,
    hosts: Collection[str] = (),
    clients: Clients = Clients(),  # noqa: B008 -- immutable
) -> PageListener:
    """Serve a table of pages; raises OSError as ``bind_each`` does. Port 0 takes a free one.

    ``sweeper`` enforces the connections' deadlines; None: a new one. A request body above ``max_body`` is 413.
    ``hosts``: see ``respond``.
    """
    socks = bind_each(host, port)
    pages = Pages(table, max_body, hosts)
    options = ServerOptions(
        max_head=HEAD_BYTES,
        max_body=max_body,
        head_timeout=HEAD_SECONDS,
        body_timeout=BODY_SECONDS,
        idle_timeout=KEEPALIVE_SECONDS,
        send_timeout=STREAM_SECONDS,
        max_connections=clients.most,
        max_connections_per_address=clients.most,
    )
    server = Server(pages, options, sweeper or Sweeper(), turned_away=clients.turned_away, trusted=clients.trusted)
    bound = socks[0].getsockname()[1]
    for sock in socks:
        await server.start(sock)
    return PageListener(server, pages, host, bound)
