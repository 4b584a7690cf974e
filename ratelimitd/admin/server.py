"""Tables of pages over HTTP/1.1, on a separate port or on that of the proxy. Independent of the paths."""

import asyncio
import ssl
from collections.abc import Callable, Collection
from math import inf
from typing import Final, NamedTuple

from ratelimitd import http1
from ratelimitd.http1 import ErrorResponse, Exchange, Server, ServerOptions, Sweeper, read_body, stream
from ratelimitd.net.listen import address, bind_each
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.metrics import SLICE_BYTES

from . import wire
from .http import NOT_FOUND, PageRequest, PageResponse, PageTable, Streaming, cleaned
from .origin import refusal
from .sent import DOCUMENT_BYTES, FEED_BYTES, UNREAD_BYTES

BODY_BYTES: Final = 8 << 10
"""A larger request body is answered with 413, unless the port takes more. The worst case of this size, 2,048 empty
entries, takes 2 to 4 ms to read as JSON, and nothing may block the event loop for longer than 5 ms."""

BODY_SECONDS: Final = 10.0
"""Time to receive a request body, else 408. No caller of /json would wait that long for a decision."""

HTTP_MOST: Final = 256
"""Connections of a port, then the idlest makes room: probes, Prometheus and operators have one each, callers of /json a
pool. One address has no lower bound while others are free: all of these may share that of one sidecar or node."""

SEND_SECONDS: Final = 60.0
"""Time for a client to read a part of a response, then the connection is closed."""


class Bounds(NamedTuple):
    """Bounds of one kind of streamed responses of a port.

    Attributes:
        most: responses at a time, then 503. Each turns the event loop, and holds what its client does not read.
        stays: seconds after which one gives way to another.
        seconds: time for a client to read one, then the connection is closed; None: it lasts until one side ends it.
        held: bytes that all of them hold at most, besides their connections.
    """

    most: int
    stays: float
    seconds: float | None
    held: int


READERS_PART: Final = 7
"""Eighths of the connections of a port that readers of events may have, so that other requests have a place."""

STREAMS: Final = 2
"""Two replicas of Prometheus scrape a target at once."""

STREAMINGS: Final[dict[Streaming, Bounds]] = {
    # 10 s: Prometheus' default timeout
    "text": Bounds(STREAMS, 10.0, SEND_SECONDS, STREAMS * (http1.HIGH_WATER + SLICE_BYTES)),
    # a client that reads has its document within a round trip or two
    "document": Bounds(8, 2.0, SEND_SECONDS, 8 * DOCUMENT_BYTES),
    # more pages than operators have open; fewer where the port has not the connections
    "events": Bounds(HTTP_MOST * READERS_PART // 8, inf, None, UNREAD_BYTES),
    # each of them costs every decision a comparison
    "decisions": Bounds(4, inf, None, 4 * FEED_BYTES),
}
"""The bounds of each kind. Those of the live view are bounded by themselves: a port without it has none."""

BUSY: Final = "this port has {} such responses in progress; try again later"

HEAD_SECONDS: Final = 10.0
"""Time to receive a request head, also the first of a connection: that of the proxy. A probe sends it at once."""

KEEPALIVE_SECONDS: Final = 75.0
"""Idle timeout between two requests of a connection: nginx's default."""

CLOSE_SECONDS: Final = 1.0
"""Time for responses in progress at shutdown; no probe needs an answer then."""

HEAD_BYTES: Final = 16 << 10
"""Maximum size of a request head; Node's limit. The longest admin token takes a quarter of it."""

Streams = dict["asyncio.Task[None]", tuple[bool, float]]
"""The tasks that send streamed responses of one kind: whether the caller has the token, and since when."""

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

    __slots__ = ("_answering", "_hosts", "_max_body", "_readers", "_streams", "_table")

    def __init__(
        self, table: PageTable, max_body: int = BODY_BYTES, hosts: Collection[str] = (), connections: int = HTTP_MOST
    ) -> None:
        """Make the pages of a port that has so many connections at most."""
        self._table = table
        self._max_body = max_body
        self._hosts = hosts
        self._answering: set[asyncio.Task[None]] = set()
        self._readers = max(1, connections * READERS_PART // 8)
        self._streams: dict[Streaming, Streams] = {kind: {} for kind in STREAMINGS}

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
            return
        bounds = STREAMINGS[response.streaming]
        most = min(bounds.most, self._readers)
        if self._may_stream(self._streams[response.streaming], most, bounds.stays, authorized=response.authorized):
            lasts = bounds.seconds is None
            await stream(exchange, response.status, headers, response.body, seconds=bounds.seconds, whole=lasts)
        else:
            await response.body.aclose()
            exchange.refuse(ErrorResponse(503, BUSY.format(most), retry_after=1.0))

    def _may_stream(self, streams: Streams, most: int, stays: float, *, authorized: bool) -> bool:
        """Take a place among some streamed responses for this task; of a full port a late one gives way.

        So does the oldest one of a caller without the token, to one with it.
        """
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        if this is None:
            return False
        if len(streams) >= most:
            oldest = min(streams, key=streams.__getitem__)
            trusted, since = streams[oldest]
            if trusted >= authorized and loop.time() - since < stays:
                return False
            self._ended(oldest)
            oldest.cancel()
        streams[this] = authorized, loop.time()
        return True

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._answering.discard(task)
        for streams in self._streams.values():
            streams.pop(task, None)


def port_bytes(max_body: int = BODY_BYTES, *, live: bool = False) -> int:
    """Return the memory of a port whose clients send all of a request but its end, and do not read the pages.

    ``live``: whether it has the pages of the live view.
    """
    requests = HTTP_MOST * (http1.CONNECTION_BYTES + HEAD_BYTES + max_body)
    return requests + sum(bounds.held for kind, bounds in STREAMINGS.items() if live or kind == "text")


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
    tls: ssl.SSLContext | None = None,
) -> PageListener:
    """Serve a table of pages; raises OSError as ``bind_each`` does. Port 0 takes a free one.

    ``sweeper`` enforces the connections' deadlines; None: a new one. A request body above ``max_body`` is 413.
    ``hosts``: see ``respond``.
    """
    socks = bind_each(host, port)
    pages = Pages(table, max_body, hosts, clients.most)
    options = ServerOptions(
        max_head=HEAD_BYTES,
        max_body=max_body,
        head_timeout=HEAD_SECONDS,
        body_timeout=BODY_SECONDS,
        idle_timeout=KEEPALIVE_SECONDS,
        send_timeout=SEND_SECONDS,
        max_connections=clients.most,
        max_connections_per_address=clients.most,
    )
    server = Server(pages, options, sweeper or Sweeper(), turned_away=clients.turned_away, trusted=clients.trusted)
    bound = socks[0].getsockname()[1]
    for sock in socks:
        await server.start(sock, tls=tls)
    return PageListener(server, pages, host, bound)
