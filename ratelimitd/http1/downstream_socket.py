"""The socket of a client: bytes that are read and not used yet, the deadline of a phase, and the end."""

import asyncio
import select
from contextlib import suppress
from math import inf
from typing import Final

from ratelimitd.net.reset import reset_on_close

from .body_pace import BodyPace
from .interfaces import BodySink
from .lifecycle import BUSY, CLOSING, HEAD, LINGER_AT_MOST, LINGERING, Phase, client_timeout
from .model import BY_CLIENT, BY_GATEWAY, BY_SLOWNESS, EndedBy
from .options import READ_BYTES, TURN, ServerOptions

HANG_UP: Final = getattr(select, "POLLRDHUP", 0)
"""poll(2) reports a reset in any case, and with this, which only Linux has, the end of the other side's sending."""

LOOK: Final = 1.0
"""Seconds between two looks whether a client is still there from which nothing is read: a look is a system call."""

_buffer = memoryview(bytearray(READ_BYTES))  # each read is copied out before the next; a process has one loop


class DownstreamSocket(asyncio.BufferedProtocol):
    """The socket of one client, of which ``DownstreamConnection`` makes requests and responses.

    Reading goes on while a request is answered, so that the end of a client is seen behind what it sent. It pauses
    while ``READ_BYTES`` are not used: as much as one read, which a connection has to hold anyway.

    Attributes:
        deadline: time of the loop at which ``expire`` is due.
        asked: whether a request came before.
    """

    def __init__(self, options: ServerOptions, loop: asyncio.AbstractEventLoop) -> None:
        self.asked = False
        self.deadline = inf
        self._options = options
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._phase = HEAD
        self._pending = b""  # read, and not used yet
        self._partial = bytearray()  # the beginning of a head that is not complete
        self._sink: BodySink | None = None  # takes a body, or the bytes of a tunnel
        self._body_paused = False  # the sink takes no more for now
        self._pace = BodyPace()
        self._said_all = False  # the client sends no other request, by its own word
        self._leaves = False  # the server closes the connection if no request comes soon
        self._blocked = False  # the client does not read, and the write buffer is full
        self._unsent = 0  # bytes in the write buffer when the client last read, or was checked
        self._reading = True
        self._advancing = False
        self._timeout = inf
        self._since = 0.0  # when the timeout began
        self._progress = False  # a part of what is waited for came
        self._lingers_until = inf
        self._ended_by = BY_CLIENT

    # asyncio's side

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 -- asyncio's signature
        """Return the buffer that all connections read into, as far as this one may read."""
        return _buffer[: READ_BYTES - len(self._pending)] if self._pending else _buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Use what was read."""
        data = bytes(_buffer[:nbytes])
        self._pending = self._pending + data if self._pending else data
        self._advance()

    # the server's side

    @property
    def idle_since(self) -> float | None:
        """Time since which the client is waited for: for a request, a part of one, or to read; None while it is not.

        A client that is lingered for is idle since the end of its last response, whatever it sends.
        """
        if self._phase is LINGERING:
            return self._lingers_until - LINGER_AT_MOST
        return None if self._timeout == inf else self._since

    def abort(self, ended_by: EndedBy = BY_GATEWAY) -> None:
        """Close at once; drop what is not sent."""
        if self._transport is not None:
            self._ended_by = ended_by
            self._transport.abort()

    # the exchange's side

    @property
    def half_closes(self) -> bool:
        """Whether one direction can be closed before the other, which TLS does not do here."""
        return self._transport is not None and self._transport.can_write_eof()

    def send_eof(self) -> None:
        """Close our sending side."""
        if self._transport is not None:
            with suppress(OSError):  # the client reset the connection, which is not read yet
                self._transport.write_eof()

    # reading

    def _step(self) -> bool:
        """Use a part of what was read. Returns whether more of it may be used now."""
        raise NotImplementedError

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

    def _update(self, *, restart: bool = False) -> None:
        """Follow the state after an event: restart the deadline if need be; read only while there is room."""
        receiving = self._sink is not None and not self._body_paused
        begun, leaves = len(self._partial) > 0, self._leaves
        timeout = client_timeout(self._options, self._phase, self._blocked, self.asked, begun, receiving, leaves)
        if restart or timeout != self._timeout or (self._progress and not self._blocked):
            self._timeout, self._since = timeout, self._loop.time()
            self.deadline = min(self._since + timeout, self._latest(receiving=receiving))
        self._progress = False
        wanted, transport = len(self._pending) < READ_BYTES, self._transport
        if wanted != self._reading and transport is not None and not transport.is_closing():
            self._reading = wanted
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()
        if not wanted and self._phase is BUSY and self.deadline == inf:
            self.deadline = self._loop.time() + LOOK

    def _latest(self, *, receiving: bool) -> float:
        """Return the time at which the phase ends at the latest, whatever comes; infinite where there is none."""
        if self._blocked:
            return inf
        if self._phase is LINGERING:
            return self._lingers_until
        return self._pace.due if receiving and self._phase is BUSY else inf

    @property
    def _hung_up(self) -> bool:
        """Whether the end of the connection came, be it behind bytes that are not read."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is None:
            return False
        ends = select.poll()
        ends.register(sock.fileno(), HANG_UP)
        return bool(ends.poll(0))

    @property
    def _unread(self) -> bool:
        """Whether bytes, or the end of the connection, wait in the kernel's buffer."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is None:
            return False
        waiting = select.poll()
        waiting.register(sock.fileno(), select.POLLIN)
        return bool(waiting.poll(0))

    # the end

    def _linger(self) -> None:
        """Close our sending side, and read on until the client closes too: a reset could cost it the response.

        Over TLS the client learns of the end by the response alone, until the connection is closed.
        """
        transport = self._transport
        if transport is None or self._phase in {LINGERING, CLOSING}:
            return
        if self.half_closes:
            self.send_eof()
        self._end_with(LINGERING)

    def _close(self) -> None:
        """Close when all is sent."""
        if self._transport is not None:
            self._unsent = self._transport.get_write_buffer_size()
            self._transport.close()
            self._end_with(CLOSING)

    def _end_with(self, phase: Phase) -> None:
        self._phase = phase
        self._pending = b""
        self._partial.clear()
        self._lingers_until = self._loop.time() + LINGER_AT_MOST
        self._update(restart=True)

    def _expire_sending(self) -> None:
        """Close at once if the client read nothing since the last check; otherwise check again later."""
        transport = self._transport
        unsent = transport.get_write_buffer_size() if transport is not None else 0
        if 0 < unsent < self._unsent:
            self._unsent = unsent
            self._update(restart=True)
        else:
            self.abort(BY_SLOWNESS)

    def _reset(self) -> None:
        """Close at once with a reset, where an orderly end would be taken for the end of a body."""
        if self._transport is not None:
            reset_on_close(self._transport)
        self.abort()
