"""A request and its response, which is local or an upstream's; a handler decides which, at once or later."""

import asyncio
from collections.abc import Callable
from time import monotonic_ns

from .interfaces import Carrier, Client
from .model import EndedBy, Endpoint, ErrorResponse, Headers, Request, Summary
from .relay import Relay
from .responses import date_header, has_body, head, persistence, reason_of
from .upstream import Upstream


class Exchange:
    """One request on a client's connection. It is answered once, by ``respond``, ``forward`` or ``refuse``.

    Attributes:
        request: the request.
        on_done: called with the summary exactly once, at the end; set it before answering.
        over: the response is complete or aborted, or the client disconnected; answering then has no effect.
        relay: the carrier of a response that is not local; None before ``forward`` and after the end.
        error_headers: added to an error response to a body that is malformed, too large or too late, which no handler
            makes.
    """

    __slots__ = (
        "client",
        "cut",
        "endpoint",
        "error",
        "error_headers",
        "first_byte",
        "on_done",
        "over",
        "received",
        "relay",
        "request",
        "retried",
        "sent",
        "started",
        "status",
    )

    def __init__(self, client: Client, request: Request) -> None:
        self.client = client
        self.request = request
        self.on_done: Callable[[Summary], None] | None = None
        self.over = False
        self.relay: Carrier | None = None
        self.status = self.received = self.sent = self.first_byte = 0
        self.started = monotonic_ns()
        self.endpoint: Endpoint | None = None
        self.retried = False
        self.error = self.cut = ""
        self.error_headers: Headers = []

    def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Answer with a complete body. Date, Content-Length and Connection are added."""
        if self.over or self.relay is not None:
            return
        self._answer(status, headers, body)

    def forward(
        self,
        upstream: Upstream,
        lines: bytes,
        *,
        response_headers: Headers | None = None,
        response_timeout: float | None = None,
        withheld: frozenset[bytes] = frozenset(),
    ) -> None:
        """Forward the request to an upstream.

        Args:
            upstream: receives the request if its circuit breaker admits it.
            lines: header lines made by ``headers.to_upstream``.
            response_headers: added to the response, also to a local error response; they replace the upstream's headers
                of the same names, except Vary.
            response_timeout: overrides that of the upstream, for each attempt.
            withheld: names, in lower case, of the upstream's headers that the client does not get.
        """
        if self.over or self.relay is not None:
            return
        relay = Relay(self, upstream, lines, response_headers or [], response_timeout, withheld)
        self.relay = relay
        relay.start()

    def refuse(self, error: ErrorResponse, headers: Headers | None = None) -> None:
        """Answer with an error response and ``headers``, or break off if the head of a response was written."""
        if self.over:
            return
        self.error = error.reason
        if self.status:
            self.cut = "client"  # the fault is its body's
            self.break_off()
            return
        rendered, body = self.client.render(error, self.request)
        if error.retry_after is not None:
            rendered = [*rendered, (b"Retry-After", b"%d" % max(1, -int(-error.retry_after // 1)))]
        given = {name.lower() for name, _ in headers or ()}
        ours = [header for header in rendered if header[0].lower() not in given]
        self._answer(error.status, [*ours, *(headers or ())], body)

    # the client's side

    def reject(self, error: ErrorResponse) -> None:
        """Refuse a request whose body is malformed, too large or too late."""
        relay = self.relay
        if relay is not None:
            relay.cancel()
        self.refuse(error, self.error_headers)

    def client_gone(self, ended_by: EndedBy) -> None:
        """End the exchange because the client's connection was lost."""
        if self.over:
            return
        self.error = ended_by.reason
        self.cut = ended_by.side if self.status not in {0, 101} else ""
        if self.relay is not None:
            self.relay.cancel()
        self._end()

    # the carrier's side

    def finish(self) -> None:
        """End after the response was written to its end."""
        self._end()
        self.client.finished()

    def break_off(self, *, reset: bool = False, flush: bool = True) -> None:
        """End in the middle of the response, visibly to the client; see ``Client.truncate``."""
        self._end()
        self.client.truncate(reset=reset, flush=flush)

    def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        request, client = self.request, self.client
        self.status = status
        full = [*headers, date_header()]
        if status not in {204, 304}:
            full.append((b"Content-Length", b"%d" % len(body)))
        full += persistence(request.version, keep=client.keeps())
        if not has_body(request.method, status):
            body = b""
        self.sent = len(body)
        client.write(head(status, reason_of(status), full) + body)
        self.finish()

    def _end(self) -> None:
        self.over = True
        self.relay = None
        listener, self.on_done = self.on_done, None  # breaks a reference cycle
        if listener is None:
            return
        try:
            listener(self._summary())
        except Exception as error:  # noqa: BLE001 -- a fault of the listener is not the client's
            context = {"message": "an on_done listener raised an exception", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    def _summary(self) -> Summary:
        return Summary(
            self.status,
            self.received,
            self.sent,
            self.started,
            self.first_byte,
            monotonic_ns(),
            self.endpoint,
            self.retried,
            self.error,
            self.cut,
        )
