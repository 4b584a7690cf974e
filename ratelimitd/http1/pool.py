"""The connections to one endpoint: the last one used is taken first; if none is idle, another one is made."""

import asyncio
import errno
import socket
import ssl
from itertools import islice
from math import inf
from typing import Final, Protocol

from ratelimitd.net.connect import connect
from ratelimitd.net.peers import network_of

from .circuit_breaker import Outcome
from .deadlines import AT_ONCE, Sweeper
from .model import Endpoint, ErrorResponse
from .options import UpstreamOptions
from .shares import Shares
from .upstream_connection import UpstreamConnection

_NEITHER, _REFUSED, _UNREACHED = Outcome.NEITHER, Outcome.REFUSED, Outcome.UNREACHED
_SHUTDOWN = ErrorResponse(503, "the gateway shuts down")
_OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN))
"""Errors of socket(2) and connect(2) for what this host lacks; EAGAIN and EADDRNOTAVAIL: all its ports are in use."""
NONE_FREE: Final = "no connection to the upstream is free"
CLIENT_WAITS: Final = "no connection to the upstream is free, and most that wait for one are requests of this client"


class Taker(Protocol):
    """Waits for a connection, from ``Pool.take`` until one of the last two is called or ``Pool.cancel``.

    ``Pool.take`` may call each before it returns.
    """

    def queued(self) -> None:
        """Learn that no connection is made for it yet: its client holds its share."""

    def connected(self, connection: UpstreamConnection) -> None:
        """Take a connection that carries no request, and begin one on it before this returns."""

    def unconnected(self, error: ErrorResponse, outcome: Outcome) -> None:
        """Learn that there is no connection, and what that says of the endpoint; nothing was sent.

        Another pool may be asked before this returns.
        """


