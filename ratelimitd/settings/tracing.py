"""Rows of the table: traces, and what the exporter of OpenTelemetry reads."""

import math
from typing import Final

from ratelimitd.config.values import any_text, boolean, choice, text
from ratelimitd.settings.rows import Row, RowStatus, Secret


def _rate(value: str) -> float:
    """Parse a share of traces. As in envoyproxy/ratelimit, 1 and more is all of them, and 0 and less is none."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ValueError("not a number; write 0.1 for a tenth of the traces, for example")
    return min(max(number, 0.0), 1.0)


class TracingRows:
    """Rows of traces."""

    tracing_enabled = Row(
        boolean,
        "false",
        "Send a span of each call, and two of each proxied request, to an OpenTelemetry collector; see tracing.md. "
        "Requires the extra `otel` of the package, which the image has.",
    )
    tracing_service_name = Row(text, "RateLimit", "service.name of the spans.")
    tracing_service_namespace = Row(text, "", "service.namespace of the spans.")
    tracing_service_instance_id = Row(text, "", "service.instance.id of the spans; unset: a random UUID.")
    tracing_exporter_protocol = Row(
        choice("http", "grpc"), "http", "http or grpc: OTLP to port 4318 or 4317 of this host, by default."
    )
    tracing_sampling_rate = Row(
        _rate,
        "1",
        "Share of traces that are sampled, from 0 to 1, if the caller did not decide: a sampled parent is always "
        "followed.",
    )


def _exporter(default: str, doc: str, *names: str, secret: Secret = Secret.NO) -> list[Row[str]]:
    return [
        Row(any_text, default, doc, name=f"OTEL_EXPORTER_OTLP_{name}", status=RowStatus.EXPORTER, secret=secret)
        for name in names
    ]


EXPORTER: Final[tuple[Row[str], ...]] = (
    *_exporter(
        "",
        "URL of the collector, http:// without TLS and https:// with it. For HTTP, v1/traces is appended.",
        "ENDPOINT",
        secret=Secret.USERINFO,
    ),
    *_exporter("", "Headers of each export, as KEY=VALUE,KEY=VALUE.", "HEADERS", secret=Secret.WHOLE),
    *_exporter("10000", "Time for an export with its retries, in milliseconds.", "TIMEOUT"),
    *_exporter("none", "gzip, or none.", "COMPRESSION"),
    *_exporter("false", "No TLS to an endpoint of gRPC that has no scheme.", "INSECURE"),
    *_exporter("", "PEM file of the CA of the collector's certificate.", "CERTIFICATE"),
    *_exporter("", "PEM file of the client certificate.", "CLIENT_CERTIFICATE"),
    *_exporter("", "PEM file of its private key.", "CLIENT_KEY"),
    *_exporter("", "The same for traces alone; these go before. The endpoint for HTTP is used as it is.", "TRACES_*"),
)
"""A name that ends in ``*`` covers all names with that prefix."""
