"""``ratelimitd proxy``: the reverse proxy over the same engine, optionally with the rate-limit service."""

import asyncio
import ssl
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from ratelimitd import __version__
from ratelimitd.admin import Pages, PageTable, gateway_pages, listen
from ratelimitd.gateway import AccessLog, AccessRecord, Admin, Gateway, Proxy, RequestMetrics, default_file, render
from ratelimitd.http1 import ErrorResponse, Peer, Server, Sweeper
from ratelimitd.net.listen import address, bind
from ratelimitd.net.tls import TlsFiles
from ratelimitd.observe.health import Health
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.loop import LoopLag
from ratelimitd.policy import PolicyErrors
from ratelimitd.settings import Settings
from ratelimitd.sources import GatewayFile

from .engine import build, store_budget
from .exposition import exposition
from .gateway_files import GatewayFiles, read
from .gateway_metrics import gateway_families
from .http import listen_http
from .life import Front, Running, StartError, live, load_first, refuse_clashes, run_background
from .policies import Policies
from .ports import Clash, clashes, proxy_ports, service_ports
from .serve import open_grpc
from .service import RunningService

log = get_logger(__name__)


def run(settings: Settings, config: str | None, *, with_service: bool) -> int:
    """Proxy with this gateway file (None: the default one) until a signal; returns the exit code."""
    return live(settings, partial(_start, settings, config, with_service=with_service))


def default_config(settings: Settings) -> str:
    """Return the gateway file that is used if none is given."""
    host, port = settings.listen_addr or ("", 8080)
    return default_file(address(host, port), settings.downstream_url)


async def _start(settings: Settings, config: str | None, stack: AsyncExitStack, *, with_service: bool) -> Running:
    """Read the file, bind every port, load the policies, then serve."""
    path = config or _written(default_config(settings), stack)
    gateway = await _first(path)
    clashing = partial(_clashes, settings, with_service=with_service)
    refuse_clashes(clashing(gateway))
    host, port = settings.listen_addr or gateway.listen
    sock = bind(host, port)
    stack.callback(sock.close)
    parts, metrics, sweeper = build(settings, None), RequestMetrics(), Sweeper()
    stack.callback(sweeper.close)
    access = AccessLog(asyncio.get_running_loop().call_soon)
    stack.callback(access.flush)
    clock = asyncio.get_running_loop().time
    proxy = Proxy(parts.engine, store_budget(settings), clock, _reporter(metrics, access))
    server = Server(proxy.handle, gateway.limits, sweeper, render=render, refused=_refusals(metrics, access))
    files = GatewayFiles(gateway, proxy, server, sweeper, clashing)
    stack.push_async_callback(files.close)
    source = GatewayFile(path)
    policies = Policies(source, settings, parts, prepare=files.prepare)
    service = RunningService(settings, parts, policies, Health(), Health())
    service.update_health()
    lag = LoopLag()
    scrape = exposition(parts, policies, lag, gateway_families(metrics, files.upstreams))
    where = {"proxy": address(host, sock.getsockname()[1])}
    pages = gateway_pages(service.readiness, scrape)
    where |= await _pages(gateway.admin, files, pages, host, sweeper, stack)
    fronts = [Front(server.leave, server.stop)]
    serving = None
    if with_service:
        serving, front = open_grpc(service)
        fronts.append(front)
        where |= {"transport": serving.transport, "grpc": serving.server.address}
        where |= (await listen_http(service, scrape, sweeper, stack)).named
    watch = await load_first(service, source, stack)
    if serving is not None:
        await serving.server.start()
    await server.start(sock, tls=_tls(gateway))
    run_background(stack, watch, lag)
    log.info("serving", version=__version__, **where, store=service.store_name)
    return Running(service, tuple(fronts))


async def _first(path: str) -> Gateway:
    """Read the file at the start: without it the address to listen on is unknown, so every error ends the start."""
    try:
        return await read(path)
    except PolicyErrors as errors:
        for error in errors.errors:
            log.error(str(error))  # noqa: TRY400 -- its text is all a reader needs
        raise StartError(f"the gateway file has {len(errors.errors)} errors") from None


def _clashes(settings: Settings, gateway: Gateway, *, with_service: bool) -> list[Clash]:
    return clashes(proxy_ports(settings, gateway) + (service_ports(settings) if with_service else []), gateway)


def _reporter(metrics: RequestMetrics, access: AccessLog) -> Callable[[AccessRecord], None]:
    """Count and log each request."""

    def report(record: AccessRecord) -> None:
        metrics.count(record)
        access.log(record)

    return report


def _refusals(metrics: RequestMetrics, access: AccessLog) -> Callable[[ErrorResponse, Peer], None]:
    """Count and log rejected request heads and rejected clients."""

    def report(error: ErrorResponse, peer: Peer) -> None:
        metrics.requests["", str(error.status)] += 1
        access.log(AccessRecord("", "", "", peer.address, "", "", error.status, "", 0, 0, 0, error.reason))

    return report


async def _pages(
    admin: Admin, files: GatewayFiles, table: PageTable, host: str, sweeper: Sweeper, stack: AsyncExitStack
) -> dict[str, str]:
    """Serve /metrics, /healthz and /readyz on the port or under the prefix that the file sets."""
    if admin.port is None:
        prefixed = {admin.prefix + path: page for path, page in table.items()}
        pages = Pages(prefixed)
        stack.push_async_callback(pages.close)
        files.internal = {path.encode(): pages for path in prefixed}
        return {}
    listener = await listen(table, host, admin.port, sweeper)
    stack.push_async_callback(listener.close)
    return {"admin": listener.address}


def _tls(gateway: Gateway) -> ssl.SSLContext | None:
    if gateway.tls is None:
        return None
    folder = Path(gateway.file).parent
    return TlsFiles(str(folder / gateway.tls.cert), str(folder / gateway.tls.key), alpn="http/1.1").context()


def _written(text: str, stack: AsyncExitStack) -> str:
    """Write the default file to a temporary directory, so that it is loaded like any other."""
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ratelimitd-"))) / "gateway.yaml"
    path.write_text(text)
    return str(path)
