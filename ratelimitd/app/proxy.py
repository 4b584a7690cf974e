"""``ratelimitd proxy``: the reverse proxy over the same engine, optionally with the rate-limit service."""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from ratelimitd import __version__
from ratelimitd.admin import Pages, PageTable, Reused, gateway_pages, listen
from ratelimitd.gateway import (
    AccessLog,
    AccessRecord,
    Admin,
    CallerLimits,
    Gateway,
    MakeRequest,
    Proxy,
    RequestMetrics,
    access_line,
    default_file,
    file_of_flags,
    in_words,
    render,
)
from ratelimitd.http1 import ErrorResponse, Peer, Server, Sweeper
from ratelimitd.net.listen import address, bind
from ratelimitd.observe.container import memory_limit
from ratelimitd.observe.health import Health
from ratelimitd.observe.logs import colored, get_logger, readable
from ratelimitd.observe.loop import LoopLag
from ratelimitd.observe.output import PAUSE, before_end
from ratelimitd.policy import PolicyErrors
from ratelimitd.settings import Settings
from ratelimitd.sources import GatewayFile

from .beside import MOVABLE, beside_proxy
from .connections import Connections, warn_of_shortage
from .engine import Parts, build, store_budget
from .exposition import Scrape
from .files import divided
from .gateway_files import GatewayFiles, read
from .gateway_metrics import gateway_families
from .http import listen_debug, listen_http, listen_peers
from .life import Front, Running, StartError, live, load_first, refuse_clashes, run_background
from .live import LiveService, live_fronts, live_service, live_tasks
from .measuring import measuring
from .memory import fitted, warn_of_memory
from .naming import gateway_tls, port_set_by
from .policies import Policies
from .ports import Clash, clashing, wants_debug
from .prometheus import scrapes
from .queueing import stop_queueing
from .refusals import HttpRefusals, Refusals
from .serve import open_grpc
from .service import RunningService
from .tracing import span_families, traced_requests, tracer_of

log = get_logger(__name__)

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 -- a directory with a name of its own is made in it
"""What containers may write to, also where the root is read-only."""


def run(settings: Settings, config: str | None, wanted: CallerLimits | None = None, *, with_service: bool) -> int:
    """Proxy with this gateway file until a signal; returns the exit code.

    Without a file: with the one that the wanted limits stand for, or the built-in one.
    """
    settings = fitted(settings, memory_limit())
    return live(settings, partial(_start, settings, config, wanted, with_service=with_service))


def config_without_file(settings: Settings, wanted: CallerLimits | None = None) -> str:
    """Return the gateway file that is used if none is given."""
    listen, upstream = address(*(settings.listen_addr or ("", 8080))), settings.upstream
    return default_file(listen, upstream) if wanted is None else file_of_flags(listen, upstream, wanted)


async def _start(
    settings: Settings,
    config: str | None,
    wanted: CallerLimits | None,
    stack: AsyncExitStack,
    *,
    with_service: bool,
) -> Running:
    """Read the file, bind every port, load the policies, then serve; the proxy's own pages answer before that."""
    _tell(settings, config, wanted)
    path = config or _written(config_without_file(settings, wanted), stack)
    gateway = await _first(path)
    if with_service:
        settings = _beside(settings, gateway)
    clashes = partial(clashing, settings, with_service=with_service)
    source = GatewayFile(path, made_of(config, wanted))
    _check(settings, source, gateway, clashes(gateway), with_service=with_service)
    host, sock = _bound(settings, gateway, config, stack)
    port, tracer = sock.getsockname()[1], tracer_of(settings)
    parts, metrics, sweeper, access = build(settings), RequestMetrics(), Sweeper(), _access_log(settings)
    stack.callback(sweeper.close)
    before_end(access.flush)
    proxy = _proxy(settings, parts, _reporter(metrics, access), traced_requests(tracer, port), stack)
    division = divided(settings, gateway, with_service=with_service)
    connections = Connections(division, settings.trusted_peers, sweeper, HttpRefusals(), {})
    server = _server(proxy, gateway, connections, _refusals(metrics, access))
    files = GatewayFiles(gateway, proxy, server, sweeper, clashes, settings.trusted_peers)
    stack.push_async_callback(files.close)
    policies = Policies(source, settings, parts, prepare=files.prepare)
    service = RunningService(settings, parts, policies, Health(), Health(), Health(), tracer=tracer)
    service.update_health()
    lag, refusals = LoopLag(), Refusals(settings.grpc_client_tls_san)
    more = gateway_families(metrics, files.upstreams, proxy.queueing) + ([refusals.family()] if with_service else [])
    measures = measuring(settings, parts, policies, stack, with_service=with_service)
    more += [family for each in measures for family in each.families()] + span_families(tracer)
    scraped = scrapes(settings, parts, policies, lag, [*more, *connections.families()])
    pages = gateway_pages(service.readiness, service.notes, _metrics(gateway.admin, scraped.page))
    where = {"proxy": address(host, port)}
    where |= await _pages(gateway.admin, proxy, pages, host, connections, stack)
    fronts = [Front(server.leave, partial(stop_queueing, proxy.queueing, server.stop))]
    view = _view(service, gateway, port, with_service=with_service)
    serving = None
    if with_service:
        serving, front = open_grpc(service, refusals, connections)
        fronts.append(front)
        where |= {"transport": serving.transport, "grpc": serving.server.address}
        where |= (await listen_http(service, scraped, connections, view, stack)).named
    elif wants_debug(settings):
        where |= await _debug(service, connections, view, stack)
    await _listen(server, gateway, sock, stack)
    watch = await load_first(service, source, stack)
    await proxy.first_load()
    if serving is not None:
        await serving.server.start()
    shortage = warn_of_shortage(connections.listening)
    running = [*[each.run() for each in measures], *live_tasks(view)]
    run_background(stack, watch.run(), policies.remind(), lag.run(), shortage, *running)
    log.info("serving", version=__version__, **where, store=service.store_name)
    return Running(service, (*fronts, *live_fronts(view)))


