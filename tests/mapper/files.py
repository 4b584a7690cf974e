"""Mapping files that say what Envoy Gateway's, and envoyproxy/ratelimit's own, say; made of their rules."""

LIMIT = "ratelimit.service.rate_limit"
COUNTERS = ("near_limit", "over_limit", "total_hits", "within_limit")
KEYS = ("domain", "key1", "key2")

_SERVICE = """
  - {match: ratelimit.service.call.should_rate_limit.*, match_metric_type: counter,
     name: ratelimit_service_should_rate_limit_error, labels: {err_type: $1}}
  - {match: ratelimit_server.*.total_requests, match_metric_type: counter,
     name: ratelimit_service_total_requests, labels: {grpc_method: $1}}
  - {match: ratelimit_server.*.response_time, timer_type: histogram,
     name: ratelimit_service_response_time_seconds, labels: {grpc_method: $1}}
  - {match: ratelimit.service.config_load_success, name: ratelimit_service_config_load_success}
  - {match: ratelimit.service.config_load_error, name: ratelimit_service_config_load_error}
"""


def _labels(depth):
    return "{" + ", ".join(f"{key}: ${n}" for n, key in enumerate(KEYS[: depth + 1], 1)) + "}"


def _glob(counter, depth):
    return f"""
  - match: "{LIMIT}.*{".*" * depth}.{counter}"
    name: ratelimit_service_rate_limit_{counter}
    timer_type: histogram
    labels: {_labels(depth)}"""


def _deep(counter):
    pattern = r"ratelimit\.service\.rate_limit\.([^.]*)\.([^.]*)\.([^.]*)(\..*)?\." + counter
    return f"""
  - match: '{pattern}'
    match_type: regex
    name: ratelimit_service_rate_limit_{counter}
    labels: {_labels(2)}"""


GATEWAY = (
    "mappings:"
    + "".join(_glob(counter, depth) for depth in (1, 2) for counter in COUNTERS)
    + _SERVICE
    + _glob("shadow_mode", 2)
    + "\n  - {match: ., match_type: regex, action: drop, name: dropped}\n"
)
"""One and two levels, shadow_mode of two levels alone; all else is dropped."""

DEFAULT = (
    "mappings:"
    + "".join(_glob(counter, 1) for counter in (*COUNTERS, "shadow_mode"))
    + "".join(map(_deep, (*COUNTERS, "shadow_mode")))
    + _SERVICE.replace("timer_type: histogram", "timer_type: histogram, scale: 0.001")
)
"""Two levels and more have the labels of the first two; what is not named keeps its name."""
