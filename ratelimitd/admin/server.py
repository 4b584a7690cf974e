"""The tables of routes on a port, with aiohttp. Nothing here knows a path."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

import structlog
from aiohttp import web

from ratelimitd.net.listen import address, bind

from .http import Request, Response, Routes, respond

BODY_BYTES: Final = 8 << 10
"""A larger request body is answered 413. A RateLimitRequest is mostly below a kilobyte; the worst of this size, full of
empty entries, takes 4 ms to read as JSON, and nothing may hold the loop for longer."""

BODY_SECONDS: Final = 10.0
"""To send a body in; a longer one is answered 408. No caller of /json would wait that long for a decision."""

STREAM_SECONDS: Final = 60.0
"""To take a streamed response; then the connection is cut. Prometheus' scrapes time out after 10 s by default."""

KEEPALIVE_SECONDS: Final = 75.0
"""Until an idle connection, or one that has not sent a whole header, is closed: nginx's default."""

CLOSE_SECONDS: Final = 1.0
"""For responses under way at the end, when no probe needs an answer, and for the rest of a body nobody reads."""

QUIET: Final = logging.Logger("aiohttp.server", logging.CRITICAL + 1)  # noqa: LOG001 outside the tree, so no set-up wakes it
"""aiohttp logs a traceback for whatever bytes a caller sends; our own errors are logged here, by ``_handler``."""

log = structlog.get_logger(__name__)


class Listener:
    """A port being served.

    Attributes:
        host: as asked for.
        port: the bound one.
    """

    __slots__ = ("_runner", "host", "port")

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        self._runner = runner
        self.host = host
        self.port = port

    @property
    def address(self) -> str:
        """``host:port``."""
        return address(self.host, self.port)

    async def close(self) -> None:
        """Stop listening and end all connections."""
        await self._runner.cleanup()


async def listen(routes: Routes, host: str, port: int) -> Listener:
    """Serve a table of routes; raises OSError as ``bind`` does. Port 0 takes a free one."""
    sock = bind(host, port)
    app = web.Application(client_max_size=BODY_BYTES)
    app.router.add_route("*", "/{path:.*}", _handler(routes))
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=QUIET,
        keepalive_timeout=KEEPALIVE_SECONDS,
        lingering_time=CLOSE_SECONDS,
        shutdown_timeout=CLOSE_SECONDS,
    )
    await runner.setup()
    await web.SockSite(runner, sock).start()
    return Listener(runner, host, sock.getsockname()[1])


def _handler(routes: Routes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()
        except TimeoutError:
            return web.Response(status=408, text="the body took too long\n")
        except web.RequestPayloadError:
            return web.Response(status=400, text="Bad Request\n")
        asked = Request(
            request.method,
            request.path,
            request.query,
            request.headers,
            body,
            request.remote or "",
            request.rel_url.raw_query_string,
        )
        try:
            return await _reply(request, await respond(routes, asked))
        except Exception:
            log.exception("admin_request_failed", path=request.path)
            raise

    return handle


async def _reply(request: web.Request, response: Response) -> web.StreamResponse:
    headers = {**response.headers, "Content-Type": response.content_type}
    if isinstance(response.body, bytes):
        return web.Response(status=response.status, body=response.body, headers=headers)
    reply = web.StreamResponse(status=response.status, headers=headers)
    await reply.prepare(request)
    async with aclosing(response.body) as chunks:
        if request.method == "HEAD":
            return reply
        try:
            async with asyncio.timeout(STREAM_SECONDS):
                async for chunk in chunks:
                    await reply.write(chunk)
        except (TimeoutError, ConnectionError):
            # Ending it here in good order would pass half a text for a whole one.
            if request.transport is not None:
                request.transport.abort()
    return reply