class Pool:
    """A bounded number of connections to an endpoint, whose name is resolved for each of them.

    A taker is admitted when its client may hold another connection, and gets an idle one, or one that is made for it.
    """

    def __init__(
        self, endpoint: Endpoint, options: UpstreamOptions, sweeper: Sweeper, tls: ssl.SSLContext | None = None
    ) -> None:
        """``tls`` is used if the endpoint is of TLS; None: a context with the system's authorities."""
        self.endpoint = endpoint
        self.options = options
        self.deadline = inf
        self._sweeper = sweeper
        self._tls = (tls or ssl.create_default_context()) if endpoint.tls else None
        self._connections: set[UpstreamConnection] = set()
        self._idle: list[UpstreamConnection] = []
        self._waiting: dict[Taker, float] = {}  # since when, oldest first
        self._admitted: dict[Taker, str] = {}  # those of them for which a connection is made, with their clients
        self._shares: Shares[Taker] = Shares(
            options.max_connections, options.max_waiting, options.max_connections_per_client
        )
        self._dials: set[asyncio.Task[None]] = set()
        self._retired = self._closed = False

    def __repr__(self) -> str:
        waiting = len(self._waiting)
        return f"<Pool {self.endpoint}: {self.open} open, {self.idle} idle, {self.dialing} dialing, {waiting} waiting>"

    @property
    def open(self) -> int:
        """Number of open connections."""
        return len(self._connections)

    @property
    def idle(self) -> int:
        """Number of idle connections."""
        return len(self._idle)

    @property
    def dialing(self) -> int:
        """Number of connections that are being made."""
        return len(self._dials)

    def take(self, taker: Taker, client: str, *, fresh: bool = False) -> None:
        """Give the taker a connection, now or later.

        Args:
            taker: gets the connection.
            client: address of the client; an IPv6 network of 64 bits has one share.
            fresh: a new connection, not an idle one.
        """
        share = network_of(client)
        if self._closed:
            taker.unconnected(_SHUTDOWN, _NEITHER)
        elif self._shares.take(share):
            connection = None if fresh else self._rested()
            if connection is not None:
                self._give(connection, taker, share)
                return
            self._admitted[taker] = share
            self._wait(taker)
            self._dial()
        elif self._shares.wait(taker, share):
            self._wait(taker)
            taker.queued()
        else:
            reason = NONE_FREE if self._shares.full else CLIENT_WAITS
            taker.unconnected(ErrorResponse(503, reason), _NEITHER)

    def cancel(self, taker: Taker) -> None:
        """Remove a taker from the queue; the connection made for it goes to another one, or is idle."""
        if taker in self._waiting:
            share = self._unqueue(taker)
            if share is not None:
                self._shares.give_back(share)
                self._admit()

    def settle(self, connection: UpstreamConnection) -> None:
        """Give a free connection to the taker that was admitted first, or keep it."""
        self._release(connection)
        if self._admitted and not self._closed:
            taker, share = next(iter(self._admitted.items()))
            self._unqueue(taker)
            self._give(connection, taker, share)
        else:
            connection.rest()
            self._idle.append(connection)
        self._admit()
        if self._retired:
            self._close_idle()

    def forget(self, connection: UpstreamConnection) -> None:
        """Drop a closed connection; make another one if takers wait."""
        self._connections.discard(connection)
        self._sweeper.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._release(connection)
        self._admit()

    def expire(self, now: float) -> None:
        """Give up on takers that have waited too long, on some in each turn of the loop."""
        overdue = now - self.options.wait_timeout
        late = [taker for taker, since in islice(self._waiting.items(), AT_ONCE) if since <= overdue]
        if len(late) == AT_ONCE:
            asyncio.get_running_loop().call_soon(self.expire, now)
        for taker in late:
            if taker in self._waiting:
                self.cancel(taker)
                error = ErrorResponse(503, "no connection to the upstream came free in time")
                taker.unconnected(error, _NEITHER)

    def retire(self) -> None:
        """Keep no connection that is idle, now or later; takers, also new ones, still get connections."""
        self._retired = True
        self._close_idle()

    async def close(self) -> None:
        """Close idle connections, make no more, and wait for the end of those being made."""
        self._closed = True
        self.retire()
        for dial in self._dials:
            dial.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for taker in tuple(self._waiting):
            self.cancel(taker)
            taker.unconnected(_SHUTDOWN, _NEITHER)

    def _wait(self, taker: Taker) -> None:
        if not self._waiting:
            self._sweeper.add(self)
        self._waiting[taker] = asyncio.get_running_loop().time()
        self._look_ahead()

    def _unqueue(self, taker: Taker) -> str | None:
        """Remove a taker from those that wait; returns the share that it was admitted by."""
        del self._waiting[taker]
        self._look_ahead()
        self._shares.leave(taker)
        return self._admitted.pop(taker, None)

    def _admit(self) -> None:
        """Admit those that wait, as far as their clients may hold more connections."""
        if not self._waiting:
            return
        while not self._closed and (found := self._shares.next()) is not None:
            taker, share = found
            connection = self._rested()
            if connection is None:
                self._admitted[taker] = share
            else:
                self._unqueue(taker)
                self._give(connection, taker, share)
        self._dial()

    def _rested(self) -> UpstreamConnection | None:
        """Take the idle connection that was used last."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    def _give(self, connection: UpstreamConnection, taker: Taker, share: str) -> None:
        connection.holder = share
        taker.connected(connection)

    def _release(self, connection: UpstreamConnection) -> None:
        holder, connection.holder = connection.holder, None
        if holder is not None:
            self._shares.give_back(holder)

    def _close_idle(self) -> None:
        for connection in tuple(self._idle):
            connection.close()

    def _look_ahead(self) -> None:
        """Set the deadline to that of the taker that waits longest."""
        if self._waiting:
            self.deadline = next(iter(self._waiting.values())) + self.options.wait_timeout
        else:
            self.deadline = inf
            self._sweeper.discard(self)

    def _dial(self) -> None:
        """Make as many connections as takers are admitted."""
        wanted, room = len(self._admitted), self.options.max_connections - len(self._connections)
        while len(self._dials) < min(wanted, room) and not self._closed:
            dial = asyncio.get_running_loop().create_task(self._connect())
            self._dials.add(dial)

    async def _connect(self) -> None:
        try:
            self._arrived(await self._reach())
        except TimeoutError:
            self._missed(ErrorResponse(504, "upstream did not accept a connection in time"), _UNREACHED)
        except (OSError, UnicodeError, ssl.CertificateError) as error:
            self._missed(*_failure(error))
        except asyncio.CancelledError:
            self._missed(_SHUTDOWN, _NEITHER)
            raise

    async def _reach(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        host, port, tls, name = self.endpoint
        verified = (name or host) if tls else None
        async with asyncio.timeout(self.options.connect_timeout):
            return await connect(
                lambda: UpstreamConnection(self, loop), host, port, ssl=self._tls, server_hostname=verified
            )

    def _arrived(self, connection: UpstreamConnection) -> None:
        self._done_dialing()
        if connection.open:
            self._connections.add(connection)
            self._sweeper.add(connection)
            self.settle(connection)
        else:
            connection.close()
            self._dial()

    def _missed(self, error: ErrorResponse, outcome: Outcome) -> None:
        self._done_dialing()
        if self._admitted:
            taker = next(iter(self._admitted))
            self.cancel(taker)
            taker.unconnected(error, outcome)
        self._dial()

    def _done_dialing(self) -> None:
        self._dials.discard(asyncio.current_task())


def _failure(error: Exception) -> tuple[ErrorResponse, Outcome]:
    """Return the response to a failed attempt, and its outcome: no evidence, if this host lacks means."""
    if isinstance(error, OSError) and error.errno in _OURS:
        return ErrorResponse(503, "the gateway has no file, port or memory left for a connection"), _NEITHER
    cause, outcome = type(error).__name__, _UNREACHED
    if isinstance(error, socket.gaierror):
        cause = "its name is unknown"
    elif isinstance(error, ConnectionRefusedError):
        cause, outcome = "it refuses", _REFUSED
    elif isinstance(error, ssl.SSLError):
        cause = "TLS failed"
    return ErrorResponse(502, f"cannot connect to the upstream: {cause}"), outcome
