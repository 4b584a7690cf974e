"""A connection to an endpoint: requests and their responses, one after the other, or a tunnel."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from typing import Protocol, cast

from .bodies import Body, BodyError, Endless, response_body
from .deadlines import SWEEP
from .framing import FramedResponse, grants_websocket
from .heads import take_response
from .interfaces import Listener, Requester, TunnelEnd
from .lifecycle import upstream_timeout
from .model import ErrorResponse, Headers, ResponseHead
from .options import HIGH_WATER, READ_BYTES, UpstreamOptions

MAX_INTERIM = 16
"""Responses 1xx before the final one; a few are usual, and an endless series is a fault."""
EXACT_BELOW = 10 * SWEEP
"""Seconds: a shorter response timeout has a timer of its own; the check of all deadlines may be a tenth of it late."""
TICK = 0.001
"""Seconds by which a timer of uvloop may be early."""
RESCUED_READS = 8
"""Reads after a failed write: 128 KiB, the size that Linux's receive buffer starts with."""
_STALE = "upstream closed the connection before it answered"


class Home(Protocol):
    """The pool that an upstream connection belongs to."""

    @property
    def options(self) -> UpstreamOptions:
        """The timeouts and bounds of the connection."""

    def settle(self, connection: "UpstreamConnection") -> None:
        """Take back a connection whose response is complete, and which may be used again.

        Called before ``Requester.end``. The home lets the connection ``rest``, begins another request on it, or closes
        it, before it returns.
        """

    def forget(self, connection: "UpstreamConnection") -> None:
        """Learn that a connection is closed. Called once, before its listener learns that it is lost."""


_buffer = memoryview(bytearray(READ_BYTES))  # each read is copied out before the next; a process has one loop


