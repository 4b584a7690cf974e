"""The metrics of the proxy and of its upstreams."""

from collections.abc import Iterable, Mapping

from ratelimitd.gateway import RequestMetrics
from ratelimitd.http1 import State, Upstream
from ratelimitd.observe.metrics import Family, Value, single

STATES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


def gateway_families(metrics: RequestMetrics, upstreams: Mapping[str, Upstream]) -> list[Family]:
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
            lambda: list(metrics.requests.items()),
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
    ]  # fmt: skip
