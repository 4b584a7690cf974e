"""A service's life: start, serve, drain, end."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog
import uvloop

from ratelimitd import __version__
from ratelimitd.observe.health import Health
from ratelimitd.observe.logs import configure, hide
from ratelimitd.observe.loop import LoopLag, tame_collector
from ratelimitd.rls import GrpcHealth, handlers
from ratelimitd.rls.narrate import narrate
from ratelimitd.settings import Settings
from ratelimitd.sources import Watch, describe, signature
from ratelimitd.transport import Server

from .engine import build
from .http import Addresses, listen_http
from .listen import grpc_server
from .policies import Policies, source_of
from .service import Service

log = structlog.stdlib.get_logger(__name__)

CONNECT_FIRST: Final = 1.0
"""Seconds the start waits for Redis: far more than a connection takes, and a Redis that hangs keeps nobody up."""


def run(settings: Settings, config: tuple[str, ...]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code: 0 after a drain, 1 when the start failed."""
    configure(settings.log_level, settings.log_format)
    if settings.redis is not None:
        hide(settings.redis.password)
    for warning in settings.warnings:
        log.warning(warning)
    try:
        uvloop.run(_serve(settings, config))
    except OSError as error:
        log.error("cannot start", reason=str(error))  # noqa: TRY400 - the reason is all a reader needs
        return 1
    return 0


async def _serve(settings: Settings, config: tuple[str, ...]) -> None:
    ending = _end_on_signals()
    async with AsyncExitStack() as stack:
        starting = asyncio.ensure_future(_start(settings, config, stack))
        await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            log.info("ended before it served")
            return
        service, server, grpc_health = starting.result()
        by = await ending
        await _drain(service, server, grpc_health, settings.drain_delay if by == signal.SIGTERM else 0.0)


async def _start(
    settings: Settings, config: tuple[str, ...], stack: AsyncExitStack
) -> tuple[Service, Server, GrpcHealth]:
    """Bind every port, load the first policy, then answer."""
    engine = build(settings, narrate if settings.log_decisions else None)
    source = source_of(settings, config)
    service = Service(settings, engine, Policies(source, settings, engine), Health(), Health())
    service.judge()
    lag = LoopLag()
    grpc_health = GrpcHealth(lambda: service.health.healthy, engine.counters)
    service.health.subscribe(lambda _: grpc_health.changed())
    server, transport = grpc_server(settings, handlers(engine.service, grpc_health))
    addresses = await listen_http(service, lag, stack)
    watch = Watch(lambda: signature(source), service.reload)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, watch.wake)
    log.info("starting", version=__version__, policy=describe(source))
    await _connect(service, stack)
    await service.reload()
    await server.start()
    tame_collector()
    for endless in (watch.run(), lag.run()):
        _run_beside(stack, endless)
    _announce(settings, transport, server.address, addresses)
    return service, server, grpc_health


async def _connect(service: Service, stack: AsyncExitStack) -> None:
    """Let Redis be tried, and wait a moment for it so that the first call finds it; it is tried for ever after."""
    redis = service.engine.redis
    if redis is None:
        return

    def edge(up: bool, reason: str) -> None:  # noqa: FBT001 - the store's signature
        if up:
            log.info("redis is connected", address=str(service.settings.redis))
        else:
            log.warning("redis is away", address=str(service.settings.redis), reason=reason)
        service.judge()

    redis.on_edge = edge
    connecting = asyncio.ensure_future(redis.connect())
    stack.push_async_callback(redis.close)
    stack.push_async_callback(_cancelled, connecting)
    await asyncio.wait((connecting,), timeout=CONNECT_FIRST)


def _announce(settings: Settings, transport: str, grpc: str, addresses: Addresses) -> None:
    where = {name: address for name, address in addresses._asdict().items() if address}
    store = "memory" if settings.redis is None else f"redis at {settings.redis}"
    log.info("serving", version=__version__, transport=transport, grpc=grpc, **where, store=store)


def _run_beside(stack: AsyncExitStack, endless: Coroutine[None, None, None]) -> None:
    """Run until the stack unwinds; a fault in it is told, and decisions go on without it."""
    task = asyncio.create_task(endless)
    task.add_done_callback(_tell_fault)

    stack.push_async_callback(_cancelled, task)


async def _cancelled(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    await asyncio.wait((task,))


def _tell_fault(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.error("a task beside the service ended", task=task.get_coro(), exc_info=fault)


def _end_on_signals() -> "asyncio.Future[signal.Signals]":
    """Return what the first SIGTERM or SIGINT completes; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    ending: asyncio.Future[signal.Signals] = loop.create_future()

    def end(by: signal.Signals) -> None:
        if ending.done():
            log.warning("ending at once", signal=by.name)
            os._exit(128 + by)
        ending.set_result(by)

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, end, each)
    return ending


async def _drain(service: Service, server: Server, grpc_health: GrpcHealth, delay: float) -> None:
    """Fail health, serve on for ``delay`` seconds while callers leave, then let calls in flight finish.

    A person's Ctrl-C has no delay: nobody's load balancer looks.
    """
    log.info("draining", delay=delay)
    for health in (service.health, service.readiness):
        health.set("sigterm", False, "shutting down")  # noqa: FBT003 - a state
    await asyncio.sleep(delay)
    grpc_health.end_watches()
    await server.stop(service.settings.graceful_shutdown_timeout)
    log.info("ended")
