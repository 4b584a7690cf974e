"""Metrics and access log of requests. Label values come only from the configuration, never from a request."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import Final

from ratelimitd.observe.metrics import Histogram
from ratelimitd.value import Value

LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: Prometheus' default buckets, and finer ones for the latencies of a proxy in front of a fast application."""


LEVELS: Final = {"": "info", "client": "warning", "upstream": "error", "gateway": "error"}
"""Level of a line by ``cut``; without a status, or with one from 500, it is ``error``."""


class AccessRecord(Value):
    """Result of one request.

    Attributes:
        route: name of the route, empty if none matched.
        upstream: endpoint that received the request, empty if none did.
        status: status code sent to the client, 0 if none.
        limit: name of the limit that denied the request, as in the metrics, empty if none did.
        reason: kind of the reason why the request was denied, could not be decided, or was decided without its
            counter (``ReasonKind``), otherwise empty.
        latency: nanoseconds from the request head to the end of the response.
        received: bytes of the request body.
        sent: bytes of the response body.
        error: reason for the failure, empty on success.
        cut: side that ended the response before its end, as in ``Summary``; empty if none did.
        queued: nanoseconds of the latency in which it waited for a limit.
    """

    __match_args__ = (
        *("method", "path", "request_id", "client", "route", "upstream", "status", "limit", "reason", "latency"),
        *("received", "sent", "error", "cut", "queued"),
    )
    __slots__ = __match_args__

    def __init__(  # noqa: PLR0913, PLR0917 -- a field each
        self,
        method: str,
        path: str,
        request_id: str,
        client: str,
        route: str,
        upstream: str,
        status: int,
        limit: str,
        reason: str,
        latency: int,
        received: int,
        sent: int,
        error: str,
        cut: str = "",
        queued: int = 0,
    ) -> None:
        self.method = method
        self.path = path
        self.request_id = request_id
        self.client = client
        self.route = route
        self.upstream = upstream
        self.status = status
        self.limit = limit
        self.reason = reason
        self.latency = latency
        self.received = received
        self.sent = sent
        self.error = error
        self.cut = cut
        self.queued = queued


class RequestMetrics:
    """Counters of the gateway: plain integers that are read on each scrape.

    Attributes:
        requests: requests by (route, status).
        rate_limited: denied requests by (route, limit, reason).
        cut: responses that ended before their end, by (route, side).
        latency: latency of all requests.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.rate_limited: Counter[tuple[str, str, str]] = Counter()
        self.cut: Counter[tuple[str, str]] = Counter()
        self.latency = Histogram(LATENCY_BUCKETS)

    def count(self, record: AccessRecord) -> None:
        """Count a request that reached a handler. Requests that reached none are only in ``requests``."""
        self.requests[record.route, record.status] += 1
        if record.limit:
            self.rate_limited[record.route, record.limit, record.reason] += 1
        if record.cut:
            self.cut[record.route, record.cut] += 1
        self.latency.observe(record.latency / 1_000_000_000)


class AccessLog:
    """Writes one JSON line per request, or what ``text`` returns. The lines that come until ``soon`` makes its call are
    written together: a write for each would cost more than its line.

    The fields are those of the seed (level, time, message, method, path, request_id, latency in ns, error), and
    additional fields of a proxy. The path excludes the query, which may contain secrets.
    """

    def __init__(
        self,
        soon: Callable[[Callable[[], None]], object],
        write: Callable[[str], object] | None = None,
        text: Callable[[AccessRecord], str] | None = None,
    ) -> None:
        self._soon = soon
        self._text = text
        self._write = write or _to_stdout
        self._lines: list[str] = []
        self._second = 0
        self._to_second = ""

    def log(self, record: AccessRecord) -> None:
        """Add the line of one request."""
        if not self._lines:
            self._soon(self.flush)
        if self._text is not None:
            self._lines.append(self._text(record))
            return
        # Written by hand, because json.dumps of a dict takes four times as long.
        level = LEVELS[record.cut] if 0 < record.status < 500 else "error"
        self._lines.append(
            f'{{"level":"{level}","time":"{self._now()}","message":"request","method":{quoted(record.method)},"path":'
            f'{quoted(record.path)},"request_id":{quoted(record.request_id)},"client":{quoted(record.client)},"route":'
            f'{quoted(record.route)},"upstream":{quoted(record.upstream)},"status":{record.status},"limit":'
            f'{quoted(record.limit)},"reason":{quoted(record.reason)},"latency":{record.latency},"received":'
            f'{record.received},"sent":{record.sent},"error":{quoted(record.error)},"cut":"{record.cut}","queued":'
            f"{record.queued}}}"
        )

    def _now(self) -> str:
        """Return the time in UTC as RFC 3339 with microseconds. All but the fraction is formatted once per second."""
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._to_second = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._to_second}.{nanoseconds // 1000:06}Z"

    def flush(self) -> None:
        """Write the added lines."""
        lines, self._lines = self._lines, []
        if lines:
            self._write("\n".join(lines) + "\n")


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