async def _debug(
    service: RunningService, connections: Connections, view: LiveService | None, stack: AsyncExitStack
) -> dict[str, str]:
    """Listen on the debug port, and on that for other replicas, of a proxy without the service."""
    debug = await listen_debug(service, connections, view, stack)
    peer = await listen_peers(service, connections, view, stack)
    return {"debug": debug, **({"peer": peer} if peer else {})}


def _view(service: RunningService, gateway: Gateway, port: int, *, with_service: bool) -> LiveService | None:
    """Return the live view of a proxy on this port; None if it is off, or without a debug port."""
    if not (with_service or wants_debug(service.settings)):
        service.parts.engine.watcher = None  # nothing is shown, so nothing is watched
        return None
    scheme = "http" if gateway.tls is None else "https"
    return live_service(service, lambda: f"curl -i {scheme}://localhost:{port}/")


def _proxy(
    settings: Settings,
    parts: Parts,
    report: Callable[[AccessRecord], None],
    requests: MakeRequest | None,
    stack: AsyncExitStack,
) -> Proxy:
    """Make the proxy; ``requests`` makes requests that are traced."""
    clock, budget = asyncio.get_running_loop().time, store_budget(settings)
    multipliers = settings.status_unit_multiplier
    shared = settings.redis is not None
    proxy = Proxy(parts.engine, budget, clock, report, multipliers=multipliers, shared=shared, requests=requests)
    stack.callback(proxy.held.close)
    return proxy


def _server(
    proxy: Proxy, gateway: Gateway, connections: Connections, refused: Callable[[ErrorResponse, Peer], None]
) -> Server:
    """Make the proxy's server; it has as many connections as the process has files for."""
    server = Server(
        proxy.handle,
        gateway.limits,
        connections.sweeper,
        render=render,
        refused=refused,
        turned_away=connections.refusals.of("proxy"),
        most=connections.division.proxy,
        trusted=(*connections.trusted, *gateway.trusted_proxies),
    )
    connections.listening["proxy"] = server.places
    return server


def made_of(config: str | None, wanted: CallerLimits | None) -> str:
    """Return what stands for the gateway file; empty for a file that was given."""
    if config is not None:
        return ""
    return "the built-in gateway file" if wanted is None else "the flags --upstream, --limit and --by"


def _tell(settings: Settings, config: str | None, wanted: CallerLimits | None) -> None:
    """Log what applies without a gateway file, or what has no effect with one."""
    if config is None:
        limits = "those of the built-in gateway file" if wanted is None else in_words(wanted)
        note = "--print-config prints the gateway file"
        log.info("no gateway file", upstream=settings.upstream, limits=limits, note=note)
        return
    for name in sorted(settings.given & {Settings.upstream_url.name, Settings.downstream_url.name}):
        log.warning("a setting has no effect: the gateway file names its upstreams", setting=name, file=config)


