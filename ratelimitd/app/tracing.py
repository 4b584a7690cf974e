"""Traces of the service's calls and of the proxy's requests.

Modules that trace are imported here alone, and only if TRACING_ENABLED is set.
"""

import os
import socket
import uuid
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ratelimitd import __version__
from ratelimitd.limiter import listen
from ratelimitd.observe.logs import get_logger, hide, masked
from ratelimitd.observe.metrics import Family
from ratelimitd.settings import Settings
from ratelimitd.transport import Handlers

from .engine import Parts
from .life import StartError

if TYPE_CHECKING:
    from ratelimitd.gateway import MakeRequest
    from ratelimitd.tracing import Exporter, Tracer

log = get_logger(__name__)

MISSING = (
    "TRACING_ENABLED is true, but {name} is not installed: install the extra `otel` (pip install 'ratelimitd[otel]'), "
    "or unset TRACING_ENABLED"
)


def tracer_of(settings: Settings) -> "Tracer | None":
    """Return the tracer, with its exporter started; None without TRACING_ENABLED. Raises StartError."""
    if not settings.tracing_enabled:
        return None
    exporter = exporter_of(settings)
    from ratelimitd.tracing import Sampler, Tracer  # noqa: PLC0415 -- its memory

    protocol, rate = settings.tracing_exporter_protocol, settings.tracing_sampling_rate
    log.info("spans are sent", collector=exporter.where, protocol=protocol, sampling_rate=rate)
    exporter.start()
    return Tracer(Sampler(rate), exporter, socket.gethostname())


def exporter_of(settings: Settings) -> "Exporter":
    """Return an exporter that is not started. Raises StartError."""
    try:
        from ratelimitd.tracing.otlp import Otlp, OtlpError, collector  # noqa: PLC0415 -- the extra, and its memory
    except ImportError as error:
        raise StartError(MISSING.format(name=error.name)) from error
    from ratelimitd.tracing import Exporter  # noqa: PLC0415 -- as above

    protocol = settings.tracing_exporter_protocol
    _hide_credentials(os.environ)
    try:
        otlp = Otlp(protocol, _service(settings), __version__, os.environ)
    except OtlpError as error:
        raise StartError(masked(str(error))) from error
    return Exporter(masked(collector(protocol, os.environ)), otlp.send, otlp.stop)


def _hide_credentials(environ: Mapping[str, str]) -> None:
    """Mask the values of headers, and user and password of endpoints, in what libraries say of them."""
    for signal in ("", "TRACES_"):
        for header in environ.get(f"OTEL_EXPORTER_OTLP_{signal}HEADERS", "").split(","):
            value = header.partition("=")[2].strip()
            hide(value)
            hide(unquote(value).strip())
        hide(environ.get(f"OTEL_EXPORTER_OTLP_{signal}ENDPOINT", "").rpartition("@")[0].rpartition("/")[2])


def _service(settings: Settings) -> dict[str, str]:
    named = {
        "service.name": settings.tracing_service_name,
        "service.namespace": settings.tracing_service_namespace,
        "service.instance.id": settings.tracing_service_instance_id or str(uuid.uuid4()),
        "service.version": __version__,
    }
    return {name: value for name, value in named.items() if value}


def span_families(tracer: "Tracer | None") -> list[Family]:
    """Return the metrics of spans; none without a tracer."""
    return [] if tracer is None else tracer.exporter.families()


def traced(served: Handlers, settings: Settings, parts: Parts, tracer: "Tracer") -> Handlers:
    """Return handlers that record a span of each call of Envoy's API."""
    from ratelimitd.rls.traced import CallTracer  # noqa: PLC0415 -- as above

    calls = CallTracer(tracer, parts.engine, 0 if settings.grpc_uds else settings.grpc_port)
    listen(parts.engine, calls.decided)
    return calls.handlers(served)


def traced_requests(tracer: "Tracer | None", port: int) -> "MakeRequest | None":
    """Return what makes the proxy's requests, for a listener on this port; None without a tracer: as always."""
    if tracer is None:
        return None
    from ratelimitd.gateway.traced import TracedRequest  # noqa: PLC0415 -- as above

    return partial(TracedRequest, tracer, port)
