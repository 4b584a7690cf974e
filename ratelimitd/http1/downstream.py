"""The connection of a client: requests one after the other, each answered before the next is parsed."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import cast

from .bodies import Body, BodyError, Counted, Discard, request_body
from .downstream_socket import DownstreamSocket
from .exchange import Exchange
from .heads import LINE_END, after_empty_line, take_request
from .interfaces import BodySink
from .lifecycle import BUSY, CLOSING, HEAD, LEAVE, LINGERING, TUNNEL
from .model import BY_CLIENT, ErrorResponse, Framed, Peer, Request, peer_of
from .options import DRAIN_BYTES, HIGH_WATER
from .owner import Owner
from .responses import CONTINUE, Render, error_answer
from .write_buffer import WhenEmpty

_DISCARD = Discard()


class DownstreamConnection(DownstreamSocket):
    """The connection of one client."""

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop, *, secure: bool) -> None:
        super().__init__(owner.options, loop)
        self._owner = owner
        self._scheme = "https" if secure else "http"
        self._peer = Peer("", 0)
        self._exchange: Exchange | None = None
        self._body: Body | None = None  # the part of the request body that is not read yet
        self._expects = False  # the client waits for 100
        self._skipped_line = False  # an empty line came before the request that is waited for
        self._keep = True
        self._sent = WhenEmpty()

    def __repr__(self) -> str:
        states = {"partial head": self._partial, "blocked": self._blocked, "not reading": not self._reading}
        state = ", ".join([self._phase.name, *(name for name, holds in states.items() if holds)])
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return f"<DownstreamConnection {self._peer.address}: {state}, {unsent} unsent>"

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        self._transport = connected = cast("asyncio.Transport", transport)
        connected.set_write_buffer_limits(high=HIGH_WATER)
        name = connected.get_extra_info("peername")
        self._peer = peer_of(name)
        self._owner.joined(self)
        self._update()

    def eof_received(self) -> bool:
        """Take a client that closes its sending side as gone, as Go and nginx do, except in a tunnel."""
        if self._phase is TUNNEL:
            self._end_tunnel_reading()
            return self._phase is TUNNEL and self.half_closes
        self._client_left()
        if self._phase is not CLOSING:
            self._close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """Cancel the exchange."""
        self._transport = None
        self._owner.lost(self)
        self._sent.reached(None)
        self._client_left()

    def pause_writing(self) -> None:
        """Pause the upstream for a client that does not read."""
        self._set_blocked(blocked=True)

    def resume_writing(self) -> None:
        """Resume the upstream, and go on with what the client sent."""
        self._sent.reached(self._transport)
        self._set_blocked(blocked=False)
        self._advance()

    # the server's side

    def leave(self) -> None:
        """Close if idle for ``LEAVE``, now or later; otherwise the next response is the last."""
        since, self._leaves = self.idle_since, True
        self._update()
        if self._phase is HEAD and since is not None and not (self._blocked or self._pending or self._partial):
            self._since, self.deadline = since, since + LEAVE
            now = self._loop.time()
            if self.deadline <= now:
                self.expire(now)

    def expire(self, now: float) -> None:
        """Act on the deadline: reject the request, or close the connection."""
        if self._blocked or self._phase is CLOSING:
            self._expire_sending()
        elif self._phase is HEAD and self._partial:
            self._refuse(ErrorResponse(408, "request head took too long"))
        elif self._phase is HEAD:
            if not self._unread:  # a request that came a moment ago is read and answered
                self._end()
        elif self._phase is LINGERING:
            self._close()
        elif self._timeout == inf:
            self.deadline = inf
            if self._phase is BUSY and self._hung_up:  # a tunnel may be half-closed
                self.abort(BY_CLIENT)
            self._update()
        elif self._exchange is not None:
            self._exchange.reject(self._pace.error(now))
        else:
            self.abort()

    # the exchange's side

    @property
    def render(self) -> Render:
        """The server's function for error responses."""
        return self._owner.render

    def keeps(self, *, able: bool = True) -> bool:
        """Decide whether the connection persists after the response whose head is being written."""
        body = self._body
        if body is not None:  # a client that waits for 100 may or may not send the rest
            able = able and isinstance(body, Counted) and body.left <= DRAIN_BYTES and not self._expects
        self._keep = self._keep and able and not self._owner.leaving
        return self._keep

    def write(self, data: bytes) -> None:
        """Send a part of a response."""
        if self._transport is not None:
            self._transport.write(data)

    def when_sent(self, call: Callable[[], None]) -> None:
        """Call this when the write buffer is empty, or the client is gone."""
        self._sent.wait(self._transport, call)

    def start_body(self, sink: BodySink) -> None:
        """Start to deliver the request body to a sink; answer ``Expect: 100-continue``."""
        self._sink = sink
        now = self._loop.time()
        self._pace.start(self._options, now)
        if self._body_paused:
            self._pace.pause(now, paused=True)
        if self._expects:
            self._expects = False
            self.write(CONTINUE)
        self._progress = True
        self._advance()

    def pause_body(self, *, paused: bool) -> None:
        """Pause or resume delivery of the request body to the sink."""
        self._body_paused = paused
        self._pace.pause(self._loop.time(), paused=paused)
        self._advance()

    def finished(self) -> None:
        """Go on to the next request, or close."""
        self._exchange = self._sink = None
        self._body_paused = False  # it was paused for the sink of this exchange
        if not self._keep:
            self._end()
        elif self._body is not None:
            self.start_body(_DISCARD)
        else:
            self._ready()

    def truncate(self, *, reset: bool, flush: bool = True) -> None:
        """Close in the middle of a response."""
        self._exchange = None
        self._sink = None
        if reset or not flush:
            (self._reset if reset else self.abort)()
            self._update()
        elif self.half_closes:
            self._linger()
        else:
            self._close()

    def switch(self, tunnel: BodySink) -> None:
        """Become a tunnel."""
        self._phase = TUNNEL
        self._sink = tunnel
        self._keep = self._said_all = False
        self._loop.call_soon(self._advance)  # early bytes of the client go after what is sent now

    # steps

    def _step(self) -> bool:
        """Use a part of what was read. Returns whether more of it may be used now."""
        phase = self._phase
        if phase is HEAD:
            return not self._blocked and self._read_head()
        if phase is BUSY:
            return self._read_body()
        if phase is TUNNEL:
            return self._read_tunnel()
        self._pending = b""  # a client that is lingered for may send any amount: none of it is kept
        self._progress = phase is LINGERING
        return False

    def _read_head(self) -> bool:
        begun = bool(self._partial)
        if self._pending[0] in LINE_END and self._skip_empty_line():
            return True
        taken = take_request(self._partial, self._pending, self._options)
        if taken is None:
            self._pending = b""
            self._progress = not begun  # only the first bytes of a head restart its time
            return False
        if isinstance(taken, ErrorResponse):
            self._refuse(taken)
            return False
        head, self._pending = taken
        self._begin(head, Request(head, self._peer, self._scheme))
        return True

    def _skip_empty_line(self) -> bool:
        """Read over one empty line before a request; it neither begins a head nor restarts a deadline."""
        rest = None if self._skipped_line else after_empty_line(self._partial, self._pending)
        if rest is None:
            return False
        self._skipped_line, self._pending = True, rest
        return True

    def _begin(self, framed: Framed, request: Request) -> None:
        self._phase = BUSY
        self.asked, self._skipped_line = True, False
        self._keep = framed.keep_alive
        self._said_all = not framed.keep_alive
        self._expects = framed.expects
        self._body = request_body(request.length) if request.length else None
        self._exchange = exchange = Exchange(self, request)
        try:
            self._owner.handler(request, exchange)
        except Exception as error:  # noqa: BLE001 -- the handler's fault is not the connection's
            self._loop.call_exception_handler({"message": "a gateway handler raised", "exception": error})
            exchange.reject(ErrorResponse(500, "internal error"))

    def _read_body(self) -> bool:
        body, sink = self._body, self._sink
        if body is None or sink is None or self._body_paused:
            return False
        try:
            piece, self._pending = body.feed(self._pending)
        except BodyError as error:
            self._reject(ErrorResponse(400, f"request body: {error}"))
            return False
        if body.done:
            self._body = None
        if piece and not self._deliver(sink, piece):
            return False
        if body.done and self._sink is sink:
            self._end_body(sink)
        return True

    def _deliver(self, sink: BodySink, piece: bytes) -> bool:
        """Give a piece of the body to its sink, or reject the request if the body is too large."""
        exchange = self._exchange
        if exchange is not None:
            exchange.received += len(piece)
            if exchange.received > self._options.max_body:
                self._reject(ErrorResponse(413, "request body is too large"))
                return False
        self._pace.came(len(piece))
        self._progress = True
        sink.body(piece)
        return True

    def _end_body(self, sink: BodySink) -> None:
        self._sink = None
        sink.body_end()
        if sink is _DISCARD:
            self._ready()

    def _read_tunnel(self) -> bool:
        sink, exchange, data = self._sink, self._exchange, self._pending
        if sink is None or exchange is None or self._body_paused:
            return False
        self._pending = b""
        exchange.received += len(data)
        sink.body(data)
        return True

    # ends

    def _ready(self) -> None:
        """Wait for the next request."""
        self._phase = HEAD
        self._progress = True
        self._advance()

    def _reject(self, error: ErrorResponse) -> None:
        self._keep = False
        if self._exchange is not None:
            self._exchange.reject(error)
        else:
            self._end()

    def _refuse(self, error: ErrorResponse) -> None:
        """Answer with an error before there is an exchange, and close."""
        self._owner.refused(error, self._peer)
        self._keep = False
        self.write(error_answer(*self._owner.render(error, None), error.status))
        self._linger()

    def _end(self) -> None:
        """Close where the client sends nothing more, or where TLS has no half-close and nothing is due; else linger."""
        if self._phase is TUNNEL:
            self._pending = b""
        due = self._body is not None or bool(self._pending)
        if due or (self.half_closes and not self._said_all):
            self._linger()
        else:
            self._close()

    def _client_left(self) -> None:
        """Cancel the exchange."""
        exchange, self._exchange = self._exchange, None
        self._sink = None
        if exchange is not None:
            exchange.client_gone(self._ended_by)

    def _end_tunnel_reading(self) -> None:
        """Pass on what is pending, also to an upstream that is slow, and that the client sends no more."""
        self._said_all = True
        self._body_paused = False
        self._advance()
        if self._sink is not None:
            self._sink.body_end()

    def _set_blocked(self, *, blocked: bool) -> None:
        self._blocked = blocked
        if self._transport is not None:
            self._unsent = self._transport.get_write_buffer_size()
        self._update(restart=True)
        if self._exchange is not None and self._exchange.relay is not None:
            self._exchange.relay.pause_upstream(paused=blocked)
