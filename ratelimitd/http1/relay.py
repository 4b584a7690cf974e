"""Forwards one request to an upstream, and the response to the client, piece by piece."""

from time import monotonic, monotonic_ns

from .bodies import chunk, last_chunk
from .circuit_breaker import Outcome
from .headers import to_client
from .interfaces import ExchangeInterface
from .model import CHUNKED, UNTIL_CLOSE, ErrorResponse, Headers, ResponseHead
from .responses import CHUNKED_HEADER, GRANTED, persistence, request_head
from .responses import head as response_head
from .tunnel import Tunnel
from .upstream import Upstream
from .upstream_connection import UpstreamConnection

_GOOD, _BAD, _NEITHER = Outcome.GOOD, Outcome.BAD, Outcome.NEITHER
_REPEATABLE = frozenset((b"GET", b"HEAD"))
_BAD_STATUS = frozenset((502, 503, 504))
"""Envoy's gateway failures: a proxy before the application failed, so another endpoint may succeed."""


class Relay:
    """The carrier of a forwarded request. Its end is reported once to each of exchange, upstream and endpoint."""

    __slots__ = (
        "_admitted",
        "_body_started",
        "_clock",
        "_connection",
        "_exchange",
        "_headers",
        "_index",
        "_ours",
        "_out",
        "_parts",
        "_response_timeout",
        "_target",
        "_told",
        "_upstream",
        "_withheld",
    )

    def __init__(
        self,
        exchange: ExchangeInterface,
        upstream: Upstream,
        headers: Headers,
        target: bytes,
        ours: Headers,
        response_timeout: float | None = None,
        withheld: frozenset[bytes] = frozenset(),
    ) -> None:
        self._exchange = exchange
        self._upstream = upstream
        self._headers = headers
        self._target = target
        self._ours = ours
        self._withheld = withheld
        self._response_timeout = response_timeout
        self._clock = monotonic  # the loop's clock; to ask the loop costs a system call
        self._admitted = 0.0
        self._index = -1
        self._connection: UpstreamConnection | None = None
        self._body_started = False
        self._out = 0  # framing of the body to the client: ``CHUNKED``, ``UNTIL_CLOSE``, or counted
        self._parts: list[bytes] = []  # of the response, not sent yet
        self._told = False  # the head was written to the client

    def start(self) -> None:
        """Ask the upstream, if its circuit breaker admits the request."""
        self._admitted = now = self._clock()
        error = self._upstream.admit(now)
        if error is not None:
            self._exchange.refuse(error, self._ours)
        else:
            self._attempt(None, fresh=False)

    def cancel(self) -> None:
        """Release the connection or the place in the queue for one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        elif self._index >= 0:
            self._upstream.pools[self._index].cancel(self)
        self._settle(_NEITHER)

    def pause_upstream(self, *, paused: bool) -> None:
        """Pause or resume reading of the response."""
        if self._connection is not None:
            self._connection.pause(paused=paused)

    # the pool's side

    def connected(self, connection: UpstreamConnection) -> None:
        """Send the head of the request, and start its body."""
        request = self._exchange.request
        self._connection = connection
        connection.begin(
            self,
            request.method,
            self._request_head(),
            websocket=request.websocket,
            response_timeout=self._response_timeout,
        )
        self._exchange.endpoint = self._upstream.pools[self._index].endpoint
        if request.length == 0:
            connection.complete()
        else:
            self._body_started = True
            self._exchange.client.start_body(self)

    def unconnected(self, error: ErrorResponse) -> None:
        """Try another endpoint once, as nothing was sent; otherwise answer with the error."""
        failed, outcome = self._index, _NEITHER if error.status == 503 else _BAD
        self._exchange.endpoint = self._upstream.pools[failed].endpoint
        if outcome is _BAD and not self._exchange.retried and len(self._upstream.pools) > 1:
            self._retry(outcome, avoid=failed, fresh=False)
        else:
            self._refuse(error, outcome)

    # the request's body

    def body(self, piece: bytes) -> None:
        """Forward a piece of the body."""
        if self._connection is not None:
            self._connection.send(chunk(piece) if self._exchange.request.length == CHUNKED else piece)

    def body_end(self, trailers: Headers) -> None:
        """Forward the end of the body."""
        if self._connection is not None:
            if self._exchange.request.length == CHUNKED:
                self._connection.send(last_chunk(trailers))
            self._connection.complete()

    # the connection's side

    def interim(self, head: ResponseHead) -> None:
        """Forward a 1xx to a client of HTTP 1.1; a 100 is not forwarded, as ``start_body`` sends it."""
        if head.status != 100 and self._exchange.request.version == b"1.1":
            self._exchange.client.write(response_head(head.status, head.reason, to_client(head, [])))

    def response(self, head: ResponseHead, length: int) -> None:
        """Make the head of the response to the client."""
        exchange = self._exchange
        request, client = exchange.request, exchange.client
        exchange.first_byte = monotonic_ns()
        exchange.status = head.status
        headers = to_client(head, self._ours, self._withheld)
        if length < 0 and request.version == b"1.1":
            self._out = CHUNKED
            headers.append(CHUNKED_HEADER)
        elif length < 0:
            self._out = UNTIL_CLOSE
        headers += persistence(request.version, keep=client.keeps(able=self._out != UNTIL_CLOSE))
        self._parts.append(response_head(head.status, head.reason, headers))

    def data(self, piece: bytes) -> None:
        """Take a piece of the body; ``read`` sends it."""
        self._exchange.sent += len(piece)
        self._parts.append(chunk(piece) if self._out == CHUNKED else piece)

    def read(self) -> None:
        """Send all that one read brought by one write, as a write costs as much as all the rest."""
        parts = self._parts
        if parts:
            self._told = True
            self._parts = []
            self._exchange.client.write(b"".join(parts))

    def end(self, trailers: Headers) -> None:
        """Forward the end of the response."""
        self._connection = None
        exchange = self._exchange
        if self._out == CHUNKED:
            self._parts.append(last_chunk(trailers))
        self.read()
        self._settle(_BAD if exchange.status in _BAD_STATUS else _GOOD)
        exchange.finish()

    def switched(self, head: ResponseHead) -> Tunnel:
        """Grant the client the tunnel, which is the carrier from now on."""
        exchange, connection = self._exchange, self._connection
        assert connection is not None  # noqa: S101 -- it is the caller
        exchange.first_byte = monotonic_ns()
        exchange.status = head.status
        headers = to_client(head, self._ours, self._withheld)
        exchange.client.write(response_head(head.status, head.reason, headers + GRANTED))
        tunnel = Tunnel(exchange, connection, self._settle)
        exchange.relay = tunnel
        exchange.client.switch(tunnel)
        return tunnel

    def writing_paused(self, *, paused: bool) -> None:
        """Pause or resume delivery of the request body."""
        if self._body_started:
            self._exchange.client.pause_body(paused=paused)

    def lost(self, error: ErrorResponse, *, unheard: bool) -> None:
        """Repeat the request once, if it is safe to; otherwise answer with the error or break off."""
        exchange, connection = self._exchange, self._connection
        self._connection = None
        request = exchange.request
        again = request.method in _REPEATABLE and request.length == 0 and not exchange.retried
        if unheard and again and connection is not None and connection.reused:
            self._retry(_NEITHER, avoid=None, fresh=True)
        elif self._told:
            self._settle(_BAD)
            exchange.error = error.reason
            exchange.break_off(reset=self._out == UNTIL_CLOSE)
        else:
            exchange.status = exchange.sent = 0
            self._refuse(error, _BAD)

    def _attempt(self, avoid: int | None, *, fresh: bool) -> None:
        index = self._upstream.pick(self._clock(), avoid)
        if isinstance(index, ErrorResponse):
            self._refuse(index, _NEITHER)
        else:
            self._index = index
            self._upstream.pools[index].take(self, fresh=fresh)

    def _retry(self, outcome: Outcome, *, avoid: int | None, fresh: bool) -> None:
        self._exchange.retried = True
        self._upstream.attempted(self._index, outcome, self._clock())
        self._index = -1
        self._attempt(avoid, fresh=fresh)

    def _refuse(self, error: ErrorResponse, outcome: Outcome) -> None:
        self._settle(outcome)
        self._exchange.refuse(error, self._ours)

    def _settle(self, outcome: Outcome) -> None:
        now = self._clock()
        if self._index >= 0:
            self._upstream.attempted(self._index, outcome, now)
            self._index = -1
        self._upstream.done(outcome, now, self._admitted)

    def _request_head(self) -> bytes:
        request, headers, host = self._exchange.request, self._headers, self._upstream.host
        if host is not None or not request.authority:
            others = [header for header in headers if header[0].lower() != b"host"]
            headers = [(b"Host", host or self._upstream.pools[self._index].endpoint.authority), *others]
        if request.length == CHUNKED:
            headers = [*headers, CHUNKED_HEADER]
        return request_head(request.method, self._target, headers)
