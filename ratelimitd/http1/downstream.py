"""A client's connection: one request after the other, each answered before the next is looked at."""

import asyncio
import socket
import struct
from math import inf
from typing import cast

from .bodies import Body, BodyError, Counted, Discard, request_body
from .exchange import Exchange
from .heads import take_request
from .interfaces import BodySink
from .lifecycle import BUSY, CLOSING, HEAD, LINGERING, TUNNEL, client_timeout
from .model import ErrorResponse, Framed, Headers, Peer, Request
from .options import DRAIN_BYTES, HIGH_WATER, READ_BYTES, TURN
from .owner import Owner
from .responses import CONTINUE, Render, error_answer

_DISCARD = Discard()
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time
_buffer = memoryview(bytearray(READ_BYTES))  # each read is copied out before the next; a process has one loop


class DownstreamConnection(asyncio.BufferedProtocol):
    """One client.

    Attributes:
        deadline: when ``expire`` is due.
    """

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop, *, secure: bool) -> None:
        self._owner = owner
        self._options = owner.options
        self._loop = loop
        self._scheme = "https" if secure else "http"
        self._transport: asyncio.Transport | None = None
        self._peer = Peer("", 0)
        self._admitted = False
        self._phase = HEAD
        self._pending = b""  # read, and not yet for anybody
        self._partial = bytearray()  # of a head that is not complete
        self._served = False  # a request came before
        self._exchange: Exchange | None = None
        self._body: Body | None = None  # what is not read of the request's
        self._sink: BodySink | None = None
        self._body_paused = False
        self._expects = False  # the client waits for 100
        self._keep = True
        self._blocked = False  # the client does not read, and the write buffer is full
        self._unsent = 0  # when it last was looked at
        self._reading = True
        self._advancing = False
        self._timeout = inf
        self._progress = False  # since the deadline was set
        self.deadline = inf

    def __repr__(self) -> str:
        states = {"partial head": self._partial, "blocked": self._blocked, "not reading": not self._reading}
        state = ", ".join([self._phase.name, *(name for name, holds in states.items() if holds)])
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return f"<DownstreamConnection {self._peer.address}: {state}, {unsent} unsent>"

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for a request, or turn the client away."""
        self._transport = connected = cast("asyncio.Transport", transport)
        connected.set_write_buffer_limits(high=HIGH_WATER)
        name = connected.get_extra_info("peername")
        self._peer = Peer(name[0], name[1]) if isinstance(name, tuple) else Peer("", 0)
        if reason := self._owner.admit(self._peer):
            self._refuse(ErrorResponse(503, reason))
            self._close()  # nobody would look after it while it lingers
            return
        self._admitted = True
        self._owner.joined(self, self._peer)
        self._update()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 -- asyncio's signature
        """Lend the buffer all connections read into."""
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Do what can be done with what came."""
        data = bytes(_buffer[:nbytes])
        self._pending = self._pending + data if self._pending else data
        self._advance()

    def eof_received(self) -> bool:
        """Take it that a client that closes its side is gone, as Go and nginx do; but not in a tunnel."""
        if self._phase is TUNNEL and self._sink is not None:
            self._sink.body_end([])
            return self._phase is TUNNEL
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """Let go of what was done for the client."""
        self._transport = None
        if self._admitted:
            self._owner.lost(self, self._peer)
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

    def leave(self) -> None:
        """Close now where idle; else the next answer is the last."""
        if self._phase is HEAD and not self._pending and not self._partial:
            self._close()

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def expire(self, now: float) -> None:  # noqa: ARG002 -- a Timed
        """Do what the deadline is for."""
        if self._blocked or self._phase is CLOSING:
            self._expire_sending()
        elif self._phase is HEAD and self._partial:
            self._refuse(ErrorResponse(408, "request head took too long"))
        elif self._phase is HEAD:
            self._close()
        elif self._exchange is not None:
            self._exchange.reject(ErrorResponse(408, "request body took too long"))
        else:
            self.abort()

    # the exchange's side

    @property
    def render(self) -> Render:
        """Makes refusals."""
        return self._owner.render

    def keeps(self, *, able: bool = True) -> bool:
        """Settle whether the connection goes on after the answer whose head is being written."""
        body = self._body
        if body is not None:  # a client that waits for 100 may send what is left or not
            able = able and isinstance(body, Counted) and body.left <= DRAIN_BYTES and not self._expects
        self._keep = self._keep and able and not self._owner.leaving
        return self._keep

    def write(self, data: bytes) -> None:
        """Send it."""
        if self._transport is not None:
            self._transport.write(data)

    def start_body(self, sink: BodySink) -> None:
        """Start to deliver the request body to a sink; answer ``Expect: 100-continue``."""
        self._sink = sink
        self._body_paused = False
        if self._expects:
            self._expects = False
            self.write(CONTINUE)
        self._progress = True
        self._advance()

    def pause_body(self, *, paused: bool) -> None:
        """Pause or resume delivery of the request body to the sink."""
        self._body_paused = paused
        self._advance()

    def finished(self) -> None:
        """Go on to the next request, or end."""
        self._exchange = None
        self._sink = None
        if not self._keep:
            self._end()
        elif self._body is not None:
            self.start_body(_DISCARD)
        else:
            self._ready()

    def truncate(self, *, reset: bool, flush: bool = True) -> None:
        """End in the middle of an answer."""
        self._exchange = None
        self._sink = None
        if reset and self._transport is not None:
            _reset_on_close(self._transport)
        if reset or not flush:
            self.abort()
            self._update()
        else:
            self._close()

    def switch(self, tunnel: BodySink) -> None:
        """Be a tunnel."""
        self._phase = TUNNEL
        self._sink = tunnel
        self._keep = False
        self._loop.call_soon(self._advance)  # what the client sent early comes after what is being said now

    def send_eof(self) -> None:
        """End this side of the tunnel."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    # steps

    def _advance(self) -> None:
        """Go as far as what was read allows, but not so far that others wait."""
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
        """Use some of what was read; returns whether more of it may be used now."""
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
        """Adapt to the state after an event: restart the deadline, and read on only where what was read is gone."""
        receiving = self._sink is not None and not self._body_paused
        begun = len(self._partial) > 0
        timeout = client_timeout(self._options, self._phase, self._blocked, self._served, begun, receiving)
        if restart or timeout != self._timeout or (self._progress and not self._blocked):
            self._timeout = timeout
            self.deadline = inf if timeout == inf else self._loop.time() + timeout
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
        head, framed, self._pending = taken
        self._begin(framed, Request(head, framed, self._peer, self._scheme))
        return True

    def _begin(self, framed: Framed, request: Request) -> None:
        self._phase = BUSY
        self._served = True
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
            self._end_body(sink, body.trailers)
        return True

    def _deliver(self, sink: BodySink, piece: bytes) -> bool:
        """Give a piece of the body to its sink, unless it has become too large."""
        exchange = self._exchange
        if exchange is not None:
            exchange.received += len(piece)
            if exchange.received > self._options.max_body:
                self._reject(ErrorResponse(413, "request body is too large"))
                return False
        self._progress = True
        sink.body(piece)
        return True

    def _end_body(self, sink: BodySink, trailers: Headers) -> None:
        self._sink = None
        sink.body_end(trailers)
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
        """Be ready for the next request."""
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
        """Answer what never became a request, and end."""
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
        """Close our side and let the client close its own: a reset would take the answer from it."""
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
        """End it where the client took nothing since the last look."""
        transport = self._transport
        unsent = transport.get_write_buffer_size() if transport is not None else 0
        if 0 < unsent < self._unsent:
            self._unsent = unsent
            self._update(restart=True)
        else:
            self.abort()


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Make a connection end with a reset, where its end would be taken for the end of a body."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
