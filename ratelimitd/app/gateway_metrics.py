"""The metrics of the proxy and of its upstreams."""

from collections.abc import Iterable, Mapping

from ratelimitd.gateway import Queueing, RequestMetrics
from ratelimitd.http1 import State, Upstream
from ratelimitd.observe.metrics import Family, Value, by_label, single

STATES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


def gateway_families(metrics: RequestMetrics, upstreams: Mapping[str, Upstream], queueing: Queueing) -> list[Family]:
    """Return the metrics of the proxy; ``upstreams`` has the active ones at each scrape."""

    def breakers() -> Iterable[tuple[tuple[str, ...], Value]]:
        return [((name,), STATES[upstream.state]) for name, upstream in upstreams.items()]

    def in_flight() -> Iterable[tuple[tuple[str, ...], Value]]:
        return [
            ((name, str(pool.endpoint)), upstream.in_flight(index))
            for name, upstream in upstreams.items()
            for index, pool in enumerate(upstream.pools)
        ]

    return [
        Family(
            "gateway_requests_total", "counter", "Requests answered.", ("route", "status"),
            lambda: [((route, str(status)), count) for (route, status), count in metrics.requests.items()],
        ),
        Family(
            "gateway_rate_limited_total", "counter", "Requests denied by a limit.", ("route", "limit", "reason"),
            lambda: list(metrics.rate_limited.items()),
        ),
        Family(
            "gateway_responses_cut_total", "counter", "Responses that were cut off, by the side that did it.",
            ("route", "side"), lambda: list(metrics.cut.items()),
        ),
        single(
            "gateway_request_duration_seconds", "histogram",
            "Time from the request head to the end of the response in seconds.", lambda: metrics.latency,
        ),
        Family(
            "gateway_upstream_breaker_state", "gauge",
            "State of the upstream's circuit breaker: 0 closed, 1 half-open, 2 open.", ("upstream",), breakers,
        ),
        Family(
            "gateway_upstream_in_flight", "gauge", "Requests in flight to the endpoint.",
            ("upstream", "endpoint"), in_flight,
        ),
        *_queue_families(queueing),
    ]  # fmt: skip


def _queue_families(queueing: Queueing) -> list[Family]:
    """Return the metrics of requests that wait for a limit."""
    metrics = queueing.metrics
    return [
        by_label(
            "gateway_queue_depth", "gauge", "Requests that wait for the limit.", "limit",
            lambda: queueing.depths().items(),
        ),
        Family(
            "gateway_queue_requests_total", "counter",
            "Requests that waited for the limit, or had no place to, by how that ended.", ("limit", "outcome"),
            lambda: list(metrics.ended.items()),
        ),
        single(
            "gateway_queue_wait_seconds", "histogram", "Time that requests waited for a limit in seconds.",
            lambda: metrics.waited,
        ),
    ]  # fmt: skip