class UpstreamConnection(asyncio.BufferedProtocol):
    """A connection to an endpoint.

    Attributes:
        deadline: time of the loop at which ``expire`` is due.
        reused: it carried a request before.
        holder: set by the pool: what the connection is a share of; None while it is free.
    """

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        self._home = home
        self._options = home.options
        self._clock = loop.time
        self._loop = loop
        self._born = loop.time()
        self._transport: asyncio.Transport | None = None
        self._requester: Requester | None = None
        self._method = b""
        self._websocket = False
        self._response_timeout = self._options.response_timeout
        self._tunnel: TunnelEnd | None = None
        self._body: Body | None = None
        self._partial = bytearray()  # of a head that is not complete
        self._heard = False
        self._complete = False  # the request was sent to its end
        self._choked = False  # the upstream does not read, and the write buffer is full
        self._keep = False
        self._interims = 0
        self._paused = False
        self._idle = False
        self.deadline = inf
        self.reused = False
        self.holder: str | None = None

    def __repr__(self) -> str:
        states = {"idle": self._idle, "tunnel": self._tunnel, "in use": self._requester, "paused": self._paused}
        state = ", ".join([name for name, holds in states.items() if holds]) or "not in use"
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return f"<UpstreamConnection: {state}, {unsent} unsent>"

    # a requester's side

    def begin(
        self,
        requester: Requester,
        method: bytes,
        head: bytes,
        *,
        websocket: bool,
        response_timeout: float | None = None,
    ) -> None:
        """Send the head of a request.

        Args:
            requester: gets the response.
            method: of the request.
            head: as sent.
            websocket: a 101 may make the connection a tunnel.
            response_timeout: overrides that of the upstream.
        """
        self._requester = requester
        self._method = method
        self._websocket = websocket
        self._response_timeout = response_timeout or self._options.response_timeout
        self._body = None
        self._idle = self._heard = self._complete = False
        self._interims = 0
        self.deadline = inf  # until the request is complete, or the upstream does not read it
        if self._transport is not None:
            self._transport.write(head)

    def send(self, data: bytes) -> None:
        """Send bytes that follow the head."""
        if self._transport is not None:
            self._transport.write(data)
            if self._tunnel is not None or self._body is not None:
                self._restart()

    def complete(self) -> None:
        """Learn that the request was sent to its end: from now on the response is waited for."""
        self._complete = True
        self._restart()

    def pause(self, *, paused: bool) -> None:
        """Pause or resume reading."""
        if self._transport is None or paused == self._paused:
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
        self._restart()

    @property
    def half_closes(self) -> bool:
        """Whether one direction of a tunnel can be closed before the other, which TLS does not do here."""
        return self._transport is not None and self._transport.can_write_eof()

    def send_eof(self) -> None:
        """Close our sending side of the tunnel."""
        if self._transport is not None:
            with suppress(OSError):  # the upstream reset the connection, which is not read yet
                self._transport.write_eof()

    def abort(self) -> None:
        """Close at once. The listener is not called again."""
        self._requester = self._tunnel = None
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close when what was written is sent. The listener is not called again."""
        self._requester = self._tunnel = None
        if self._transport is not None:
            self._transport.close()
            self._paused = False  # or what is not sent would have no deadline
            self._restart()

    # the home's side

    @property
    def open(self) -> bool:
        """Whether it can be written to, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def usable(self) -> bool:
        """Whether it is open, and young enough for another request."""
        transport, lifetime = self._transport, self._options.lifetime
        if transport is None or transport.is_closing():
            return False
        return lifetime is None or self._clock() < self._born + lifetime

    def rest(self) -> None:
        """Become idle, until ``begin`` or the idle timeout."""
        self._idle = True
        self._restart()

    def expire(self, now: float) -> None:  # noqa: ARG002 -- a Timed
        """Close: nothing came in time."""
        if self._tunnel is not None:
            self._fail(ErrorResponse(504, "tunnel was idle"))
        elif self._requester is None:
            self.abort()
        elif self._heard:
            self._fail(ErrorResponse(504, "upstream did not go on in time"))
        else:
            reason = "upstream did not answer" if self._complete else "upstream did not read the request"
            self._fail(ErrorResponse(504, reason), unheard=self._complete)

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the write buffer's bound, for an upstream that does not read."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 -- asyncio's signature
        """Return the buffer that all upstream connections read into."""
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Use what was read."""
        self._received(bytes(_buffer[:nbytes]))

    def _received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.data(data)
        elif self._requester is None:
            self.abort()  # bytes without a request
        elif self._body is None:
            self._heard = True
            self._read_heads(data)
        else:
            self._read_body(data)
        if self._tunnel is not None or (self._body is not None and not self._idle):  # a head does not extend its time
            self._restart()

    def eof_received(self) -> bool:
        """Keep a tunnel open for the other direction, if the tunnel does."""
        if self._tunnel is None:
            return False
        self._tunnel.eof()
        return self._tunnel is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the listener; for a body that ends with its connection it is the end, not a failure."""
        transport, self._transport = self._transport, None
        self._home.forget(self)
        if exc is not None and self._requester is not None and not self._paused and transport is not None:
            for data in _left_in(transport):
                self._received(data)
        requester, listener = self._requester, self._listener
        self._requester = self._tunnel = None
        if requester is not None and isinstance(self._body, Endless) and exc is None:
            requester.end([])
        elif listener is not None:
            reason = "upstream closed the connection too early" if self._heard else _STALE
            listener.lost(ErrorResponse(502, reason), unheard=not self._heard)

    def pause_writing(self) -> None:
        """Tell the listener that the write buffer is full."""
        self._set_choked(choked=True)

    def resume_writing(self) -> None:
        """Tell the listener that the write buffer has room again."""
        self._set_choked(choked=False)

    # reading

    def _read_heads(self, data: bytes) -> None:
        """Read the head of the response, and the interim heads before it."""
        while self._requester is not None:
            taken = take_response(self._partial, data, self._method, self._options.max_head)
            if taken is None:
                return
            if isinstance(taken, ErrorResponse):
                self._fail(taken)
                return
            head, framed, data = taken
            if head.status >= 200:
                self._begin_response(head, framed, data)
                return
            if head.status == 101:
                self._switch(head, data)
                return
            self._pass_interim(head)

    def _pass_interim(self, head: ResponseHead) -> None:
        self._interims += 1
        if self._interims > MAX_INTERIM:
            self._fail(ErrorResponse(502, "response: too many of status 1xx"))
        elif self._requester is not None:
            self._requester.interim(head)

    def _begin_response(self, head: ResponseHead, framed: FramedResponse, data: bytes) -> None:
        if self._requester is not None:
            length, self._keep = framed
            self._body = response_body(length)
            self._requester.response(head, length)
            self._read_body(data)

    def _switch(self, head: ResponseHead, data: bytes) -> None:
        if not self._websocket or not grants_websocket(head):
            self._fail(ErrorResponse(502, "response: unsolicited 101"))
        elif self._requester is not None:
            self._tunnel = tunnel = self._requester.switched(head)
            self._requester = None
            if data:
                tunnel.data(data)

    def _read_body(self, data: bytes) -> None:
        requester, body = self._requester, self._body
        if requester is None or body is None:
            return
        try:
            piece, rest = body.feed(data)
        except BodyError as error:
            self._fail(ErrorResponse(502, f"response: {error}"))
            return
        if piece:
            requester.data(piece)
            if self._requester is not requester:
                return
        if body.done:
            self._end(requester, body.trailers, rest)
        else:
            requester.read()

    def _end(self, requester: Requester, trailers: Headers, rest: bytes) -> None:
        """Settle before ``end`` is called, so that a request that it lets begin finds this connection."""
        self._requester = None
        self.reused = True
        if self._keep and self._complete and not rest and not self._choked and self.usable:
            if self._paused:
                self.pause(paused=False)
            self._home.settle(self)
        else:
            self.close()
        requester.end(trailers)

    def _fail(self, error: ErrorResponse, *, unheard: bool = False) -> None:
        listener = self._listener
        self.abort()
        if listener is not None:
            listener.lost(error, unheard=unheard)

    @property
    def _listener(self) -> Listener | None:
        return self._tunnel or self._requester

    def _set_choked(self, *, choked: bool) -> None:
        self._choked = choked
        if not self._complete:
            self._restart()
        if (listener := self._listener) is not None:
            listener.writing_paused(paused=choked)

    def _restart(self) -> None:
        """Restart the deadline, with the timeout of the state."""
        tunnel, receiving = self._tunnel is not None, self._body is not None
        uploading = not (self._complete or self._choked)
        timeout = upstream_timeout(
            self._options, self._response_timeout, self._idle, self._paused, tunnel, receiving, uploading
        )
        self.deadline = self._clock() + timeout
        if timeout < EXACT_BELOW and not (self._idle or tunnel or receiving):
            self._loop.call_at(self.deadline + TICK, self._due)

    def _due(self) -> None:
        """Act on the deadline that a timer was set for, unless it was restarted since."""
        now = self._clock()
        if self._transport is not None and self.deadline <= now:
            self.expire(now)


def _left_in(transport: asyncio.Transport) -> Iterator[bytes]:
    """Read what the kernel received before a reset, if the transport has no TLS.

    An upstream that responds early and closes with a part of the request unread resets the connection. The loop reports
    the failed write first; the response is still in the receive buffer. Its end cannot be told from the reset.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None:
        return
    with suppress(OSError):
        for _ in range(RESCUED_READS):
            if not (data := os.read(sock.fileno(), READ_BYTES)):
                return
            yield data
