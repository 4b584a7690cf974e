"""An OpenTelemetry collector for tests: receives spans over OTLP, by gRPC or HTTP, and may be away, slow or hang."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from aiohttp import web
from grpc import aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

PATIENCE: Final = 60.0
"""Seconds that a test waits for spans."""


@dataclass(frozen=True)
class Received:
    """A span as the collector got it; ids are in hexadecimal."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    flags: int
    began: int
    ended: int
    attributes: Mapping[str, Any]
    status: str
    message: str
    resource: Mapping[str, Any]
    scope: str


@dataclass(eq=False)
class Collector:
    """What was received.

    Attributes:
        endpoint: URL for OTEL_EXPORTER_OTLP_ENDPOINT.
        headers: of each export.
        sizes: spans of each export.
        refuses: answers each export as a collector that cannot take it now.
        answers: cleared: exports are not answered.
    """

    endpoint: str = ""
    spans: list[Received] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    refuses: bool = False
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    _grown: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.answers.set()

    async def take(self, request: Any, headers: Mapping[str, str]) -> bool:
        """Keep an export; False if it is refused."""
        async with self._grown:
            self.headers.append(headers)
            self._grown.notify_all()
        await self.answers.wait()
        if self.refuses:
            return False
        async with self._grown:
            found = [
                _received(span, group.resource, scope.scope.name)
                for group in request.resource_spans
                for scope in group.scope_spans
                for span in scope.spans
            ]
            self.sizes.append(len(found))
            self.spans += found
            self._grown.notify_all()
        return True

    async def has(self, count: int, name: str = "") -> list[Received]:
        """Wait for so many spans of this name; return them."""
        async with asyncio.timeout(PATIENCE), self._grown:
            while len(found := [span for span in self.spans if name in span.name]) < count:
                await self._grown.wait()
            return found

    async def of(self, span_id: str) -> Received:
        """Wait for the span with this id."""
        async with asyncio.timeout(PATIENCE), self._grown:
            while not (found := [span for span in self.spans if span.span_id == span_id]):
                await self._grown.wait()
            return found[0]

    async def asked(self, count: int) -> None:
        """Wait for so many exports."""
        async with asyncio.timeout(PATIENCE), self._grown:
            await self._grown.wait_for(lambda: len(self.headers) >= count)


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def _received(span: Any, resource: Any, scope: str) -> Received:
    return Received(
        span.name,
        span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_state,
        span.flags,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _values(span.attributes),
        span.status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        span.status.message,
        _values(resource.attributes),
        scope,
    )


class _Service(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc, name-defined, unused-ignore]
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 -- the name of the method
        headers = {name: str(value) for name, value in context.invocation_metadata()}
        if not await self._collector.take(request, headers):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return trace_service_pb2.ExportTraceServiceResponse()


@asynccontextmanager
async def collector(protocol: str, port: int = 0) -> AsyncIterator[Collector]:
    """Receive spans by ``grpc`` or ``http`` on a free port."""
    made = Collector()
    serving = _over_grpc if protocol == "grpc" else _over_http
    async with serving(made, port):
        try:
            yield made
        finally:
            made.answers.set()


@asynccontextmanager
async def _over_grpc(made: Collector, port: int) -> AsyncIterator[None]:
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Service(made), server)  # type: ignore[no-untyped-call, unused-ignore]
    made.endpoint = f"http://127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


@asynccontextmanager
async def _over_http(made: Collector, port: int) -> AsyncIterator[None]:
    async def export(request: web.Request) -> web.Response:
        body = await request.read()
        message = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        taken = await made.take(message, {name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=200 if taken else 503)

    app = web.Application()
    app.router.add_post("/v1/traces", export)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        await runner.cleanup()
