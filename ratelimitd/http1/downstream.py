"""The connection of a client: requests one after the other, each answered before the next is parsed."""

import asyncio
from math import inf
from typing import cast

from ratelimitd.net.reset import reset_on_close

from .bodies import Body, BodyError, Counted, Discard, request_body
from .body_pace import BodyPace
from .exchange import Exchange
from .heads import take_request
from .interfaces import BodySink
from .lifecycle import BUSY, CLOSING, HEAD, LINGERING, TUNNEL, client_timeout
from .model import ErrorResponse, Framed, Peer, Request, peer_of
from .options import DRAIN_BYTES, HIGH_WATER, READ_BYTES, TURN
from .owner import Owner
from .responses import CONTINUE, Render, error_answer

_DISCARD = Discard()
_buffer = memoryview(bytearray(READ_BYTES))  # each read is copied out before the next; a process has one loop


class DownstreamConnection(asyncio.BufferedProtocol):
    """The connection of one client.

    Attributes:
        deadline: time of the loop at which ``expire`` is due.
        asked: whether a request came before.
    """

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop, *, secure: bool) -> None:
        self.asked = False
        self._owner = owner
        self._options = owner.options
        self._loop = loop
        self._scheme = "https" if secure else "http"
        self._transport: asyncio.Transport | None = None
        self._peer = Peer("", 0)
        self._phase = HEAD
        self._pending = b""  # read, and not used yet
        self._partial = bytearray()  # the beginning of a head that is not complete
        self._exchange: Exchange | None = None
        self._body: Body | None = None  # the part of the request body that is not read yet
        self._sink: BodySink | None = None
        self._body_paused = False
        self._pace = BodyPace()
        self._expects = False  # the client waits for 100
        self._keep = True
        self._blocked = False  # the client does not read, and the write buffer is full
        self._unsent = 0  # bytes in the write buffer when the client last read, or was checked
        self._reading = True
        self._advancing = False
        self._timeout = inf
        self._since = 0.0  # when the timeout began
        self._progress = False  # a part of what is waited for came
        self.deadline = inf

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

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 -- asyncio's signature
        """Return the buffer that all connections read into."""
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Use what was read."""
        data = bytes(_buffer[:nbytes])
        self._pending = self._pending + data if self._pending else data
        self._advance()

    def eof_received(self) -> bool:
        """Take a client that closes its sending side as gone, as Go and nginx do, except in a tunnel."""
        if self._phase is TUNNEL and self._sink is not None:
            self._sink.body_end()
            return self._phase is TUNNEL
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """Cancel the exchange."""
        self._transport = None
        self._owner.lost(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone("client closed the connection")

    def pause_writing(self) -> None:
        """Pause the upstream for a client that does not read."""
        self._set_blocked(blocked=True)

    def resume_writing(self) -> None:
        """Resume the upstream, and go on with what the client sent."""
        self._set_blocked(blocked=False)
        self._advance()

    # the server's side

    @property
    def idle_since(self) -> float | None:
        """Time since which the client is waited for: for a request, a part of one, or to read; None while it is not."""
        return None if self._timeout == inf else self._since

    def leave(self) -> None:
        """Close if idle; otherwise the next response is the last."""
        if self._phase is HEAD and not self._pending and not self._partial:
            self._close()

    def abort(self) -> None:
        """Close at once; drop what is not sent."""
        if self._transport is not None:
            self._transport.abort()

    def expire(self, now: float) -> None:
        """Act on the deadline: reject the request, or close the connection."""
        if self._blocked or self._phase is CLOSING:
            self._expire_sending()
        elif self._phase is HEAD and self._partial:
            self._refuse(ErrorResponse(408, "request head took too long"))
        elif self._phase is HEAD:
            self._close()
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

    def start_body(self, sink: BodySink) -> None:
        """Start to deliver the request body to a sink; answer ``Expect: 100-continue``."""
        self._sink = sink
        self._body_paused = False
        self._pace.start(self._options, self._loop.time())
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
        self._exchange = None
        self._sink = None
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
        if reset and self._transport is not None:
            reset_on_close(self._transport)
        if reset or not flush:
            self.abort()
            self._update()
        else:
            self._close()

    def switch(self, tunnel: BodySink) -> None:
        """Become a tunnel."""
        self._phase = TUNNEL
        self._sink = tunnel
        self._keep = False
        self._loop.call_soon(self._advance)  # early bytes of the client go after what is sent now

    def send_eof(self) -> None:
        """Close our sending side of the tunnel."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    # steps

    def _advance(self) -> None:
        """Use what was read, in ``TURN`` steps at most before other connections have theirs."""
        if self._advancing or self._transport is None:
            return
        self._advancing = True
        left = TURN
        try:
            while left and self._pending and self._step():
                left -= 1
        finally:
            self._advancing = False
        if not left:
            self._loop.call_soon(self._advance)
        self._update()

    def _step(self) -> bool:
        """Use a part of what was read. Returns whether more of it may be used now."""
        phase = self._phase
        if phase is HEAD:
            return not self._blocked and self._read_head()
        if phase is BUSY:
            return self._read_body()
        if phase is TUNNEL:
            return self._read_tunnel()
        self._pending = b""
        return False

    def _update(self, *, restart: bool = False) -> None:
        """Follow the state after an event: restart the deadline if need be; read only while nothing read is pending."""
        receiving = self._sink is not None and not self._body_paused
        begun = len(self._partial) > 0
        timeout = client_timeout(self._options, self._phase, self._blocked, self.asked, begun, receiving)
        if restart or timeout != self._timeout or (self._progress and not self._blocked):
            self._timeout, self._since = timeout, self._loop.time()
            due = self._pace.due if receiving and self._phase is BUSY and not self._blocked else inf
            self.deadline = min(self._since + timeout, due)
        self._progress = False
        wanted, transport = not self._pending, self._transport
        if wanted != self._reading and transport is not None and not transport.is_closing():
            self._reading = wanted
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def _read_head(self) -> bool:
        begun = bool(self._partial)
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

    def _begin(self, framed: Framed, request: Request) -> None:
        self._phase = BUSY
        self.asked = True
        self._keep = framed.keep_alive
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
        """Wait for the next request, or close if the server leaves."""
        self._phase = HEAD
        if self._owner.leaving:
            self._end()
            return
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
        if self._phase is TUNNEL or (self._body is None and not self._pending):
            self._close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Close our sending side and wait for the client to close: a reset could cost it the response."""
        transport = self._transport
        if transport is None or self._phase is LINGERING:
            return
        self._phase = LINGERING
        self._pending = b""
        self._body = None
        if transport.can_write_eof():
            transport.write_eof()
        self._update(restart=True)

    def _close(self) -> None:
        if self._transport is not None:
            self._phase = CLOSING
            self._pending = b""
            self._transport.close()
            self._update(restart=True)

    def _set_blocked(self, *, blocked: bool) -> None:
        self._blocked = blocked
        if self._transport is not None:
            self._unsent = self._transport.get_write_buffer_size()
        self._update(restart=True)
        if self._exchange is not None and self._exchange.relay is not None:
            self._exchange.relay.pause_upstream(paused=blocked)

    def _expire_sending(self) -> None:
        """Close at once if the client read nothing since the last check; otherwise check again later."""
        transport = self._transport
        unsent = transport.get_write_buffer_size() if transport is not None else 0
        if 0 < unsent < self._unsent:
            self._unsent = unsent
            self._update(restart=True)
        else:
            self.abort()
