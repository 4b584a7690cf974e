"""The HTTP ports: the table of pages on each port."""

import socket
import ssl
from collections.abc import Collection
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, NamedTuple

from ratelimitd.admin import (
    BODY_BYTES,
    PageTable,
    debug_pages,
    listen,
    metrics_pages,
    port_bytes,
    service_pages,
    statsd_text,
)
from ratelimitd.rls import decide_json
from ratelimitd.settings import Settings

from .admin import admin_guard, admin_pages
from .connections import Connections
from .live import LiveService, live_table
from .naming import grpc_tls, port_set_by
from .peers import peer_table, replicas_of
from .prometheus import Scrapes
from .service import RunningService

SETTING: Final = {"http": "PORT", "debug": "DEBUG_PORT", "prometheus": "PROMETHEUS_ADDR", "peer": "PEER_ADDR"}
"""The setting of each port, by the port's name in metrics and logs."""


class Addresses(NamedTuple):
    """``host:port`` of each HTTP port, "" for a disabled one."""

    http: str
    debug: str
    prometheus: str
    peer: str

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
        peer=await listen_peers(service, connections, live, stack),
    )


def live_bytes(settings: Settings) -> int:
    """Return what readers of the live view take beside the port that has it."""
    return port_bytes(live=True) - port_bytes() if settings.live_max_bytes else 0


def page_bodies(settings: Settings) -> list[int]:
    """Return the largest request body of each HTTP port; the first one is that of /json."""
    ports = 2 + (settings.use_prometheus and not settings.disable_stats) + (settings.peer_addr is not None)
    return [max(BODY_BYTES, settings.max_request_bytes), *[BODY_BYTES] * (ports - 1)]


async def listen_debug(
    service: RunningService, connections: Connections, live: LiveService | None, stack: AsyncExitStack
) -> str:
    """Listen on the debug port as ``listen_http`` does; returns its address. ``live``: None: the live view is off."""
    settings, parts, guard = service.settings, service.parts, admin_guard(service.settings)
    together = None if live is None else replicas_of(live, settings)
    table = debug_pages(
        lambda: service.policies.policy,
        lambda: statsd_text(parts.tallies, parts.tallies.unknown_domains(), parts.counters),
        {**admin_pages(service, guard), **live_table(live, guard, together)},
    )
    address = settings.debug_host, settings.debug_port
    return await _listen("debug", table, address, connections, stack, hosts=_hosts(settings))


async def listen_peers(
    service: RunningService, connections: Connections, live: LiveService | None, stack: AsyncExitStack
) -> str:
    """Listen on PEER_ADDR, if it is set, as ``listen_http`` does; returns its address, else ""."""
    settings = service.settings
    if settings.peer_addr is None:
        return ""
    tls = grpc_tls(settings, alpn="http/1.1")
    context = None if tls is None else tls.context()
    return await _listen("peer", peer_table(live, settings), settings.peer_addr, connections, stack, tls=context)


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
    tls: ssl.SSLContext | None = None,
) -> str:
    clients = connections.clients(name)
    with port_set_by(SETTING[name]):
        listener = await listen(table, *address, connections.sweeper, max_body, hosts, clients, tls)
    stack.push_async_callback(listener.close)
    connections.listening[name] = listener.places
    return listener.address
