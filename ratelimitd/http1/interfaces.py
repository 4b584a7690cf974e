"""The Protocols by which the parts of this room call each other. A method's docstring says when it may be called.

All calls are made on the event loop and do not wait. A call is re-entrant where it may be made while another call to
the same object has not returned; only calls that say so are.
"""

from collections.abc import Callable
from typing import Protocol

from .model import Endpoint, ErrorResponse, Headers, Request, ResponseHead
from .responses import Render


class BodySink(Protocol):
    """Takes the body of a request, or what a client sends through a tunnel."""

    def body(self, piece: bytes) -> None:
        """Take a piece, which is not empty.

        Called after ``Client.start_body`` or ``Client.switch``, and neither while ``Client.pause_body`` holds nor after
        ``Carrier.cancel``. The sink may pause delivery or end the exchange before it returns. When the client of a
        tunnel sends no more, the last piece comes in spite of a pause.
        """

    def body_end(self) -> None:
        """Learn that the body is complete; in a tunnel, that the client sends no more. Its trailers are dropped.

        Called once, after the last piece. Not called for a body that is malformed, too large, too late or cut off:
        ``Carrier.cancel`` is called instead, if the sink belongs to a carrier.
        """


class Carrier(Protocol):
    """Works on an exchange that is not answered at once: a relay, a tunnel, a streamed response, a body's collector."""

    def cancel(self) -> None:
        """Release what the carrier uses: the client left, or the request was rejected after its head.

        Called once at most, and not after the carrier ended the exchange; re-entrant where the carrier itself rejects
        the request. The carrier makes no call to the exchange or its client in return, now or later.
        """

    def pause_upstream(self, *, paused: bool) -> None:
        """Pause or resume the upstream or other source, as the client's write buffer is full or has room again.

        Re-entrant: ``Client.write`` may call it before it returns. Not called after the exchange ended.
        """


class Client(Protocol):
    """A client's connection, as the exchange on it and the exchange's carrier use it.

    An exchange ends with exactly one of ``finished`` and ``truncate``, unless the client leaves first; none of these
    methods is called for it after that. When the client left, what is written is dropped.
    """

    @property
    def render(self) -> Render:
        """The function that makes headers and body of an error response."""

    @property
    def half_closes(self) -> bool:
        """Whether ``send_eof`` may be called; not over TLS."""

    def keeps(self, *, able: bool = True) -> bool:
        """Decide whether the connection persists after this response; ``able``: its framing allows that.

        Called before the head of a response is written, which has to say so. Once it returned False, it always does.
        """

    def write(self, data: bytes) -> None:
        """Send a part of the response. May call ``Carrier.pause_upstream`` before it returns."""

    def when_sent(self, call: Callable[[], None]) -> None:
        """Call this once: when all that was written is with the system, or dropped since the client is gone.

        Called once at most for an exchange, at its end, also if the client left. May call it before it returns. The
        next request is not read before it was called.
        """

    def start_body(self, sink: BodySink) -> None:
        """Start to deliver the body of the request to ``sink``; answers ``Expect: 100-continue`` first.

        Called once at most, for a request that has a body. What was read of the body already is delivered before this
        returns, unless it is called by the handler: then after the handler returned.
        """

    def pause_body(self, *, paused: bool) -> None:
        """Pause or resume delivery to the sink.

        Called at any time until the exchange ends, also by the sink while it takes a piece. It holds for this exchange
        alone, and what was paused before ``start_body`` or ``switch`` is paused after it. Resumed delivery may begin
        before this returns.
        """

    def finished(self) -> None:
        """Learn that the response was written to its end: go on to the next request, or close.

        Called once, last. The handler may get the next request before this returns, if it was read already.
        """

    def truncate(self, *, reset: bool, flush: bool = True) -> None:
        """End the connection in the middle of a response; ``reset`` where only a reset shows that it is incomplete.

        Called once, last, in place of ``finished``. With ``reset``, or without ``flush``, what was not sent is dropped.
        """

    def switch(self, tunnel: BodySink) -> None:
        """Become a tunnel: what the client sends goes to ``tunnel``.

        Called once, after the head of the 101 was written. What the client sent early is delivered in a later turn of
        the loop.
        """

    def send_eof(self) -> None:
        """Close our sending side of a tunnel. Called once at most, after ``switch``, if the connection half-closes."""


class ExchangeInterface(Protocol):
    """An exchange, as its carrier uses it.

    Attributes:
        request: the request to carry.
        client: the connection it came on.
        relay: the carrier; a tunnel replaces the relay that made it.
        status: of the response whose head is sent, 0 before; this and the following are those of ``Summary``.
    """

    request: Request
    client: Client
    relay: Carrier | None
    status: int
    sent: int
    first_byte: int
    endpoint: Endpoint | None
    retried: bool
    error: str
    cut: str

    def refuse(self, error: ErrorResponse, headers: Headers | None = None) -> None:
        """Answer with an error response, or break off if a head was written. Ends the exchange."""

    def finish(self) -> None:
        """End the exchange after its response was written to its end. Called once, in place of the other two."""

    def break_off(self, *, reset: bool = False) -> None:
        """End the exchange, and its connection visibly so, in the middle of the response; see ``Client.truncate``."""


class Listener(Protocol):
    """Hears what comes on an upstream connection, from ``begin`` on, until it calls ``abort`` or ``close``."""

    def data(self, piece: bytes) -> None:
        """Take a piece of the response's body, or of a tunnel; it is not empty.

        The listener may pause, abort or close the connection before it returns.
        """

    def lost(self, error: ErrorResponse, *, unheard: bool) -> None:
        """Learn that the response failed: 504 in time, 502 otherwise.

        ``unheard``: no byte of it had come, on a connection that was closed or, with a complete request, silent.

        Called once, in place of ``Requester.end``. The connection is closed or about to be, and no longer the
        listener's. The listener may take another connection before it returns.
        """

    def writing_paused(self, *, paused: bool) -> None:
        """Learn that the connection's write buffer is full, or has room again.

        Re-entrant: the connection's ``begin`` and ``send`` may call it before they return.
        """


class TunnelEnd(Listener, Protocol):
    """The listener of a tunnel."""

    def eof(self) -> None:
        """Learn that the upstream sends no more. Called once at most; the other direction stays open."""


class Requester(Listener, Protocol):
    """The listener that sent a request.

    The calls are, in this order: ``interim`` any number of times up to a bound; ``response``; ``data`` and ``read`` for
    each read; ``end``. ``switched`` may come in place of ``response``, and ``lost`` in place of any.
    """

    def interim(self, head: ResponseHead) -> None:
        """Take a response 1xx, other than the 101 of a tunnel."""

    def response(self, head: ResponseHead, length: int) -> None:
        """Take the head of the response; ``length`` is its body's in bytes, ``CHUNKED`` or ``UNTIL_CLOSE``."""

    def read(self) -> None:
        """Learn that all pieces of one read were given, so that they can be written as one.

        Called after each read that does not end the response, also after one that brought no piece.
        """

    def end(self, trailers: Headers) -> None:
        """Learn that the response is complete. Called once.

        The connection is no longer the requester's. ``Home.settle`` (or ``Home.forget``, where the end of the
        connection ended the body) was called before, so that a request which this call lets begin finds the
        connection idle; it may carry another request already.
        """

    def switched(self, head: ResponseHead) -> TunnelEnd:
        """Return the listener of the tunnel that the 101 with this ``head`` grants.

        Called once, if ``begin`` was told that the request asks for a tunnel. The requester is not called again.
        """
