"""One connection to Redis: commands out in order, replies back in the same order.

A reply belongs to the first unanswered command. So no waiter leaves the queue early: a waiter that timed out still
takes its reply, and drops it. A command is never sent twice.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, cast

import hiredis

from ratelimitd.net.turns import TURN_COST, Turns

from .bounds import Bounds
from .encoding import Word, encode

Waiter = Callable[[object], None]
"""Called once: with the reply, an ``hiredis.ReplyError``, or a ``RedisConnectionError`` when no reply will come."""

WRITE_MAX: Final = 1 << 20
"""Unsent bytes at which a connection accepts no more commands: a Redis that reads is never this far behind."""

PLACES: Final = 5
"""Places of a reply that cost as much as a charge: a script's reply has five for each, and one more."""

MISSING: Final = object()


class RedisConnectionError(Exception):
    """The connection is closed or could not be opened; the text says why."""


class RedisConnection:
    """A connection, with the methods of ``asyncio.Protocol``; ``open_connection`` makes one.

    It does not inherit from that class: a compiled class with an interpreted base gains nothing.

    Attributes:
        full: whether more than ``WRITE_MAX`` bytes are unsent.
        lost: why the connection is closed; empty while it is open.
        after: called when replies, or the loss of the connection, were passed to their waiters.
        turns: gives the connection slices while more replies wait than one turn of the event loop has room for.
        read_at: time of the last read, by ``time.perf_counter``.
        version: of the server, as it said in the handshake: its first two numbers.
    """

    def __init__(self, on_lost: "Callable[[RedisConnection], None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._reader = hiredis.Reader(notEnoughData=MISSING)
        self._waiters: deque[tuple[float, Waiter]] = deque()
        self._transport: asyncio.Transport | None = None
        self._bounds = Bounds()
        self._next: object = MISSING
        self.full = False
        self.lost = ""
        self.after: Callable[[], None] = lambda: None
        self.turns = Turns(self._loop)
        self.read_at = 0.0
        self.version = (0, 0)

    def __len__(self) -> int:
        """Return the number of unanswered commands."""
        return len(self._waiters)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_MAX)

    @property
    def made(self) -> bool:
        """Whether it was connected, with its TLS handshake done."""
        return self._transport is not None

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self.full = True

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self.full = False

    def send(self, commands: Sequence[tuple[Sequence[Word], Waiter]]) -> None:
        """Send these commands in one write. Each waiter is called once, in order. Raises RedisConnectionError."""
        if self._transport is None or self.lost:
            raise RedisConnectionError(self.lost or "not connected")
        now = self._loop.time()
        for _, waiter in commands:
            self._waiters.append((now, waiter))
        self._transport.write(b"".join([encode(words) for words, _ in commands]))

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``: replies are passed on at once as far as a turn has room; the others wait."""
        problem = self._bounds.problem(data)
        if problem:
            self.close(f"reply from Redis is out of bounds: {problem}")
            return
        self.read_at = time.perf_counter()
        self._reader.feed(data)
        if self._next is not MISSING:
            return
        self.serve(self.turns.share)
        if self._next is not MISSING and self._transport is not None:
            self._transport.pause_reading()
            self.turns.add(self)

    def eof_received(self) -> None:
        """See ``asyncio.Protocol``: the transport closes itself."""

    @property
    def waits(self) -> bool:
        """See ``Waiting``: whether replies wait."""
        return self._next is not MISSING

    def serve(self, room: int) -> int:
        """See ``Waiting``: pass replies to their waiters."""
        places, most, waited = 0, room * PLACES, self.waits
        try:
            reply, self._next = self._next if waited else self._reader.gets(), MISSING
            while reply is not MISSING and not self.lost:
                if places >= most:
                    self._next = reply
                    break
                if not self._waiters:
                    self.close("unsolicited reply from Redis")
                    break
                places += len(reply) if type(reply) is list else PLACES
                self._deliver(self._waiters.popleft()[1], reply)
                reply = self._reader.gets()
        except hiredis.ProtocolError as problem:
            self.close(f"malformed reply from Redis: {problem}")
        if places:
            self._bounds.whole()
        if waited and not self.waits and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self.after()
        return places // PLACES

    def abort(self) -> None:
        """See ``Waiting``."""
        self.close("internal error")

    def _deliver(self, waiter: Waiter, reply: object) -> None:
        try:
            waiter(reply)
        except Exception as problem:  # noqa: BLE001 -- an error in one waiter must not cost the others their replies
            self._loop.call_exception_handler({"message": "failed to process a reply from Redis", "exception": problem})

    def longest_wait(self) -> float:
        """Return the seconds since the oldest unanswered command was sent; 0.0 if there is none."""
        return self._loop.time() - self._waiters[0][0] if self._waiters else 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``: replies that have arrived are passed on."""
        while self.waits:
            self.serve(TURN_COST)
        self.close(f"connection to Redis lost: {exc or 'closed by Redis'}")

    def close(self, reason: str) -> None:
        """Close immediately; every waiter gets the reason as an error, once."""
        if self.lost:
            return
        self.lost = reason
        self._next = MISSING
        if self._transport is not None:
            self._transport.abort()
        self._on_lost(self)
        problem = RedisConnectionError(reason)
        while self._waiters:
            self._deliver(self._waiters.popleft()[1], problem)
        self.after()


def ignore_reply(_: object) -> None:
    """Ignore a reply: the reply to the next command shows any error."""
