"""One connection to Redis: commands out in order, replies back in the same order.

A reply belongs to the first unanswered command. So no waiter leaves the queue early: a waiter that timed out still
takes its reply, and drops it. A command is never sent twice.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

import hiredis

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.net.connect import connect
from ratelimitd.net.turns import TURN_COST, Turns

from .bounds import Bounds
from .options import Tls

Word = bytes | str | int | float | memoryview
Waiter = Callable[[object], None]
"""Called once: with the reply, an ``hiredis.ReplyError``, or a ``RedisConnectionError`` when no reply will come."""

WRITE_MAX: Final = 1 << 20
"""Unsent bytes at which a connection accepts no more commands: a Redis that reads is never this far behind."""

PLACES: Final = 5
"""Places of a reply that cost as much as a charge: a script's reply has five for each, and one more."""

MISSING: Final = object()

NO_TLS: Final = ": does it speak TLS (REDIS_TLS, rediss://)?"
"""A Redis without TLS waits for the end of what it takes for a command."""


class RedisConnectionError(Exception):
    """The connection is closed or could not be opened; the text says why."""


class RedisConnection(asyncio.Protocol):
    """A connection; ``open_connection`` makes one.

    Attributes:
        full: whether more than ``WRITE_MAX`` bytes are unsent.
        lost: why the connection is closed; empty while it is open.
        after: called when replies, or the loss of the connection, were passed to their waiters.
        turns: gives the connection slices while more replies wait than one turn of the event loop has room for.
        read_at: time of the last read, by ``time.perf_counter``.
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
        self._waiters.extend((now, waiter) for _, waiter in commands)
        self._transport.write(b"".join(hiredis.pack_command(cast("Any", tuple(words))) for words, _ in commands))

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``: replies are passed on at once as far as a turn has room; the others wait."""
        problem = self._bounds.problem(data)
        if problem:
            self.close(f"reply from Redis is out of bounds: {problem}")
            return
        self.read_at = time.perf_counter()
        self._reader.feed(data)
        if not self.waits:
            self._begin()

    def _begin(self) -> None:
        self.serve(self.turns.share)
        if self.waits and self._transport is not None:
            self._transport.pause_reading()
            self.turns.add(self)

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


async def open_connection(
    address: RedisAddress,
    tls: Tls | None,
    timeout: float,  # noqa: ASYNC109 -- it becomes a RedisConnectionError
    handshake: Callable[[RedisConnection], Awaitable[None]],
    on_lost: Callable[[RedisConnection], None] = lambda _: None,
) -> RedisConnection:
    """Open a connection and perform its handshake. Raises RedisConnectionError.

    ``timeout`` (seconds) covers both. The name is resolved each time, since its address may change.
    """
    connection = RedisConnection(on_lost)
    try:
        async with asyncio.timeout(timeout):
            await _connect(connection, address, tls)
            await handshake(connection)
    except TimeoutError:
        hint = NO_TLS if tls is not None and not connection.made else ""
        problem = f"no connection to Redis at {address} within {timeout:g} s (REDIS_TIMEOUT){hint}"
    except ssl.SSLError as error:
        problem = f"TLS handshake with Redis at {address} failed: {error.reason or error}"
    except OSError as error:
        problem = f"no connection to Redis at {address}: {error.strerror or error}"
    except (RedisConnectionError, ValueError, OverflowError) as error:
        # A cluster may announce names and ports that no socket accepts.
        problem = f"no connection to Redis at {address}: {error}"
    except asyncio.CancelledError:
        connection.close("canceled while connecting")
        raise
    else:
        return connection
    connection.close(problem)
    raise RedisConnectionError(problem)


async def _connect(connection: RedisConnection, address: RedisAddress, tls: Tls | None) -> None:
    loop = asyncio.get_running_loop()
    try:
        context = None if tls is None else await asyncio.to_thread(tls.context)
    except OSError as error:
        raise RedisConnectionError(f"cannot use the REDIS_TLS files: {error}") from error
    if address.path:
        await loop.create_unix_connection(lambda: connection, address.path)
    else:
        name = address.host if context is not None else None
        await connect(lambda: connection, address.host, address.port, ssl=context, server_hostname=name)


async def execute(connection: RedisConnection, commands: Sequence[Sequence[Word]]) -> list[Any]:
    """Send these commands and return their replies, ``hiredis.ReplyError`` included. Raises RedisConnectionError."""
    loop = asyncio.get_running_loop()
    replies: list[asyncio.Future[object]] = [loop.create_future() for _ in commands]
    connection.send([(words, waiter_of(reply)) for words, reply in zip(commands, replies, strict=True)])
    answered = await asyncio.gather(*replies)
    for reply in answered:
        if isinstance(reply, RedisConnectionError):
            raise reply
    return answered


def waiter_of(future: "asyncio.Future[object]") -> Waiter:
    """Return a waiter that sets the future's result, unless the future was canceled."""

    def settle(reply: object) -> None:
        if not future.done():
            future.set_result(reply)

    return settle


def ignore_reply(_: object) -> None:
    """Ignore a reply: the reply to the next command shows any error."""
