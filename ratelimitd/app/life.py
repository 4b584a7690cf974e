"""Life cycle of a process: start, serve, drain, stop. The service is passed in."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple

import uvloop

from ratelimitd import __build__, __commit__, __version__
from ratelimitd.kernel import forbid_dumps
from ratelimitd.net.files import reason
from ratelimitd.observe.logs import configure, get_logger, hide
from ratelimitd.observe.loop import SWITCH, collect_regularly, tame_collector
from ratelimitd.observe.output import flush, queued_output
from ratelimitd.settings import Settings
from ratelimitd.sources import Pushed, Source, Watch, describe, signature

from .files import raise_file_limit
from .ports import Clash
from .redis import hide_passwords
from .service import RunningService

log = get_logger(__name__)

CONNECT_FIRST: Final = 1.0
"""Seconds the start waits for Redis: far more than a connection takes, and the longest that a hung Redis delays it."""

START_WAITS: Final = 240.0
"""Seconds that /healthcheck waits for Redis after a start, which holds back the rollout of a wrong address. Envoy
Gateway's startup probe, which reads it, ends a pod after 300 s."""


class StartError(Exception):
    """The start failed; the text gives the reason."""


class Front(NamedTuple):
    """A server that callers connect to.

    Attributes:
        leave: asks callers to go elsewhere, and keeps answering them.
        stop: stops accepting, waits up to this many seconds for requests in flight, then closes.
    """

    leave: Callable[[], None]
    stop: Callable[[float], Awaitable[None]]


class Running(NamedTuple):
    """A started service and its servers."""

    service: RunningService
    fronts: tuple[Front, ...]


def refuse_clashes(found: Sequence[Clash]) -> None:
    """Refuse to start with ports that do not agree. Raises StartError with all of them."""
    if found:
        raise StartError("; ".join(map(str, found)))


Start = Callable[[AsyncExitStack], Coroutine[None, None, Running]]


def live(settings: Settings, start: Start) -> int:
    """Start, and serve until SIGTERM or SIGINT; returns the exit code: 0 after a drain, 1 if the start failed."""
    with queued_output():
        return _run(settings, start)


def _run(settings: Settings, start: Start) -> int:
    configure(settings.log_level, settings.log_format)
    hide(settings.identity_secret)
    hide_passwords(settings)
    raise_file_limit()
    if not settings.core_dumps:
        forbid_dumps()
    for warning in settings.warnings:
        log.warning(warning)
    sys.setswitchinterval(SWITCH)
    try:
        uvloop.run(_live(settings, start))
    except (OSError, StartError) as error:
        log.error("cannot start", reason=reason(error))  # noqa: TRY400 -- the reason is all a reader needs
        return 1
    return 0


async def _live(settings: Settings, start: Start) -> None:
    ending = _end_on_signals()
    async with AsyncExitStack() as stack:
        starting = asyncio.ensure_future(start(stack))
        await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            await cancelled(starting)
            log.info("stopped before serving")
            return
        running = starting.result()
        by = await ending
        await _drain(settings, running, settings.drain_delay if by == signal.SIGTERM else 0.0)


async def load_first(service: RunningService, source: Source, stack: AsyncExitStack) -> Watch:
    """Connect the store and load the first policy; the returned watch detects all later changes of its source."""
    watch = watch_of(service, source)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, watch.wake)
    tell_start(source)
    await connect(service, stack)
    await service.reload()
    return watch


def watch_of(service: RunningService, source: Source | Pushed) -> Watch:
    """Return what reloads the policy after a change of its files, or of its overlay."""
    overlay = service.settings.policy_overlay
    return Watch(lambda: signature(source, overlay), service.reload)


def tell_start(source: Source | Pushed) -> None:
    """Log that the service starts, and where its policy comes from."""
    log.info("starting", version=__version__, build=__build__, commit=__commit__, policy=describe(source))


def run_background(stack: AsyncExitStack, *tasks: Coroutine[None, None, None]) -> None:
    """Run the background tasks until the stack unwinds; see ``tame_collector`` for objects of the start."""
    tame_collector()
    for endless in (collect_regularly(), *tasks):
        run_task(stack, endless)


async def connect(service: RunningService, stack: AsyncExitStack) -> None:
    """Start connecting to Redis, and wait briefly so that the first call finds it; retries continue later."""
    redis = service.parts.redis
    if redis is None:
        return

    service.parts.redis_watch.changed = service.update_health
    waiting = asyncio.get_running_loop().call_later(START_WAITS, service.wait_no_longer)
    stack.callback(waiting.cancel)
    connecting = asyncio.ensure_future(redis.connect())
    stack.push_async_callback(redis.close)
    stack.push_async_callback(cancelled, connecting)
    await asyncio.wait((connecting,), timeout=CONNECT_FIRST)


def run_task(stack: AsyncExitStack, endless: Coroutine[None, None, None]) -> None:
    """Run a task until the stack unwinds; if it fails, the failure is logged and decisions continue."""
    task = asyncio.create_task(endless)
    task.add_done_callback(_log_failure)
    stack.push_async_callback(cancelled, task)


async def cancelled(task: "asyncio.Future[Any]") -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.wait((task,))


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background task failed", task=task.get_coro(), exc_info=error)


def _end_on_signals() -> "asyncio.Future[signal.Signals]":
    """Return a future that the first SIGTERM or SIGINT completes; a second one terminates the process."""
    loop = asyncio.get_running_loop()
    ending: asyncio.Future[signal.Signals] = loop.create_future()

    def end(by: signal.Signals) -> None:
        if ending.done():
            log.warning("terminating immediately", signal=by.name)
            flush()
            os._exit(128 + by)
        ending.set_result(by)

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, end, each)
    return ending


async def _drain(settings: Settings, running: Running, delay: float) -> None:
    """Fail health checks, keep serving for ``delay`` seconds while callers leave, then complete calls in flight.

    What these leave of GRACEFUL_SHUTDOWN_TIMEOUT is for the spans that wait.
    There is no delay after Ctrl-C: no load balancer watches an interactive process.
    """
    note = {"note": f"health checks fail, and requests are served for {delay:g} s more (DRAIN_DELAY)"} if delay else {}
    log.info("draining", delay=delay, **note)
    for health in (running.service.health, running.service.serving, running.service.readiness):
        health.set("sigterm", False, "shutting down")  # noqa: FBT003 -- a state
    for front in running.fronts:
        front.leave()
    await asyncio.sleep(delay)
    clock, grace = asyncio.get_running_loop().time, settings.graceful_shutdown_timeout
    ends = clock() + grace
    await asyncio.gather(*(front.stop(grace) for front in running.fronts))
    if running.service.tracer is not None:
        await running.service.tracer.exporter.close(max(0.0, ends - clock()))
    log.info("stopped")
