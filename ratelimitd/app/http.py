"""The HTTP ports: the table of pages on each port."""

import socket
from collections.abc import Collection
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, NamedTuple

from ratelimitd.admin import BODY_BYTES, PageTable, debug_pages, listen, metrics_pages, service_pages, statsd_text
from ratelimitd.rls import decide_json
from ratelimitd.settings import Settings

from .admin import admin_guard, admin_pages
from .connections import Connections
from .live import LiveService, live_table
from .naming import port_set_by
from .prometheus import Scrapes
from .service import RunningService

SETTING: Final = {"http": "PORT", "debug": "DEBUG_PORT", "prometheus": "PROMETHEUS_ADDR"}
"""The setting of each port, by the port's name in metrics and logs."""


class Addresses(NamedTuple):
    """``host:port`` of each HTTP port, "" for a disabled one."""

    http: str
    debug: str
    prometheus: str

    @property
    def named(self) -> dict[str, str]:
        """The enabled ones by name."""
        return {name: address for name, address in self._asdict().items() if address}


async def listen_http(
    service: RunningService,
    metrics: Scrapes,
    connections: Connections,
    live: LiveService | None,
    stack: AsyncExitStack,
) -> Addresses:
    """Listen on all HTTP ports until the stack unwinds; raises OSError as ``bind`` does, StartError for a bad token."""
    settings, parts = service.settings, service.parts
    decide = partial(decide_json, parts.service.of_tools())
    main = dict(service_pages(service.health, service.readiness, service.notes, decide, metrics.page))
    if settings.disable_stats:
        main.pop("/metrics")
    if not settings.http_json:
        main.pop("/json")
    prometheus = ""
    if settings.use_prometheus and not settings.disable_stats:
        pages = metrics_pages(settings.prometheus_path, metrics.sink)
        prometheus = await _listen("prometheus", pages, settings.prometheus_addr, connections, stack)
    max_body, *_ = page_bodies(settings)
    address = settings.host, settings.port
    return Addresses(
        http=await _listen("http", main, address, connections, stack, max_body, _hosts(settings)),
        debug=await listen_debug(service, connections, live, stack),
        prometheus=prometheus,
    )


def page_bodies(settings: Settings) -> list[int]:
    """Return the largest request body of each HTTP port; the first one is that of /json."""
    ports = 2 + (settings.use_prometheus and not settings.disable_stats)
    return [max(BODY_BYTES, settings.max_request_bytes), *[BODY_BYTES] * (ports - 1)]


async def listen_debug(
    service: RunningService, connections: Connections, live: LiveService | None, stack: AsyncExitStack
) -> str:
    """Listen on the debug port as ``listen_http`` does; returns its address. ``live``: None: the live view is off."""
    settings, parts, guard = service.settings, service.parts, admin_guard(service.settings)
    table = debug_pages(
        lambda: service.policies.policy,
        lambda: statsd_text(parts.tallies, parts.tallies.unknown_domains(), parts.counters),
        {**admin_pages(service, guard), **live_table(live, guard)},
    )
    address = settings.debug_host, settings.debug_port
    return await _listen("debug", table, address, connections, stack, hosts=_hosts(settings))


def _hosts(settings: Settings) -> Collection[str]:
    """Return names of this host in Host; Debian's /etc/hosts gives the host's own name a loopback address."""
    return {*settings.http_allowed_hosts, socket.gethostname().lower()}


async def _listen(
    name: str,
    table: PageTable,
    address: tuple[str, int],
    connections: Connections,
    stack: AsyncExitStack,
    max_body: int = BODY_BYTES,
    hosts: Collection[str] = (),
) -> str:
    with port_set_by(SETTING[name]):
        listener = await listen(table, *address, connections.sweeper, max_body, hosts, connections.clients(name))
    stack.push_async_callback(listener.close)
    connections.listening[name] = listener.places
    return listener.address
