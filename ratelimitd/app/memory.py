"""What the settings may take in memory in the worst case, and whether the container has it.

Each part has a bound of its own. A stranger may fill several at once, so what matters is their sum: the start and
``ratelimitd doctor`` compare it with the memory of the container.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from ratelimitd import http1
from ratelimitd.admin import BODY_BYTES, HTTP_MOST, REUSE_BYTES, STREAMS, port_bytes
from ratelimitd.limiter import GONE_SERIES, IN_DOUBT, KEPT_BYTES, NAME_BYTES, TABLE_SIZE, TALLY_BYTES
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.output import BATCH_BYTES, QUEUE_BYTES
from ratelimitd.settings import Settings, changed
from ratelimitd.sources import OVERLAY_BYTES, Pushed, Source, list_files
from ratelimitd.transport import nghttp2_available

from .engine import FALLBACK_BYTES
from .files import GRPC_MOST, SIDES
from .http import live_bytes, page_bodies
from .ports import bound, wants_debug
from .queueing import WAITER_BYTES, waiting_most
from .replicas import QUESTION_BYTES

if TYPE_CHECKING:
    from ratelimitd.gateway import Gateway

log = get_logger(__name__)

MIB: Final = 1 << 20

IDLE_BYTES: Final = {"nghttp2": 49 * MIB, "grpcio": 61 * MIB}
"""A compiled process that has not decided a request yet, by transport: docs/performance.md, "The idle sidecar"."""

GRPC_CLIENT_BYTES: Final = 14 * MIB
"""grpcio for the client of a control plane or of a collector, beside another transport: 14 MiB measured."""

TRACING_BYTES: Final = 20 * MIB
"""OpenTelemetry's SDK and its exporter, 7 to 11 MiB measured without grpcio, and a queue of spans of 4 KiB: what the
longest domain, path and tracestate make of one."""

POLICY_TIMES: Final = 20
"""Memory of limits, in sizes of their files: 3 to 4.5 were measured, 3 for the rules of nodes that requests have used
and 5.5 for their series; a reload has two policies with their rules."""

CHILD_BYTES, CHILD_TIMES = 20 * MIB, 54
"""The child that parses a policy: an interpreter, and memory in sizes of the files. Measured: 27 MiB for one limit,
162 to 229 MiB for 4 MiB of them."""

CACHES_BYTES: Final = 8 * MIB + http1.REQUEST_HEADS_BYTES
"""Caches with a number of entries: six of 4,096 rates, limits and their texts, of 300 bytes each; request heads
of HTTP/1."""

CALL_BYTES: Final = 1_536
"""A call in flight besides its request: the call itself, its plan, and its charge on the way to Redis."""

CONNECTION_BYTES, TLS_BYTES = 17 << 10, 64 << 10
"""A gRPC connection without a call, and what TLS adds to any, also in its handshake: 16 to 17 and 64 KiB measured."""

MAPPED_BYTES: Final = 1_100
"""What a mapping file adds to the series of a limit: 600 to 1,050 measured, with Envoy Gateway's and upstream's."""

BUFFERS_PART, COUNTERS_PART, CONNECTIONS_PART, LIVE_PART = 8, 2, 4, 64
"""Parts of the memory of a container: an eighth for messages, half for counters, a quarter for gRPC connections and the
live view, which has a 64th of it by default."""


class Share(NamedTuple):
    """What one part of the service may take, in bytes, and the setting to lower it; empty: none."""

    name: str
    bytes: int
    setting: str = ""


def fitted(settings: Settings, memory: int) -> Settings:
    """Return the settings for a machine or container of this many bytes; a size that was set stays as it is."""
    parts = {
        Settings.memory_max_bytes: COUNTERS_PART,
        Settings.grpc_max_buffered_bytes: BUFFERS_PART,
        Settings.live_max_bytes: LIVE_PART,
    }
    sizes = {
        row.name.lower(): min(row.parse(row.default), memory // part)
        for row, part in parts.items()
        if row.name not in settings.given
    }
    return changed(settings, **sizes)


def grpc_connections(settings: Settings, memory: int) -> int:
    """Return how many gRPC connections a machine or container of this many bytes has room for."""
    fit, part = fitted(settings, memory), memory // CONNECTIONS_PART
    room = max(part // 2, part - fit.live_max_bytes - live_bytes(fit))
    return max(1, min(GRPC_MOST, room // _connection_bytes(settings)))


def shares(
    settings: Settings, memory: int, policy: int, gateway: "Gateway | None" = None, *, serves: bool = True
) -> list[Share]:
    """Return what each part may take with these settings, fitted to a container of ``memory`` bytes.

    Args:
        policy: bytes of the policy files.
        gateway: the gateway file of a proxy.
        serves: whether the process also, or only, serves Envoy.
    """
    settings = fitted(settings, memory)
    return [
        *_process(settings, policy),
        *_counters(settings),
        *_logs(gateway),
        *(_grpc(settings, memory) if serves else ()),
        *_http(settings, gateway, serves=serves),
    ]


def _process(settings: Settings, policy: int) -> Iterator[Share]:
    yield Share("the process when idle", IDLE_BYTES[_transport(settings)])
    exports_by_grpc = settings.tracing_enabled and settings.tracing_exporter_protocol == "grpc"
    if (settings.over_xds or exports_by_grpc) and _transport(settings) != "grpcio":
        yield Share("the client of the control plane or the collector", GRPC_CLIENT_BYTES)
    if settings.tracing_enabled:
        yield Share("spans, and what sends them", TRACING_BYTES)
    yield Share("limits of the policy, at a reload", POLICY_TIMES * policy)
    parsed = policy + (OVERLAY_BYTES if settings.policy_overlay else 0)
    yield Share("the child that parses the policy", CHILD_BYTES + CHILD_TIMES * parsed)
    yield Share("other caches", CACHES_BYTES)


def _counters(settings: Settings) -> Iterator[Share]:
    if settings.redis is None:
        yield Share("counters in memory", settings.memory_max_bytes, Settings.memory_max_bytes.name)
    else:
        yield Share("counters while Redis is away", FALLBACK_BYTES)
    if settings.new_keys_per_second:
        yield Share("table of known keys", TABLE_SIZE, Settings.new_keys_per_second.name)
    if settings.local_cache_size_in_bytes:
        size = settings.local_cache_size_in_bytes
        yield Share("over-limit cache", size, Settings.local_cache_size_in_bytes.name)
    kept = min(IN_DOUBT, settings.settlements_kept) + (0 if settings.redis is None else settings.settlements_kept)
    yield Share("settlements that wait", KEPT_BYTES * kept, Settings.settlements_kept.name)
    mapped = MAPPED_BYTES if settings.prometheus_mapper_yaml else 0
    series = (settings.request_made_series + GONE_SERIES) * (NAME_BYTES + TALLY_BYTES + mapped)
    yield Share(
        "metric series that requests make, or of limits that are gone", series, Settings.request_made_series.name
    )
    if settings.live_max_bytes:
        yield Share("the live view", settings.live_max_bytes, Settings.live_max_bytes.name)
    yield Share(
        "calls in flight, besides their requests", CALL_BYTES * settings.store_in_flight, Settings.store_in_flight.name
    )


def _logs(gateway: "Gateway | None") -> Iterator[Share]:
    written = ("stderr",) if gateway is None else ("stderr", "stdout")
    size = sum(QUEUE_BYTES[stream] + BATCH_BYTES for stream in written)
    yield Share("lines of the log that are not read", size)


def _grpc(settings: Settings, memory: int) -> Iterator[Share]:
    if _transport(settings) == "grpcio":
        size = settings.max_request_bytes * settings.store_in_flight
        yield Share("messages of grpcio", size, Settings.max_request_bytes.name)
    else:
        row, least = Settings.grpc_max_buffered_bytes, 4 * settings.max_request_bytes
        buffered = max(settings.grpc_max_buffered_bytes, least)
        yield Share("incomplete requests over gRPC", buffered, row.name)
        yield Share("requests in flight over gRPC", max(settings.grpc_max_buffered_bytes // 4, least), row.name)
        yield Share("unread responses over gRPC", buffered // 2, row.name)
    yield Share("gRPC connections", grpc_connections(settings, memory) * _connection_bytes(settings))


def _page_ports(settings: Settings, gateway: "Gateway | None") -> int:
    """Return the number of HTTP ports of a proxy without the service; its pages may be on its listener."""
    return max(1, sum(port.pages for port in bound(settings, gateway, with_service=False)))


def _http(settings: Settings, gateway: "Gateway | None", *, serves: bool) -> Iterator[Share]:
    bodies = page_bodies(settings) if serves else [BODY_BYTES] * _page_ports(settings, gateway)
    pages = sum(map(port_bytes, bodies))
    yield Share("connections of the HTTP ports, scrapes included", pages, Settings.max_request_bytes.name)
    if serves or wants_debug(settings):
        yield Share("readers of the live view", live_bytes(settings), Settings.live_max_bytes.name)
    if settings.peer_addr is not None and settings.grpc_server_use_tls:
        yield Share("TLS of connections with other replicas", HTTP_MOST * TLS_BYTES)
    if settings.peers:
        yield Share("answers of other replicas", QUESTION_BYTES, Settings.peers.name)
    if gateway is not None:
        from ratelimitd.gateway import WAYS_BYTES  # noqa: PLC0415 -- a service without a proxy does not import it

        side = http1.CONNECTION_BYTES + http1.READ_BYTES + http1.HIGH_WATER
        tls = 0 if gateway.tls is None else TLS_BYTES
        size = gateway.limits.max_connections * (gateway.limits.max_head + SIDES * side + tls)
        yield Share("requests of the proxy", size, "max_connections of the gateway file")
        yield Share("response heads of upstreams", http1.RESPONSE_HEADS_BYTES)
        yield Share("what equal requests of the proxy share", WAYS_BYTES)
        if gateway.admin.port is None:  # one is kept, and each that is being sent may be older
            yield Share("metrics on the listener of the proxy", REUSE_BYTES * (1 + STREAMS))
        waiting = WAITER_BYTES * waiting_most(gateway.limits.max_connections)
        yield Share("requests that wait for a limit", waiting, "max_connections of the gateway file")


def _transport(settings: Settings) -> str:
    if settings.transport == "auto":
        return "nghttp2" if nghttp2_available() else "grpcio"
    return settings.transport


def _connection_bytes(settings: Settings) -> int:
    return CONNECTION_BYTES + (TLS_BYTES if settings.grpc_server_use_tls else 0)


class Shortage(NamedTuple):
    """A container that is too small: what is wrong, and what to change."""

    found: str
    change: str


def shortage(
    settings: Settings, memory: int, policy: int, gateway: "Gateway | None" = None, *, serves: bool = True
) -> Shortage | None:
    """Compare the sum of the parts with the memory of the container; None if it suffices. See ``shares``."""
    parts = shares(settings, memory, policy, gateway, serves=serves)
    needed = total(parts)
    if needed <= memory:
        return None
    largest = sorted(parts, key=lambda part: -part.bytes)[:SHOWN]
    listed = ", ".join(f"{part.name} {mib(part.bytes)}" for part in largest)
    enough = memory
    while (wanted := total(shares(settings, enough, policy, gateway, serves=serves))) > enough:
        enough = wanted  # a larger container has room for larger buffers; their parts of it are less than all of it
    names = dict.fromkeys(part.setting for part in largest if part.setting)
    lower = f", or lower {' or '.join(names)}" if names else ""
    return Shortage(
        f"the settings may take {mib(needed)} MiB in the worst case, and this process has {memory // MIB}: {listed}",
        f"raise the memory limit to {mib(enough)} MiB{lower} (docs/operations.md, Memory)",
    )


def total(parts: Iterable[Share]) -> int:
    """Return the sum of the parts."""
    return sum(part.bytes for part in parts)


SHOWN: Final = 4
"""Parts that a shortage names: the largest are most of it."""


def mib(size: int) -> int:
    """Return MiB, rounded up."""
    return -(-size // MIB)


def policy_bytes(source: Source | Pushed) -> int:
    """Return the size of the policy files that are there now; of a pushed policy that of its messages."""
    if isinstance(source, Pushed):
        return len(source.body or b"")
    total = 0
    with suppress(OSError):
        for file in list_files(source):
            with suppress(OSError):
                total += file.path.stat().st_size
    return total


def warn_of_memory(
    settings: Settings, memory: int, source: Source | Pushed, gateway: "Gateway | None" = None, *, serves: bool = True
) -> None:
    """Log one warning if the settings may take more than the container has."""
    short = shortage(settings, memory, policy_bytes(source), gateway, serves=serves)
    if short is not None:
        log.warning(short.found, change=short.change)
