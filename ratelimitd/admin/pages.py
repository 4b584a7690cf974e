"""The tables of pages: the HTTP port (8080), the debug port (6070) and the Prometheus port.

Pages are independent of each other, and everything they need is passed in. Paths, status codes and texts are those of
envoyproxy/ratelimit where it has them. /debug/pprof profiles Go and is not offered.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from types import MappingProxyType
from typing import Final

from ratelimitd.observe.health import Health
from ratelimitd.observe.metrics import CONTENT_TYPE
from ratelimitd.policy import Policy

from . import rlconfig
from .http import NOT_FOUND, TEXT, Access, Page, PageHandler, PageRequest, PageResponse, PageTable
from .json import Decide, decided

Stream = Callable[[], AsyncGenerator[bytes, None]]
"""Starts a text that is streamed in chunks."""

Notes = Callable[[], Sequence[tuple[str, str]]]
"""Returns (component, reason) of the components that fail without making the service unready."""

READYZ: Final = "200 OK, or 503 and the components that are not ready; other components that fail are listed too"

NONE: Final[PageTable] = MappingProxyType({})


def service_pages(health: Health, readiness: Health, notes: Notes, decide: Decide, metrics: Stream) -> PageTable:
    """Return the table of HOST:PORT.

    ``health`` has the components that upstream's /healthcheck includes, ``readiness`` those required to receive traffic
    (always including a policy).
    """
    return {
        "/healthcheck": Page(healthcheck(health), "200 OK, or 500 while a component fails", Access.OPEN),
        "/livez": Page(livez, "200 while the event loop runs", Access.OPEN),
        "/readyz": Page(readyz(readiness, notes), READYZ, Access.OPEN),
        "/json": Page(decided(decide), "a rate limit request as JSON: 200 OK, 429 OVER_LIMIT"),
        "/metrics": Page(streamed(metrics, CONTENT_TYPE), "metrics for Prometheus", Access.OPEN),
    }


def debug_pages(policy: Callable[[], Policy | None], stats: Stream, admin: PageTable = NONE) -> PageTable:
    """Return the table of DEBUG_HOST:DEBUG_PORT.

    ``policy`` returns the active one; ``admin`` has the admin API and the live view.
    """

    def listing() -> AsyncGenerator[bytes, None]:
        return rlconfig.render(policy)

    table = {
        "/rlconfig": Page(streamed(listing), "the active limits, sorted", Access.READS),
        "/stats": Page(streamed(stats), "the counters under their statsd names", Access.READS),
        **admin,
    }
    return {**table, "/": Page(index(table), "this list", Access.READS)}


def gateway_pages(readiness: Health, notes: Notes, metrics: Stream) -> PageTable:
    """Return the table of the proxy's own pages. Clients may read them, so no reason of ``notes`` is shown."""

    def without_reasons() -> list[tuple[str, str]]:
        return [(component, "fails; see the log") for component, _ in notes()]

    return {
        "/metrics": Page(streamed(metrics, CONTENT_TYPE), "metrics for Prometheus", Access.OPEN),
        "/healthz": Page(livez, "200 while the event loop runs", Access.OPEN),
        "/readyz": Page(readyz(readiness, without_reasons), READYZ, Access.OPEN),
    }


def metrics_pages(path: str, metrics: Stream) -> PageTable:
    """Return the table of PROMETHEUS_ADDR, where PROMETHEUS_PATH is ``path``."""
    return {path: Page(streamed(metrics, CONTENT_TYPE), "metrics for Prometheus", Access.OPEN)}


def healthcheck(health: Health) -> PageHandler:
    """Make a handler that answers as upstream does: 200 ``OK``, or 500 with an empty body."""

    async def handler(_: PageRequest) -> PageResponse:
        return PageResponse(200, b"OK") if health.healthy else PageResponse(500, b"")

    return handler


async def livez(_: PageRequest) -> PageResponse:
    """Answer OK: a response proves that the event loop runs, and liveness requires no more."""
    return PageResponse(200, b"OK")


def readyz(health: Health, notes: Notes) -> PageHandler:
    """Make a handler that answers 200 ``OK``, or 503 and a line ``component: reason`` for each that is not ready.

    The lines of ``notes`` follow in either case.
    """

    async def handler(_: PageRequest) -> PageResponse:
        failing, noted = health.failing(), notes()
        lines = [f"{component}: {reason or 'not ready'}\n" for component, reason in (*failing, *noted)]
        text = "".join(lines).encode(errors="backslashreplace")
        if failing:
            return PageResponse(503, text)
        return PageResponse(200, b"OK\n" + text if text else b"OK")

    return handler


def streamed(start: Stream, content_type: str = TEXT) -> PageHandler:
    """Make a handler that answers 200 with a streamed text."""

    async def handler(_: PageRequest) -> PageResponse:
        return PageResponse(200, start(), content_type)

    return handler


def index(table: PageTable) -> PageHandler:
    """Make a handler that lists a table, sorted, one line ``path: help`` per page.

    Below /admin and /live it answers 404: with 200, a reset would seem to succeed while the admin API is disabled.
    """
    text = "".join(f"{path}: {page.help}\n" for path, page in sorted(table.items())).encode()

    async def handler(request: PageRequest) -> PageResponse:
        return NOT_FOUND if f"{request.path}/".startswith(("/admin/", "/live/")) else PageResponse(200, text)

    return handler