def _check(
    settings: Settings, source: GatewayFile, gateway: Gateway, clashes: Sequence[Clash], *, with_service: bool
) -> None:
    """Refuse to start with ports that do not agree, and warn of a container that is too small."""
    refuse_clashes(clashes)
    warn_of_memory(settings, memory_limit(), source, gateway, serves=with_service)


def _bound(
    settings: Settings, gateway: Gateway, config: str | None, stack: AsyncExitStack
) -> tuple[str, socket.socket]:
    """Bind the proxy's port until the stack unwinds; returns its host too."""
    host, port = settings.listen_addr or gateway.listen
    with port_set_by(_listen_setting(settings, config)):
        sock = bind(host, port)
    stack.callback(sock.close)
    return host, sock


async def _listen(server: Server, gateway: Gateway, sock: socket.socket, stack: AsyncExitStack) -> None:
    """Accept clients until the stack unwinds."""
    tls = gateway_tls(gateway)
    await server.start(sock, tls=None if tls is None else tls.context())
    stack.push_async_callback(server.stop, 0.0)


def _listen_setting(settings: Settings, config: str | None) -> str:
    """Return what sets the proxy's address."""
    return "LISTEN_ADDR" if settings.listen_addr or config is None else "LISTEN_ADDR or 'listen' of the file"


def _beside(settings: Settings, gateway: Gateway) -> Settings:
    """Move default ports that the proxy or an upstream uses, and log each."""
    moved = beside_proxy(settings, gateway)
    for row in MOVABLE:
        default, port = (getattr(each, row.name.lower()) for each in (settings, moved))
        if port != default:
            log.info(
                "the default port is in use by the proxy or an upstream", setting=row.name, default=default, port=port
            )
    return moved


async def _first(path: str) -> Gateway:
    """Read the file at the start: without it the address to listen on is unknown, so every error ends the start."""
    try:
        return await read(path)
    except PolicyErrors as errors:
        for error in errors.errors:
            log.error(str(error))  # noqa: TRY400 -- its text is all a reader needs
        count = len(errors.errors)
        raise StartError(f"the gateway file has {count} error{'' if count == 1 else 's'}") from None


def _access_log(settings: Settings) -> AccessLog:
    """Write the access log to stdout: as text where the log would be text, else as JSON."""
    text = partial(access_line, colors=colored(sys.stdout)) if readable(settings.log_format, sys.stdout) else None
    return AccessLog(partial(asyncio.get_running_loop().call_later, PAUSE), text=text)


def _reporter(metrics: RequestMetrics, access: AccessLog) -> Callable[[AccessRecord], None]:
    """Count and log each request."""

    def report(record: AccessRecord) -> None:
        metrics.count(record)
        access.log(record)

    return report


def _refusals(metrics: RequestMetrics, access: AccessLog) -> Callable[[ErrorResponse, Peer], None]:
    """Count and log rejected request heads and rejected clients."""

    def report(error: ErrorResponse, peer: Peer) -> None:
        metrics.requests["", error.status] += 1
        access.log(AccessRecord("", "", "", peer.address, "", "", error.status, "", "", 0, 0, 0, error.reason))

    return report


def _metrics(admin: Admin, page: Scrape) -> Scrape:
    """Return what renders /metrics, which every client may ask for on the listener."""
    return page if admin.port is not None else Reused(page)


async def _pages(
    admin: Admin, proxy: Proxy, table: PageTable, host: str, connections: Connections, stack: AsyncExitStack
) -> dict[str, str]:
    """Serve /metrics, /healthz and /readyz on the port or under the prefix that the file sets."""
    if admin.port is None:
        prefixed = {admin.prefix + path: page for path, page in table.items()}
        pages = Pages(prefixed)
        stack.push_async_callback(pages.close)
        proxy.internal = {path.encode(): pages for path in prefixed}
        return {}
    with port_set_by("'port' of 'admin' in the file"):
        listener = await listen(table, host, admin.port, connections.sweeper, clients=connections.clients("admin"))
    stack.push_async_callback(listener.close)
    connections.listening["admin"] = listener.places
    return {"admin": listener.address}


def _written(text: str, stack: AsyncExitStack) -> str:
    """Write the default file to a temporary directory, so that it is loaded like any other."""
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ratelimitd-", dir=memory))) / "gateway.yaml"
    path.write_text(text)
    return str(path)
