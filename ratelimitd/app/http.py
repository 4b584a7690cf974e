"""The HTTP ports: which table of routes listens where."""

from contextlib import AsyncExitStack
from functools import partial
from typing import NamedTuple

from ratelimitd.admin import Routes, debug_routes, listen, metrics_routes, service_routes, statsd_text
from ratelimitd.http1 import Sweeper
from ratelimitd.rls import decide_json

from .admin import admin_routes
from .exposition import Scrape
from .service import Service


class Addresses(NamedTuple):
    """``host:port`` of each HTTP port; "" where there is none."""

    http: str
    debug: str
    prometheus: str

    @property
    def named(self) -> dict[str, str]:
        """Those there are, by name."""
        return {name: address for name, address in self._asdict().items() if address}


async def listen_http(service: Service, scrape: Scrape, sweeper: Sweeper, stack: AsyncExitStack) -> Addresses:
    """Listen on all HTTP ports until the stack unwinds; raises OSError when one is taken, StartError for bad tokens."""
    settings, parts = service.settings, service.parts
    main = service_routes(service.health, service.readiness, partial(decide_json, parts.service), scrape)
    if settings.disable_stats:
        main = {path: route for path, route in main.items() if path != "/metrics"}
    debug = debug_routes(
        lambda: service.policies.policy,
        lambda: statsd_text(parts.tallies, parts.tallies.unknown_domains(), parts.counters),
        admin_routes(service),
    )

    async def open_port(routes: Routes, host: str, port: int) -> str:
        listener = await listen(routes, host, port, sweeper)
        stack.push_async_callback(listener.close)
        return listener.address

    prometheus = ""
    if settings.use_prometheus and not settings.disable_stats:
        prometheus = await open_port(metrics_routes(settings.prometheus_path, scrape), *settings.prometheus_addr)
    return Addresses(
        http=await open_port(main, settings.host, settings.port),
        debug=await open_port(debug, settings.debug_host, settings.debug_port),
        prometheus=prometheus,
    )
