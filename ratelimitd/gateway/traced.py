"""Spans of proxied requests: a server span of each, and a client span if an upstream was asked.

A face of its own: a process without TRACING_ENABLED does not import it. The upstream gets the context of the client
span, also in a trace that is not sampled, so that what follows decides alike. A trace that the caller does not sample
passes as it came.
"""

import time
from functools import partial
from typing import Final

from ratelimitd.http1 import Exchange, Request, Summary, lines_of
from ratelimitd.limiter import Answer, Ask
from ratelimitd.tracing import NAMES, Attributes, Context, Found, Kind, Span, Tracer, extract, inject

from .proxy import ProxiedRequest, Proxy, error_of
from .routing import CompiledRoute
from .snapshot import Snapshot

METHODS: Final = frozenset(b"CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT QUERY TRACE".split())
"""Methods that a span is named after; any other is HTTP, as the semantic conventions ask."""

PATH_MOST: Final = 512
"""Characters of a path that a span shows: the queue of spans has a bound in spans, so a span has one in bytes."""

INCOMPLETE: Final = "incomplete"
"""``error.type`` of a request or response that was broken off; the description says why."""

_NAMES: Final = {name.encode(): name for name in NAMES}


class TracedRequest(ProxiedRequest):
    """A request in progress, with its spans.

    Args:
        port: of the listener.
    """

    __slots__ = ("_asked", "_context", "_found", "_next", "_parent", "_port", "_tracer", "_verdict")

    def __init__(self, tracer: Tracer, port: int, proxy: Proxy, request: Request, exchange: Exchange) -> None:
        super().__init__(proxy, request, exchange)
        self._tracer = tracer
        self._port = port
        self._found = found(request)
        self._parent = extract(self._found)
        self._context = tracer.begin(self._parent)
        self._next: Context | None = None
        self._asked = 0
        self._verdict: Attributes = {}

    def _decided(self, snapshot: Snapshot, routed: CompiledRoute, ask: Ask, answer: Answer) -> None:
        if self._context.sampled:
            self._verdict = self._tracer.decision(ask, answer, self._proxy.engine.modes)
        super()._decided(snapshot, routed, ask, answer)

    def _onward(self, snapshot: Snapshot, without: frozenset[bytes] = frozenset()) -> bytes:
        """Return the header lines for the upstream, with the context of the client span."""
        parent = self._parent
        if parent is not None and parent.trace_id and parent.sampled is False:
            return super()._onward(snapshot, without)
        self._next = self._context.child()
        self._asked = time.monotonic_ns()
        removed, added = inject(self._next, self._found)
        return super()._onward(snapshot, without | removed) + lines_of(added)

    def done(self, summary: Summary) -> None:
        """Report the completed request, and record its spans."""
        super().done(summary)
        if not self._context.sampled:
            return
        wall = time.time_ns() - time.monotonic_ns()
        self._tracer.record(partial(self._server_span, summary, wall))
        if self._next is not None and summary.endpoint is not None:
            self._tracer.record(partial(self._client_span, summary, self._next, wall))

    def _server_span(self, summary: Summary, wall: int) -> Span:
        status, request, routed = summary.status, self._request, self._routed
        found = {
            **self._method(),
            "url.scheme": request.scheme,
            "url.path": self._path(),
            "server.address": self._tracer.host,
            "server.port": self._port,
            **self._verdict,
        }
        if routed is not None:
            found["ratelimitd.route"] = routed.route.name
        if self._reason is not None and not self._verdict:
            found |= {"ratelimitd.decision": "failed", "ratelimitd.reason": str(self._reason.kind)}
        if status:
            found["http.response.status_code"] = status
        broken = not status or summary.cut != "" or (summary.error != "" and status < 400)
        failed = summary.error or error_of(self._reason) if broken or status >= 500 else None
        if failed is not None:
            found["error.type"] = INCOMPLETE if broken else str(status)
        return self._span(Kind.SERVER, self._context, wall + summary.started, wall + summary.ended, found, failed)

    def _client_span(self, summary: Summary, context: Context, wall: int) -> Span:
        endpoint, status = summary.endpoint, summary.status
        assert endpoint is not None  # noqa: S101 -- the caller has looked
        scheme = "https" if endpoint.tls else "http"
        found = {
            **self._method(),
            "url.full": f"{scheme}://{endpoint}{self._path()}",
            "server.address": endpoint.host,
            "server.port": endpoint.port,
        }
        if summary.retried:
            found["http.request.resend_count"] = 1
        failed = None
        if summary.error:
            failed, found["error.type"] = summary.error, INCOMPLETE
        else:
            found["http.response.status_code"] = status
            if status >= 400:
                failed, found["error.type"] = "", str(status)
        return self._span(Kind.CLIENT, context, wall + self._asked, wall + summary.ended, found, failed)

    def _span(
        self, kind: Kind, context: Context, began: int, ended: int, found: Attributes, failed: str | None
    ) -> Span:
        method = self._request.method
        name = method.decode() if method in METHODS else "HTTP"
        return Span(name, kind, context, began, ended, found, failed)

    def _method(self) -> dict[str, str | int | bool]:
        method, known = self._request.method.decode("latin-1"), self._request.method in METHODS
        version = {"network.protocol.version": self._request.version.decode()}
        named = {"http.request.method": method} if known else {
            "http.request.method": "_OTHER", "http.request.method_original": method,
        }  # fmt: skip
        return {**named, **version}

    def _path(self) -> str:
        return self._request.path.decode("latin-1")[:PATH_MOST]


def found(request: Request) -> Found:
    """Return the headers of a request that name its trace."""
    if _NAMES.keys().isdisjoint(request.names):
        return {}
    values: dict[str, list[bytes]] = {}
    for index, name in enumerate(request.names):
        if name in _NAMES:
            values.setdefault(_NAMES[name], []).append(request.value(index))
    return values
