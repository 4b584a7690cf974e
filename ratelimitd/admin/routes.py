"""The tables of paths: the service's port (8080), the debug port (6070) and Prometheus' own.

Each row answers for itself; everything it needs is handed in, so none knows where it comes from. Paths, codes
and texts are envoyproxy/ratelimit's where it has them. /debug/pprof profiles Go and is not offered.
"""

from collections.abc import AsyncGenerator, Callable
from types import MappingProxyType
from typing import Final

from ratelimitd.observe.health import Health
from ratelimitd.observe.metrics import CONTENT_TYPE
from ratelimitd.policy import Policy

from . import rlconfig
from .http import NOT_FOUND, TEXT, Handler, Request, Response, Route, Routes
from .json import Decide, decided

Stream = Callable[[], AsyncGenerator[bytes, None]]
"""Starts a text that comes in chunks."""

NONE: Final[Routes] = MappingProxyType({})


def service_routes(health: Health, readiness: Health, decide: Decide, metrics: Stream) -> Routes:
    """Return the table of HOST:PORT.

    ``health`` holds the components that upstream's /healthcheck counts, ``readiness`` those without which no
    traffic should come (it counts a missing policy always).
    """
    return {
        "/healthcheck": Route(healthcheck(health), "200 OK, or 500 while a component fails"),
        "/livez": Route(livez, "200 while the event loop runs"),
        "/readyz": Route(readyz(readiness), "200 OK, or 503 and the components that are not ready"),
        "/json": Route(decided(decide), "a rate limit request as JSON: 200 OK, 429 OVER_LIMIT"),
        "/metrics": Route(streamed(metrics, CONTENT_TYPE), "metrics for Prometheus"),
    }


def debug_routes(policy: Callable[[], Policy | None], stats: Stream, admin: Routes = NONE) -> Routes:
    """Return the table of DEBUG_HOST:DEBUG_PORT; ``policy`` gives the one in force, ``admin`` is the admin API."""

    def listing() -> AsyncGenerator[bytes, None]:
        return rlconfig.render(policy)

    routes = {
        "/rlconfig": Route(streamed(listing), "the active limits, sorted"),
        "/stats": Route(streamed(stats), "the counters under their statsd names"),
        **admin,
    }
    return {**routes, "/": Route(index(routes), "this list")}


def gateway_routes(readiness: Health, metrics: Stream) -> Routes:
    """Return the table of a gateway's own pages, by the seed's names."""
    return {
        "/metrics": Route(streamed(metrics, CONTENT_TYPE), "metrics for Prometheus"),
        "/healthz": Route(livez, "200 while the event loop runs"),
        "/readyz": Route(readyz(readiness), "200 OK, or 503 and the components that are not ready"),
    }


def metrics_routes(path: str, metrics: Stream) -> Routes:
    """Return the table of PROMETHEUS_ADDR, where PROMETHEUS_PATH is ``path``."""
    return {path: Route(streamed(metrics, CONTENT_TYPE), "metrics for Prometheus")}


def healthcheck(health: Health) -> Handler:
    """Answer as upstream does: 200 ``OK``, or 500 and nothing."""

    async def handler(_: Request) -> Response:
        return Response(200, b"OK") if health.healthy else Response(500, b"")

    return handler


async def livez(_: Request) -> Response:
    """Answer OK: whoever hears it knows that the event loop turns, and liveness asks for no more."""
    return Response(200, b"OK")


def readyz(health: Health) -> Handler:
    """Answer 200 ``OK``, or 503 and a line ``component: reason`` for each that is not ready."""

    async def handler(_: Request) -> Response:
        lines = [f"{component}: {reason or 'not ready'}\n" for component, reason in health.failing()]
        return Response(503, "".join(lines).encode(errors="backslashreplace")) if lines else Response(200, b"OK")

    return handler


def streamed(start: Stream, content_type: str = TEXT) -> Handler:
    """Answer 200 with a text in chunks."""

    async def handler(_: Request) -> Response:
        return Response(200, start(), content_type)

    return handler


def index(routes: Routes) -> Handler:
    """List a table, sorted, a line ``path: help`` each; 404 below /admin, or a reset that is off would look done."""
    text = "".join(f"{path}: {route.help}\n" for path, route in sorted(routes.items())).encode()

    async def handler(request: Request) -> Response:
        return NOT_FOUND if f"{request.path}/".startswith("/admin/") else Response(200, text)

    return handler
