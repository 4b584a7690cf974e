"""The tables of routes over HTTP/1.1, on a port of their own or a proxy's. Nothing here knows a path."""

import asyncio
from typing import Final

from ratelimitd import http1
from ratelimitd.http1 import ErrorResponse, Exchange, Server, ServerOptions, Sweeper, read_body, stream
from ratelimitd.net.listen import address, bind
from ratelimitd.observe.logs import get_logger

from . import wire
from .http import Response, Routes, respond

BODY_BYTES: Final = 8 << 10
"""A larger request body is answered 413. A RateLimitRequest is mostly below a kilobyte; the worst of this size, full of
empty entries, takes 4 ms to read as JSON, and nothing may hold the loop for longer."""

BODY_SECONDS: Final = 10.0
"""To send a body in; a longer one is answered 408. No caller of /json would wait that long for a decision."""

STREAM_SECONDS: Final = 60.0
"""To take a streamed response; then the connection is cut. Prometheus' scrapes time out after 10 s by default."""

KEEPALIVE_SECONDS: Final = 75.0
"""Until an idle connection is closed, or one that has not sent a whole head: nginx's default."""

CLOSE_SECONDS: Final = 1.0
"""For responses under way at the end, when no probe needs an answer."""

HEAD_BYTES: Final = 16 << 10
"""Of a request's line and headers together; Node's bound. The longest admin token takes a quarter of it."""

CONNECTIONS: Final = 10_000
"""Open at once, then 503: the proxy's default. One address has no lower bound: callers of /json, Prometheus and kubelet
may all come from the address of one sidecar or node, and a probe that was turned away would restart us."""

log = get_logger(__name__)


class Pages:
    """Answers exchanges from a table of routes; an ``http1.Handler``."""

    __slots__ = ("_answering", "_routes")

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._answering: set[asyncio.Task[None]] = set()

    def __call__(self, request: http1.Request, exchange: Exchange) -> None:
        """Answer a request in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._answer(request, exchange))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def close(self) -> None:
        """End what is being answered."""
        answering = tuple(self._answering)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    async def _answer(self, request: http1.Request, exchange: Exchange) -> None:
        try:
            body = await read_body(exchange, max_body=BODY_BYTES, seconds=BODY_SECONDS)
            if body is not None:
                await self._respond(request, body, exchange)
        except Exception:
            log.exception("admin request failed", path=wire.path_of(request))
            exchange.refuse(ErrorResponse(500, "internal error"))

    async def _respond(self, request: http1.Request, body: bytes, exchange: Exchange) -> None:
        """Let the handler answer, also where the client is gone meanwhile: it may be in the middle of a reset."""
        headers = wire.HeaderValues(request.headers)
        plain = wire.unpacked(body, headers.get("Content-Encoding", ""), BODY_BYTES)
        if isinstance(plain, ErrorResponse):
            exchange.client.keeps(able=False)
            exchange.refuse(plain)
        else:
            await _send(exchange, await respond(self._routes, wire.read(request, headers, plain)))


async def _send(exchange: Exchange, response: Response) -> None:
    headers = wire.headers_of(response)
    if isinstance(response.body, bytes):
        exchange.respond(response.status, headers, response.body)
    else:
        await stream(exchange, response.status, headers, response.body, seconds=STREAM_SECONDS)


class Listener:
    """A port being served.

    Attributes:
        host: as asked for.
        port: the bound one.
    """

    __slots__ = ("_pages", "_server", "host", "port")

    def __init__(self, server: Server, pages: Pages, host: str, port: int) -> None:
        self._server = server
        self._pages = pages
        self.host = host
        self.port = port

    @property
    def address(self) -> str:
        """``host:port``."""
        return address(self.host, self.port)

    async def close(self) -> None:
        """Stop listening and end all connections."""
        await self._server.stop(CLOSE_SECONDS)
        await self._pages.close()


async def listen(routes: Routes, host: str, port: int, sweeper: Sweeper | None = None) -> Listener:
    """Serve a table of routes; raises OSError as ``bind`` does. Port 0 takes a free one.

    ``sweeper`` looks after the connections' deadlines; None: one of the listener's own.
    """
    sock = bind(host, port)
    pages = Pages(routes)
    options = ServerOptions(
        max_head=HEAD_BYTES,
        max_body=BODY_BYTES,
        head_timeout=KEEPALIVE_SECONDS,
        body_timeout=BODY_SECONDS,
        idle_timeout=KEEPALIVE_SECONDS,
        send_timeout=STREAM_SECONDS,
        max_connections=CONNECTIONS,
        max_connections_per_address=CONNECTIONS,
    )
    server = Server(pages, options, sweeper or Sweeper())
    await server.start(sock)
    return Listener(server, pages, host, sock.getsockname()[1])
