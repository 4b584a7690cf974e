"""Rows of the table: answers, bounds on a request, metrics and health."""

from ratelimitd.config.values import (
    boolean,
    go_host_port,
    header,
    integer,
    path,
    ratio,
    size,
)
from ratelimitd.settings.rows import Row


class AnsweringRows:
    """Rows of what callers and operators receive."""

    # Answers
    shadow_mode = Row(boolean, "false", "Count and report, but never return OVER_LIMIT as the overall code.")
    quota_mode = Row(boolean, "false", "Treat every limit as if it set quota_mode.")
    response_dynamic_metadata = Row(boolean, "false", "Return the request and the policy's metadata to Envoy.")
    response_dynamic_metadata_reason = Row(
        boolean, "false", "Return the reason of a denial or of a store failure to Envoy, as dynamic metadata."
    )
    limit_reason_header = Row(
        lambda value: header(value) if value else "", "", "Name of a response header with that reason; unset: none."
    )
    status_unit_multiplier = Row(
        boolean,
        "false",
        "Tell windows of several units: in a status as unit and unit_multiplier, which Envoy reads from 1.40 on, and "
        "in X-RateLimit-Limit of the proxy. An older Envoy ignores the multiplier and prints a wrong window, and no "
        "request tells its version, so by default the unit of such a window is UNKNOWN.",
    )
    limit_response_headers_enabled = Row(
        boolean, "false", "Add the three headers of the following settings to responses."
    )
    limit_limit_header = Row(header, "RateLimit-Limit", "Name of the header with the limit.")
    limit_remaining_header = Row(header, "RateLimit-Remaining", "Name of the header with the remaining hits.")
    limit_reset_header = Row(header, "RateLimit-Reset", "Name of the header with the seconds until the reset.")
    ietf_ratelimit_headers = Row(
        boolean, "false", "Add RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers), and Retry-After."
    )

    # Bounds on a request
    max_request_bytes = Row(
        size(1024),
        "128KiB",
        "Maximum size of a request, over gRPC (also after decompression) and at /json; a larger one is rejected. Envoy "
        "accepts at most 60 KiB of headers by default; twice that leaves room for a header that appears in two "
        "descriptors.",
    )
    max_descriptors = Row(integer(1), "64", "Maximum number of descriptors in a request; a route rarely produces ten.")
    max_entries = Row(
        integer(1), "32", "Maximum number of entries in a descriptor; a policy is rarely deeper than five."
    )

    # Metrics and health
    near_limit_ratio = Row(ratio, "0.8", "Share of a limit above which hits count as near_limit.")
    use_prometheus = Row(
        boolean, "false", "Serve metrics at PROMETHEUS_ADDR, in addition to /metrics of the HTTP port."
    )
    prometheus_addr = Row(
        go_host_port, ":9090", "host:port for Prometheus; without a host every interface, IPv4 and IPv6, as in Go."
    )
    prometheus_path = Row(path, "/metrics", "Path of the metrics at PROMETHEUS_ADDR.")
    disable_stats = Row(boolean, "false", "Serve no metrics.")
    request_made_series = Row(
        integer(0),
        "10000",
        "Maximum number of metric series created from values in requests, and of 420 bytes for the name of each, on "
        "average; further values share one series named other, and so do names of more than 256 characters. Prometheus "
        "handles some ten thousand series per target well.",
    )
    redis_health_check_active_connection = Row(
        boolean,
        "false",
        "Report unhealthy at /healthcheck while there is no connection to Redis. By default Redis must have been "
        "available once, so that a liveness probe restarts nothing because of Redis.",
    )
    healthy_with_at_least_one_config_loaded = Row(
        boolean, "false", "Report healthy only if the policy has at least one domain."
    )
