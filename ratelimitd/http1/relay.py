"""Forwards one request to an upstream, and the response to the client, piece by piece."""

from time import monotonic, monotonic_ns

from .bodies import chunk, last_chunk
from .circuit_breaker import Outcome
from .headers import to_client, trailers_to_client
from .interfaces import ExchangeInterface
from .model import CHUNKED, UNTIL_CLOSE, ErrorResponse, Headers, ResponseHead
from .responses import CHUNKED_HEADER, GRANTED, date_header, lines_of, persistence, request_head
from .tunnel import Tunnel
from .upstream import Upstream
from .upstream_connection import UpstreamConnection

_NEITHER, _CLOSED_EARLY, _UNANSWERED = Outcome.NEITHER, Outcome.CLOSED_EARLY, Outcome.UNANSWERED
_REPEATABLE = frozenset((b"GET", b"HEAD"))


class Relay:
    """The carrier of a forwarded request. Its end is reported once to the exchange.

    Upstream and endpoint learn the outcome once, when the head of the response came or when none will. Later events are
    no evidence: a page may cut its body off, and a tunnel may end at any time.
    """

    __slots__ = (
        "_admitted",
        "_clock",
        "_connection",
        "_exchange",
        "_head",
        "_index",
        "_judged",
        "_lines",
        "_ours",
        "_out",
        "_parts",
        "_response_timeout",
        "_told",
        "_upstream",
        "_withheld",
    )

    def __init__(
        self,
        exchange: ExchangeInterface,
        upstream: Upstream,
        lines: bytes,
        ours: Headers,
        response_timeout: float | None = None,
        withheld: frozenset[bytes] = frozenset(),
    ) -> None:
        self._exchange = exchange
        self._upstream = upstream
        self._lines = lines
        self._ours = ours
        self._withheld = withheld
        self._response_timeout = response_timeout
        self._clock = monotonic  # the loop's clock; to ask the loop costs a system call
        self._admitted = 0.0
        self._index = -1
        self._judged = False  # the upstream learned the outcome
        self._connection: UpstreamConnection | None = None
        self._out = 0  # framing of the body to the client: ``CHUNKED``, ``UNTIL_CLOSE``, or counted
        self._parts: list[bytes] = []  # of the response, not sent yet
        self._head: ResponseHead | None = None
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
        self._fail(_NEITHER)

    def pause_upstream(self, *, paused: bool) -> None:
        """Pause or resume reading of the response."""
        if self._connection is not None:
            self._connection.pause(paused=paused)

    # the pool's side

    def queued(self) -> None:
        """Be no probe of the circuit breaker: the wait for a share tells nothing of the upstream."""
        self._upstream.queued(self._admitted)

    def connected(self, connection: UpstreamConnection) -> None:
        """Send the head of the request, and start its body."""
        request = self._exchange.request
        self._connection = connection
        self._upstream.reached()
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
            self._exchange.client.start_body(self)

    def unconnected(self, error: ErrorResponse, outcome: Outcome) -> None:
        """Try another endpoint once, as nothing was sent; otherwise answer with the error."""
        failed, upstream = self._index, self._upstream
        self._exchange.endpoint = upstream.pools[failed].endpoint
        if outcome is not _NEITHER and not self._exchange.retried and len(upstream.pools) > 1:
            self._retry(outcome, avoid=failed, fresh=False)
        else:
            self._fail(outcome)
            self._exchange.refuse(upstream.refused(error, self._clock(), self._admitted), self._ours)

    # the request's body

    def body(self, piece: bytes) -> None:
        """Forward a piece of the body."""
        if self._connection is not None:
            self._connection.send(chunk(piece) if self._exchange.request.length == CHUNKED else piece)

    def body_end(self) -> None:
        """Forward the end of the body."""
        if self._connection is not None:
            if self._exchange.request.length == CHUNKED:
                self._connection.send(last_chunk([]))
            self._connection.complete()

    # the connection's side

    def interim(self, head: ResponseHead) -> None:
        """Forward a 1xx to a client of HTTP 1.1; a 100 is not forwarded, as ``start_body`` sends it."""
        if head.status != 100 and self._exchange.request.version == b"1.1":
            self._exchange.client.write(to_client(head, []) + b"\r\n")

    def response(self, head: ResponseHead, length: int) -> None:
        """Make the head of the response to the client."""
        exchange = self._exchange
        request, client = exchange.request, exchange.client
        exchange.first_byte = monotonic_ns()
        exchange.status = head.status
        self._judged = True
        self._upstream.answered(self._index, head.status, self._clock(), self._admitted)
        framing: Headers = []
        self._head = head
        if length < 0 and request.version == b"1.1":
            self._out = CHUNKED
            framing.append(CHUNKED_HEADER)
        elif length < 0:
            self._out = UNTIL_CLOSE
        if b"date" not in head.present:
            framing.append(date_header())  # RFC 9110 6.6.1
        framing += persistence(request.version, keep=client.keeps(able=self._out != UNTIL_CLOSE))
        self._parts.append(to_client(head, self._ours, self._withheld))
        self._parts.append(lines_of(framing) + b"\r\n" if framing else b"\r\n")

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
            if trailers and self._head is not None:
                trailers = trailers_to_client(self._head, trailers, self._ours)
            self._parts.append(last_chunk(trailers))
        self.read()
        self._release()
        exchange.finish()

    def switched(self, head: ResponseHead) -> Tunnel:
        """Grant the client the tunnel, which is the carrier from now on."""
        exchange, connection = self._exchange, self._connection
        assert connection is not None  # noqa: S101 -- it is the caller
        exchange.first_byte = monotonic_ns()
        exchange.status = head.status
        self._judged = True
        self._upstream.answered(self._index, head.status, self._clock(), self._admitted)
        exchange.client.write(b"%b%b\r\n" % (to_client(head, self._ours, self._withheld), lines_of(GRANTED)))
        tunnel = Tunnel(exchange, connection, self._release)
        exchange.relay = tunnel
        exchange.client.switch(tunnel)
        return tunnel

    def writing_paused(self, *, paused: bool) -> None:
        """Pause or resume delivery of the request body."""
        self._exchange.client.pause_body(paused=paused)

    def lost(self, error: ErrorResponse, *, unheard: bool) -> None:
        """Repeat the request once, if it is safe to; otherwise answer with the error or break off."""
        exchange, connection = self._exchange, self._connection
        self._connection = None
        request = exchange.request
        bodiless, stale = request.length == 0, connection is not None and connection.reused and error.status == 502
        if unheard and stale and bodiless and request.method in _REPEATABLE and not exchange.retried:
            self._retry(_NEITHER, avoid=None, fresh=True)
            return
        # closed under a body: a reset may have cost the answer to it; a stale connection: the idle time was over
        explained = error.status == 502 and (stale or not bodiless)
        failed = _CLOSED_EARLY if error.status == 502 else _UNANSWERED
        self._fail(failed if unheard and not explained else _NEITHER)
        if self._told:
            exchange.error, exchange.cut = error.reason, "upstream"
            exchange.break_off(reset=self._out == UNTIL_CLOSE)
        else:
            exchange.status = exchange.sent = 0
            exchange.refuse(error, self._ours)

    def _attempt(self, avoid: int | None, *, fresh: bool) -> None:
        self._index = index = self._upstream.pick(self._clock(), avoid)
        self._upstream.pools[index].take(self, self._exchange.request.client, fresh=fresh)

    def _retry(self, outcome: Outcome, *, avoid: int | None, fresh: bool) -> None:
        self._exchange.retried = True
        self._exchange.client.pause_body(paused=False)  # the connection that was full is gone
        self._upstream.attempted(self._index, outcome, self._clock(), self._admitted)
        self._release()
        self._attempt(avoid, fresh=fresh)

    def _fail(self, outcome: Outcome) -> None:
        """Report how the attempt and the request went, unless a head told it."""
        if not self._judged:
            self._judged = True
            now = self._clock()
            if self._index >= 0:
                self._upstream.attempted(self._index, outcome, now, self._admitted)
            self._upstream.done(outcome, now, self._admitted)
        self._release()

    def _release(self) -> None:
        if self._index >= 0:
            self._upstream.release(self._index)
            self._index = -1

    def _request_head(self) -> bytes:
        request, lines, host = self._exchange.request, self._lines, self._upstream.host
        if host == b"" or (host is None and not request.authority):
            host = self._upstream.pools[self._index].endpoint.authority
        if request.length == CHUNKED:
            lines += lines_of([CHUNKED_HEADER])
        return request_head(request.method, request.target, request.authority if host is None else host, lines)
