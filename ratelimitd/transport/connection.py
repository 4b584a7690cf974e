"""One connection of the fast transport: asyncio's protocol around a sans-IO session."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import NamedTuple, Protocol, cast

from ._nghttp2 import FLUSH_BYTES, Service, Session
from .api import Call, Status, StreamHandler
from .lifetime import Action, Lifetime, Limits, Observed, Phase
from .streams import Pipe, ServerStream


class Answerable(Call, Protocol):
    """A call that knows whether it was answered."""

    @property
    def answered(self) -> bool:
        """Nothing more can be said to the caller."""


class Owner(NamedTuple):
    """What the connections of one server share.

    Attributes:
        admit: takes a new connection in or, with False, does not; TLS peers are judged here.
        lost: an admitted connection is gone.
        limits: of a new connection; the age differs from one to the next.
    """

    loop: asyncio.AbstractEventLoop
    service: Service
    admit: "Callable[[Connection, asyncio.Transport], bool]"
    lost: "Callable[[Connection], None]"
    limits: Callable[[], Limits]


class Connection(asyncio.Protocol):
    """Feeds the session what arrives, serves the calls it completes, writes what it answers."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._clock = owner.loop.time
        self._session = Session(owner.service, self._wake, int(self._clock() * 1_000_000))
        self._heard = self._clock()
        self._life = Lifetime(owner.limits(), self._heard)
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._tasks: dict[ServerStream, asyncio.Task[None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet with SETTINGS, or close at once."""
        connected = cast("asyncio.Transport", transport)
        if not self._owner.admit(self, connected):
            connected.abort()
            return
        self._transport = connected
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Cancel every call that is left."""
        self._transport = None
        self._owner.lost(self)
        self._session.close()
        self._tell_streams()

    def data_received(self, data: bytes) -> None:
        """Serve the calls that one read completed, each method's as one list, and write their answers as one."""
        self._heard = self._clock()
        self._serve(data)
        if self._session.news:
            self._tell_streams()
        self.flush()

    def _serve(self, data: bytes) -> None:
        """On return no call is held here: one that its handler forgot is answered by the flush that follows."""
        for handler, calls in self._session.feed(data, int(self._heard * 1_000_000)):
            try:
                handler(calls)
            except Exception as error:  # noqa: BLE001 - the handler's fault is not the connection's
                self._report(error)
                _fail(calls)

    def flush(self) -> None:
        """Write what there is to say, as far as the caller reads."""
        session, transport = self._session, self._transport
        while transport is not None and not self._paused:
            out = session.flush()
            if out:
                transport.write(out)
            if len(out) < FLUSH_BYTES:
                break
        if session.news:
            self._tell_streams()
        if session.done:
            self._finish()
        elif self._life.phase is Phase.NOTICED:
            self._do(self._life.turn(self._heard, pong=session.pong))

    def pause_writing(self) -> None:
        """The caller does not read: neither do we, so that nothing more gathers for it."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The caller reads again."""
        self._paused = False
        if self._transport is not None:
            self._transport.resume_reading()
        self.flush()

    def leave(self, grace: float) -> None:
        """Drain: nothing new, ``grace`` seconds for calls in flight."""
        self._do(self._life.leave(self._clock(), grace))

    def step(self) -> None:
        """Do what time makes due."""
        if self._session.forgot:
            self.flush()
        if self._transport is not None:
            self._do(self._life.step(self._observed(self._transport), self._clock()))

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def _observed(self, transport: asyncio.Transport) -> Observed:
        session = self._session
        unread = transport.get_write_buffer_size() + _in_kernel(transport)
        return Observed(
            heard=self._heard,
            greeted=session.greeted,
            serving=session.serving,
            pong=session.pong,
            blocked=self._paused or session.unsent > 0,
            unread=unread > 0,
            progress=(session.sent, unread),
        )

    def _do(self, action: Action) -> None:
        if action is Action.NOTICE:
            self._session.shutdown_notice()
        elif action is Action.GOAWAY:
            self._session.goaway()
        elif action is Action.ABORT:
            self.abort()

    def _wake(self) -> None:
        self._owner.loop.call_soon(self.flush)

    def _finish(self) -> None:
        """Close our side and let the caller close its own: else what it has not read is lost when it still writes."""
        if self._transport is None or self._life.phase is Phase.CLOSING:
            return
        self._life.close(self._clock())
        self._session.close()
        self._tell_streams()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def _tell_streams(self) -> None:
        for handler, pipe in self._session.take_opened():
            self._start_stream(handler, pipe)
        for stream in self._session.take_touched():
            if not stream.touch() and stream in self._tasks:
                self._tasks[stream].cancel()

    def _start_stream(self, handler: StreamHandler, pipe: Pipe) -> None:
        stream = ServerStream(pipe)
        task = self._owner.loop.create_task(stream.serve(handler))
        self._tasks[stream] = task

        def ended(task: "asyncio.Task[None]") -> None:
            del self._tasks[stream]
            stream.close(Status.CANCELLED, "cancelled")
            if not task.cancelled() and (error := task.exception()) is not None:
                self._report(error)

        task.add_done_callback(ended)

    def _report(self, error: BaseException) -> None:
        self._owner.loop.call_exception_handler({"message": "a gRPC handler raised", "exception": error})


def _in_kernel(transport: asyncio.Transport) -> int:
    """Bytes written that the caller's kernel has not acknowledged; 0 where the system does not tell."""
    answer = bytearray(4)
    with suppress(OSError, AttributeError):
        ioctl(transport.get_extra_info("socket").fileno(), TIOCOUTQ, answer)
    return int.from_bytes(answer, sys.byteorder)


def _fail(calls: Sequence[Answerable]) -> None:
    for call in calls:
        if not call.answered:
            call.fail(Status.INTERNAL, "internal error")
