"""Spans and exporters for tests."""

from contextlib import asynccontextmanager

from ratelimitd.tracing import Context, Exporter, Kind, Span
from ratelimitd.tracing.otlp import Otlp

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVICE = {"service.name": "RateLimit", "service.instance.id": "i"}


def span(number=1, kind=Kind.SERVER, failed=None, **attributes):
    context = Context(TRACE, f"{number:016x}", PARENT, 1, "a=1,b=2")
    return Span("name", kind, context, 1_000, 2_000, attributes, failed)


def otlp(protocol, collector, monkeypatch, **variables):
    """Exporters read the environment of the process."""
    environ = {"ENDPOINT": collector if isinstance(collector, str) else collector.endpoint, **variables}
    named = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in environ.items()}
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    return Otlp(protocol, SERVICE, "1.2.3", named)


@asynccontextmanager
async def exporting(made):
    """Export from a thread of its own until the end."""
    exporter = Exporter("where", made.send, made.stop, 0.02)
    exporter.start()
    try:
        yield exporter
    finally:
        await exporter.close(0.0)
