"""The operators' pages of a gateway on its own listener: the same table of routes as on a port of their own."""

import asyncio
from collections.abc import Mapping
from functools import partial

from ratelimitd.admin import Request, Route, Routes
from ratelimitd.gateway.proxy import Internal
from ratelimitd.http1 import Exchange


def internal(routes: Routes, prefix: str) -> Mapping[bytes, Internal]:
    """Return what answers each path of the table, below ``prefix``."""
    answering: set[asyncio.Task[None]] = set()
    return {(prefix + path).encode(): partial(_answer, answering, route) for path, route in routes.items()}


def _answer(answering: set["asyncio.Task[None]"], route: Route, exchange: Exchange) -> None:
    task = asyncio.ensure_future(_respond(route, exchange))
    answering.add(task)
    task.add_done_callback(answering.discard)


async def _respond(route: Route, exchange: Exchange) -> None:
    """Answer whole: a text that comes in chunks gives way to the loop between them."""
    asked = exchange.request
    path = asked.path.decode("latin-1")
    response = await route.handler(Request(asked.method.decode("latin-1"), path, {}, {}, b""))
    body = response.body
    if not isinstance(body, bytes):
        body = b"".join([chunk async for chunk in body])
    exchange.respond(response.status, [(b"Content-Type", response.content_type.encode())], body)
