"""Spans over OTLP, by OpenTelemetry's exporters, which read OTEL_EXPORTER_OTLP_* themselves.

Two of these variables are read here, since the exporters for Python read them otherwise than envoyproxy/ratelimit and
the specification (a timeout is in milliseconds), or reject their values (compression ``none``, over gRPC).
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, overload

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from .span import Kind, Span

SLICE: Final = 16
"""Spans that are encoded before the thread rests. One takes some 100 µs, in which the event loop gets Python only after
each switch interval; so this is for how long it may be slowed down."""

REST: Final = 3
"""How much longer the thread rests than it encoded: it takes a quarter of a core at most. What comes faster fills the
queue, is dropped and counted."""

REPEATS: Final = "opentelemetry.exporter.otlp.proto.grpc.exporter"
"""A logger that leaves out repeated messages. They are logged once an outage here, so each has its reason."""

TIMEOUT: Final = "10000"
"""Milliseconds: the default of the specification."""

KINDS: Final[Mapping[Kind, SpanKind]] = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT}
UNSET: Final = Status(StatusCode.UNSET)

Rest = Callable[[float], object]


class OtlpError(Exception):
    """The exporter cannot be made; the text names the variable, or has the error of the library."""


class Otlp:
    """Makes OpenTelemetry's spans, and sends them by an exporter.

    Args:
        protocol: ``http`` or ``grpc``.
        service: attributes of the resource; OTEL_RESOURCE_ATTRIBUTES adds others.
        version: that of ratelimitd.
        environ: the environment; the exporters read that of the process.
    """

    def __init__(self, protocol: str, service: Mapping[str, str], version: str, environ: Mapping[str, str]) -> None:
        self._heard = _Heard()
        self._resource = Resource.create(service)
        self._scope = InstrumentationScope("ratelimitd", version)
        try:
            self._exporter = _exporter(protocol, environ)
        except OtlpError:
            raise
        except Exception as error:
            raise OtlpError(f"OTEL_EXPORTER_OTLP_*: {error}") from error

    def send(self, spans: Sequence[Span], rest: Rest) -> str:
        """Send spans; returns why they were not taken, or an empty text. Waits and retries, up to the timeout."""
        self._heard.messages.clear()
        result = self._exporter.export(_Paced(spans, self._readable, rest))
        return "" if result is SpanExportResult.SUCCESS else self._heard.reason()

    def stop(self) -> None:
        """Make ``send`` return, unless a connection hangs."""
        self._exporter.shutdown()

    def _readable(self, span: Span) -> ReadableSpan:
        context = span.context
        trace_id, flags = int(context.trace_id, 16), TraceFlags(context.flags)
        state = TraceState.from_header([context.state]) if context.state else None
        parent = None
        if context.parent_id:
            parent = SpanContext(trace_id, int(context.parent_id, 16), context.remote, flags, state)
        return ReadableSpan(
            span.name,
            SpanContext(trace_id, int(context.span_id, 16), is_remote=False, trace_flags=flags, trace_state=state),
            parent,
            self._resource,
            span.attributes,
            kind=KINDS[span.kind],
            status=UNSET if span.failed is None else Status(StatusCode.ERROR, span.failed or None),
            start_time=span.began,
            end_time=span.ended,
            instrumentation_scope=self._scope,
        )


class _Paced(Sequence[ReadableSpan]):
    """Spans that are made when the exporter encodes them, with a rest after each ``SLICE``."""

    def __init__(self, spans: Sequence[Span], readable: Callable[[Span], ReadableSpan], rest: Rest) -> None:
        self._spans = spans
        self._readable = readable
        self._rest = rest

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, index: int) -> ReadableSpan: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ReadableSpan]: ...
    def __getitem__(self, index: int | slice) -> ReadableSpan | Sequence[ReadableSpan]:
        if isinstance(index, slice):
            return _Paced(self._spans[index], self._readable, self._rest)
        return self._readable(self._spans[index])

    def __iter__(self) -> Iterator[ReadableSpan]:
        began = time.thread_time()
        for count, span in enumerate(self._spans, 1):
            yield self._readable(span)
            if count % SLICE == 0:
                self._rest(REST * (time.thread_time() - began))
                began = time.thread_time()


class _Heard(logging.Handler):
    """Keeps the messages of OpenTelemetry's exporters about one export: they log each attempt.

    Its other loggers are silenced: they write values of callers, such as an invalid tracestate.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(logging.Filter("opentelemetry.exporter"))
        self.messages: list[str] = []
        logger = logging.getLogger("opentelemetry")
        logger.handlers = [self]
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def reason(self) -> str:
        """Return the first message, which has the cause, and the last, which says what came of it."""
        return "; ".join(dict.fromkeys((*self.messages[:1], *self.messages[-1:]))) or "the exporter gave no reason"


def _exporter(protocol: str, environ: Mapping[str, str]) -> SpanExporter:
    timeout = _timeout(environ)
    gzip = _variable(environ, "COMPRESSION", "none").strip().lower() == "gzip"
    if protocol == "grpc":
        import grpc  # noqa: PLC0415 -- OTLP over HTTP needs no gRPC
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as over_grpc  # noqa: PLC0415 -- as above

        logging.getLogger(REPEATS).filters.clear()
        chosen = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
        return over_grpc.OTLPSpanExporter(timeout=timeout, compression=chosen)
    from opentelemetry.exporter.otlp.proto import http  # noqa: PLC0415 -- OTLP over gRPC needs no HTTP
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as over_http  # noqa: PLC0415 -- as above

    from .bounded import bounded_session  # noqa: PLC0415 -- as above

    compression: Any = http.Compression.Gzip if gzip else http.Compression.NoCompression
    return over_http.OTLPSpanExporter(timeout=timeout, compression=compression, session=bounded_session(timeout))


def _timeout(environ: Mapping[str, str]) -> float:
    text = _variable(environ, "TIMEOUT", TIMEOUT)
    try:
        milliseconds = int(text)
    except ValueError:
        milliseconds = 0
    if milliseconds <= 0:
        raise OtlpError(f'OTEL_EXPORTER_OTLP_TIMEOUT="{text}": not a number of milliseconds; write {TIMEOUT}')
    return milliseconds / 1000


def _variable(environ: Mapping[str, str], name: str, default: str) -> str:
    """Return a variable; that of traces goes before that of all signals."""
    return environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or environ.get(f"OTEL_EXPORTER_OTLP_{name}") or default


def collector(protocol: str, environ: Mapping[str, str]) -> str:
    """Return the address of the collector, for logs."""
    port = "4317" if protocol == "grpc" else "4318"
    return _variable(environ, "ENDPOINT", f"http://localhost:{port}")
