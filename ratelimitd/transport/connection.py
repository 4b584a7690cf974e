"""A connection of the nghttp2 transport: an asyncio protocol around a sans-IO session."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Final, NamedTuple, cast

from ratelimitd.net.turns import Turns

from ._nghttp2 import FLUSH_BYTES, ServerState, ServingSession, StreamingCall
from .api import GrpcStatus, StreamHandler
from .lifetime import Action, Lifetime, LifetimeLimits, LifetimePhase, Observed
from .stream_places import GAVE_WAY, StreamPlaces
from .streams import ServerStream

STREAM_FRAMES: Final = 64
"""Frames that a streaming call costs: its task, and the end of the call that gives way for it, take as long as so many
frames. A new connection may begin 34 at once, and 160 per second; a client of health checks begins one for each
connection."""

PIECE_BYTES: Final = 64 << 10
"""Bytes that are decoded at once. A read may have 256 KiB, with a thousand calls or more: 2 to 5 ms to decode them."""

SERVING: Final = LifetimePhase.SERVING
NOTICE_SENT: Final = LifetimePhase.NOTICE_SENT
CLOSING: Final = LifetimePhase.CLOSING
"""Looked at in each read; a member of an enum costs ten times as much to find as a global."""

UNWANTED_BYTES: Final = 1 << 20
"""Bytes that are read and dropped after the last GOAWAY: what was in flight then, and no flood; CONNECTION_WINDOW."""


class ConnectionContext(NamedTuple):
    """State and callbacks that the connections of a server share.

    Attributes:
        admit: accepts a new connection, or returns False; checks the certificates of TLS clients.
        lost: called when a connection is lost.
        limits: returns the limits of a new connection; the age is different for each.
        turns: connections with calls that wait, and streams with messages.
        places: the streaming calls.
    """

    loop: asyncio.AbstractEventLoop
    server: ServerState
    admit: Callable[[asyncio.Transport], bool]
    lost: "Callable[[GrpcConnection], None]"
    limits: Callable[[], LifetimeLimits]
    turns: Turns
    places: "StreamPlaces[GrpcConnection, ServerStream]"


class GrpcConnection(asyncio.Protocol):
    """Gives received data and turns to the session, which passes calls to their handlers; writes what it returns."""

    def __init__(self, context: ConnectionContext) -> None:
        self._context = context
        self._turns = context.turns
        self._clock = context.loop.time
        self._last_received = self._clock()
        now = int(self._last_received * 1_000_000)
        self._session = ServingSession(context.server, self._schedule_flush, now, self._report)
        self._lifetime = Lifetime(context.limits(), self._last_received)
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._unwanted = 0
        self._tasks: dict[ServerStream, asyncio.Task[None]] = {}
        self._pieces: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send SETTINGS, or abort a connection that is not admitted."""
        connected = cast("asyncio.Transport", transport)
        if not self._context.admit(connected):
            connected.abort()
            return
        self._transport = connected
        self._write = connected.write
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """Cancel all remaining calls."""
        self._transport = None
        self._forget()
        self._context.lost(self)
        self._session.close()
        self._dispatch_stream_events()

    def data_received(self, data: bytes) -> None:
        """Pass the calls that one read completed to their handlers, a batch per method; write all responses at once.

        If they cost more than this connection's share of a turn, the others wait, and nothing is read meanwhile.
        """
        session, turns = self._session, self._turns
        waits = self._pieces or session.waits or self._paused
        if waits or len(data) > PIECE_BYTES or self._lifetime.phase is not SERVING:
            self._receive(data)
            return
        self._last_received = now = self._clock()
        share = turns.share
        turns.spend(session.turn(data, now, share, self._write))
        if not session.settled:
            self._wait(share)
            self.flush()

    def _receive(self, data: bytes) -> None:
        """Receive what cannot be decoded at once, or must not be written at once."""
        if self._lifetime.phase is CLOSING:
            self._drop(len(data))
            return
        self._last_received = self._clock()
        waited = self.waits
        self._pieces += (data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))
        if not waited:
            share = self._turns.share
            self._turns.spend(self._take(share))
            self._wait(share)
        self.flush()

    def _wait(self, share: int) -> None:
        """Wait for a turn if the share of this one was not enough, read nothing meanwhile, and see to the streams."""
        if self.waits:
            self._turns.add(self, served=share > 0)
            self._pause_or_resume_reading()
        if self._session.has_stream_events:
            self._dispatch_stream_events()

    def _drop(self, received: int) -> None:
        """Stop reading what is not wanted: the client can still read what was written, until the lifetime ends."""
        self._unwanted += received
        self._pause_or_resume_reading()

    def _forget(self) -> None:
        """Drop what waits: no response to it could be sent."""
        self._pieces.clear()
        self._session.drop()

    @property
    def waits(self) -> bool:
        """Whether calls wait for their turn, or bytes that may have some."""
        return self._session.waits or len(self._pieces) > 0

    @property
    def asked(self) -> bool:
        """Whether a call came."""
        return self._session.asked

    @property
    def idle_since(self) -> float | None:
        """Time of the last call; None while one is in flight."""
        return None if self.waits or self._session.in_flight else self._session.last_call

    def serve(self, room: int) -> int:
        """Decode and serve calls that wait until they cost ``room`` or more; return their cost."""
        cost = self._take(room)
        self.flush()
        if not self.waits:
            self._pause_or_resume_reading()
        return cost

    def _take(self, room: int) -> int:
        """Decode and serve what waits until it costs ``room`` or more; return the cost."""
        session, spent = self._session, 0
        while spent < room and self.waits:
            if session.waits:
                spent += session.serve(room - spent)
            else:
                spent += session.read(self._pieces.popleft(), self._clock())
        return spent

    def flush(self) -> None:
        """Write the session's output, unless the transport's write buffer is full."""
        session, transport = self._session, self._transport
        while transport is not None and not self._paused:
            out = session.flush()
            if out:
                transport.write(out)
            if len(out) < FLUSH_BYTES:
                break
        if not session.settled or self._lifetime.phase is not SERVING:
            self._follow_up()

    def _follow_up(self) -> None:
        """Do what a flush leaves: events of streams, the end of the connection, the GOAWAY of a drain."""
        session = self._session
        if session.has_stream_events:
            self._dispatch_stream_events()
        if session.done:
            self._half_close()
        elif self._lifetime.phase is NOTICE_SENT:
            self._perform(self._lifetime.after_notice(self._last_received, pong=session.pong))

    def pause_writing(self) -> None:
        """Pause reading too: a client that does not read its responses must not queue more of them."""
        self._paused = True
        self._pause_or_resume_reading()

    def resume_writing(self) -> None:
        """Resume reading and writing."""
        self._paused = False
        self._pause_or_resume_reading()
        self.flush()

    def _pause_or_resume_reading(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._paused or self.waits or self._unwanted > UNWANTED_BYTES:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    @property
    def unread(self) -> int:
        """Bytes of responses that this process holds because the client does not read them."""
        return 0 if self._transport is None else self._session.unsent + self._transport.get_write_buffer_size()

    def drain(self, grace: float) -> None:
        """Accept no new call; calls in flight have ``grace`` seconds to complete."""
        self._perform(self._lifetime.drain(self._clock(), grace))

    def step(self) -> None:
        """Perform the actions that are due by now."""
        if self._session.end_late(int(self._clock() * 1_000_000)) or self._session.call_dropped:
            self.flush()
        if self._transport is not None:
            self._perform(self._lifetime.step(self._observed(self._transport), self._clock()))

    def abort(self) -> None:
        """Close the connection immediately."""
        if self._transport is not None:
            self._transport.abort()

    def _observed(self, transport: asyncio.Transport) -> Observed:
        session = self._session
        unread = transport.get_write_buffer_size() + _unacknowledged(transport)
        return Observed(
            last_received=self._last_received,
            settings_received=session.settings_received,
            in_flight=session.in_flight,
            pong=session.pong,
            blocked=self._paused or session.unsent > 0,
            unread=unread > 0,
            progress=(session.sent, unread),
        )

    def _perform(self, action: Action) -> None:
        if action is Action.NOTICE:
            self._session.shutdown_notice()
        elif action is Action.GOAWAY:
            self._session.goaway()
        elif action is Action.ABORT:
            self.abort()

    def _schedule_flush(self) -> None:
        self._context.loop.call_soon(self.flush)

    def _half_close(self) -> None:
        """Close the write side and let the client close the connection, or the lifetime end it.

        A full close while the client still writes would discard the data that the client has not read yet. TLS has no
        half-close, and asyncio's ``close`` would decrypt and drop whatever the client sends until it answers.
        """
        if self._transport is None or self._lifetime.phase is CLOSING:
            return
        self._lifetime.close(self._clock())
        self._forget()
        self._session.close()
        self._dispatch_stream_events()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _dispatch_stream_events(self) -> None:
        for handler, call in self._session.take_opened():
            self._start_stream(handler, call)
        for stream in self._session.take_notified():
            if not stream.notify() and stream in self._tasks:
                self._tasks[stream].cancel()

    def _start_stream(self, handler: StreamHandler, call: StreamingCall) -> None:
        stream = ServerStream(call, self._turns)
        task = self._context.loop.create_task(stream.serve(handler))
        self._tasks[stream] = task
        self._session.charge(STREAM_FRAMES)
        loser = self._context.places.take(self, stream)
        if loser is not None:
            loser[0].end(loser[1])

        def ended(task: "asyncio.Task[None]") -> None:
            del self._tasks[stream]
            self._context.places.leave(self, stream)
            stream.close(GrpcStatus.CANCELLED, "cancelled")
            if not task.cancelled() and (error := task.exception()) is not None:
                self._report(error)

        task.add_done_callback(ended)

    def end(self, stream: ServerStream) -> None:
        """End a streaming call whose place another one has taken."""
        stream.close(GrpcStatus.RESOURCE_EXHAUSTED, GAVE_WAY)
        self._tasks[stream].cancel()

    def _report(self, error: BaseException) -> None:
        self._context.loop.call_exception_handler(
            {"message": "unhandled exception in a gRPC handler", "exception": error}
        )


def _unacknowledged(transport: asyncio.Transport) -> int:
    """Return the number of written bytes that the client's kernel has not acknowledged; 0 if the system cannot tell."""
    answer = bytearray(4)
    with suppress(OSError, AttributeError):
        ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, answer)
    return int.from_bytes(answer, sys.byteorder)
