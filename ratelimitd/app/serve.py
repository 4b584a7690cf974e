"""``ratelimitd serve``: the rate-limit service."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from ratelimitd import __version__
from ratelimitd.http1 import Sweeper
from ratelimitd.observe.container import memory_limit
from ratelimitd.observe.health import Health
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.loop import LoopLag
from ratelimitd.rls import GrpcHealth, handlers
from ratelimitd.settings import Settings
from ratelimitd.sources import Pushed, Source

from .connections import Connections, warn_of_shortage
from .engine import build
from .files import divided
from .http import listen_http
from .life import Front, Running, connect, live, load_first, refuse_clashes, run_background, tell_start, watch_of
from .listen import Serving, grpc_server
from .live import live_fronts, live_service, live_tasks
from .live_facts import check_command
from .measuring import measuring
from .memory import fitted, warn_of_memory
from .policies import Policies, source_of
from .ports import clashing
from .prometheus import scrapes
from .refusals import HttpRefusals, Refusals
from .service import RunningService
from .tracing import span_families, traced, tracer_of

if TYPE_CHECKING:
    from .control_plane import Plane

log = get_logger(__name__)


def run(settings: Settings, config: tuple[str, ...]) -> int:
    """Serve the policies of these paths, or of the RUNTIME_* directory, until a signal; returns the exit code."""
    settings = fitted(settings, memory_limit())
    return live(settings, partial(_start, settings, config))


async def _start(settings: Settings, config: tuple[str, ...], stack: AsyncExitStack) -> Running:
    """Bind every port, load the first policy, then serve."""
    refuse_clashes(clashing(settings, None, with_service=True))
    parts = build(settings)
    source = source_of(settings, config)
    warn_of_memory(settings, memory_limit(), source)
    plane = _plane(source)
    tracer, policies = tracer_of(settings), Policies(source, settings, parts)
    service = RunningService(settings, parts, policies, Health(), Health(), Health(), plane, tracer)
    service.update_health()
    lag, sweeper = LoopLag(), Sweeper()
    stack.callback(sweeper.close)
    refusals = Refusals(settings.grpc_client_tls_san)
    division = divided(settings, None, with_service=True)
    connections = Connections(division, settings.trusted_peers, sweeper, HttpRefusals(), {})
    serving, front = open_grpc(service, refusals, connections)
    measures = measuring(settings, parts, service.policies, stack)
    told = [refusals.family(), *connections.families(), *(() if plane is None else plane.families())]
    told += span_families(tracer)
    measured = [family for each in measures for family in each.families()]
    metrics = scrapes(settings, parts, service.policies, lag, [*told, *measured])
    view = live_service(service, lambda: check_command(service, serving.server.address))
    addresses = await listen_http(service, metrics, connections, view, stack)
    watching = await _first_policy(service, source, stack)
    await serving.server.start()
    shortage = warn_of_shortage(connections.listening)
    running = [each.run() for each in measures]
    running += live_tasks(view)
    run_background(stack, *watching, service.policies.remind(), lag.run(), shortage, *running)
    log.info(
        "serving",
        version=__version__,
        transport=serving.transport,
        grpc=serving.server.address,
        **addresses.named,
        store=service.store_name,
    )
    return Running(service, (front, *live_fronts(view)))


def _plane(source: Source | Pushed) -> "Plane | None":
    """Return the control plane that the policy comes from."""
    if not isinstance(source, Pushed):
        return None
    from .control_plane import plane_of  # noqa: PLC0415 -- files need no gRPC client

    return plane_of(source)


async def _first_policy(
    service: RunningService, source: Source | Pushed, stack: AsyncExitStack
) -> list[Coroutine[None, None, None]]:
    """Load the first policy from files, or ask a control plane for it; returns what watches for the next."""
    if not isinstance(source, Pushed):
        return [(await load_first(service, source, stack)).run()]
    from .control_plane import client_of, follow  # noqa: PLC0415 -- as above

    tell_start(source)
    overlay = watch_of(service, source) if service.settings.policy_overlay else None
    await asyncio.gather(connect(service, stack), follow(client_of(service), stack, overlay))
    return [] if overlay is None else [service.look(), overlay.run()]


def open_grpc(service: RunningService, refusals: Refusals, connections: Connections) -> tuple[Serving, Front]:
    """Bind the gRPC port for Envoy's API; it answers after its server is started. Raises OSError."""
    parts = service.parts
    health = GrpcHealth(lambda: service.serving.healthy, parts.counters.called)
    service.serving.subscribe(lambda _: health.changed())
    settings = service.settings
    served = handlers(parts.service, health, reflection=settings.grpc_reflection)
    if service.tracer is not None:
        served = traced(served, settings, parts, service.tracer)
    serving = grpc_server(settings, served, refusals, connections.division.grpc)
    if serving.places is not None:
        connections.listening["grpc"] = serving.places

    async def stop(grace: float) -> None:
        health.end_watches()
        await serving.server.stop(grace)

    return serving, Front(leave=lambda: None, stop=stop)
