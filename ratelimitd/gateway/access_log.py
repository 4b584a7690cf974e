"""What is counted and logged of each request. Labels come from the configuration alone, never from a request."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

from ratelimitd.observe.metrics import Histogram

LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. Prometheus' default ones, and finer where a proxy before a fast application is."""


class Handled(NamedTuple):
    """How a request went.

    Attributes:
        route: its name; "" when none matched.
        limit: the limit that denied it, as the metrics name it; "".
        latency: nanoseconds from its head to the end of its answer.
        received, sent: bytes of the two bodies.
    """

    method: str
    path: str
    request_id: str
    client: str
    route: str
    upstream: str
    status: int
    limit: str
    latency: int
    received: int
    sent: int
    error: str


class Account:
    """The gateway's own counters, plain integers read at scrape.

    Attributes:
        requests: by (route, status).
        rate_limited: by (route, limit).
        latency: of all requests.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.rate_limited: Counter[tuple[str, str]] = Counter()
        self.latency = Histogram(LATENCY_BUCKETS)

    def count(self, handled: Handled) -> None:
        """Count one request that a handler saw to its end; ``requests`` alone has those that none saw."""
        self.requests[handled.route, str(handled.status)] += 1
        if handled.limit:
            self.rate_limited[handled.route, handled.limit] += 1
        self.latency.observe(handled.latency / 1_000_000_000)


class AccessLog:
    """Writes a JSON line for each request, those of one turn of the loop together.

    The fields are those of the seed (level, time, message, method, path, request_id, latency in ns, error), and what
    a proxy has to say beyond. The path is without its query, which may hold secrets.
    """

    def __init__(
        self, soon: Callable[[Callable[[], None]], object], write: Callable[[str], object] | None = None
    ) -> None:
        self._soon = soon
        self._write = write or _to_stdout
        self._lines: list[str] = []
        self._second = 0
        self._stamp = ""

    def log(self, handled: Handled) -> None:
        """Note one request."""
        # Spelled out, because json.dumps of a dict takes four times as long.
        level = "error" if handled.status >= 500 or not handled.status else "info"
        method, path, request_id, client, route, upstream, status, limit, latency, received, sent, error = handled
        if not self._lines:
            self._soon(self.flush)
        self._lines.append(
            f'{{"level":"{level}","time":"{self._now()}","message":"request","method":{quoted(method)},'
            f'"path":{quoted(path)},"request_id":{quoted(request_id)},"client":{quoted(client)},'
            f'"route":{quoted(route)},"upstream":{quoted(upstream)},"status":{status},"limit":{quoted(limit)},'
            f'"latency":{latency},"received":{received},"sent":{sent},"error":{quoted(error)}}}'
        )

    def _now(self) -> str:
        """The time of day in UTC by RFC 3339, with microseconds; its seconds are written once each."""
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{nanoseconds // 1000:06}Z"

    def flush(self) -> None:
        """Write what was noted."""
        lines, self._lines = self._lines, []
        if lines:
            self._write("\n".join(lines) + "\n")


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
