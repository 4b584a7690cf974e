"""The fast transport: gRPC on libnghttp2. Importing it raises ImportError where the extension was not built."""

import asyncio
import random
from math import inf
from typing import NamedTuple

from ratelimitd.net.drain import drain
from ratelimitd.net.listen import BACKLOG, SocketFile, address, bind, bind_unix
from ratelimitd.net.tls import TlsFiles

from ._nghttp2 import Service
from .api import Handlers
from .connection import Connection, Owner
from .lifetime import Limits

AGE_JITTER = 0.1
"""Of the maximum age, either way, so that a fleet's connections do not leave at once; gRPC's own (gRFC A9)."""
HANDSHAKE_WAIT = 10.0
"""Seconds for a TLS handshake; a few round trips, where asyncio would hold a silent socket for a minute."""
SWEPT = 500
"""Connections looked at in one turn of the loop: about a millisecond."""
SWEEP = 1.0
"""Seconds between two looks at what time makes due; ages, idle times and stalls are given in seconds."""


class Options(NamedTuple):
    """How the server treats its callers. The first four mean what they mean for the portable transport.

    Attributes:
        max_request_bytes: a larger message is RESOURCE_EXHAUSTED.
        max_concurrent_calls: one more unary call is RESOURCE_EXHAUSTED at once.
        max_connection_age: seconds until a connection is told to go elsewhere, ±10 %; None: never.
        max_connection_age_grace: seconds its calls in flight then have; None: as long as they take.
        max_streaming_calls: that stream, of all connections; each holds a task. Unary calls do not count among them.
        max_connection_streaming_calls: of one connection, so that no caller has them all; gRPC advises 100 streams.
        max_streams: calls at once on one connection. One Envoy worker with 20 ms timeouts then makes 50,000 a second.
        max_headers: of one request; Envoy's own bound is 100.
        max_header_bytes: of one request, as RFC 9113 6.5.2 counts; gRPC's own hard bound is 16 KiB.
        max_buffered_bytes: of messages that are not whole or not taken, of all connections: a sixteenth of 4 GiB.
        max_connection_buffered_bytes: of one connection; four of the largest message at least.
        max_unsent_bytes: of answers of one connection that wait to be read, before its calls are RESOURCE_EXHAUSTED.
        max_connections: one more is closed at once. Each costs a file, of which a process has 1,024 to 65,536.
        idle_timeout: seconds without a call after which a connection is told to leave, an hour as Envoy's own for its
            upstreams; None: never.
        stall_timeout: seconds a caller may leave answers unread; gRPC's keepalive timeout is 20.
        wasted_frames: that did no work (resets, pings, settings, window updates, empty data), at once and each second
            after; ten for each stream. Giving up on a unary call that is being served is free: Envoys time out.
        metadata: keep request headers for ``Call.metadata``.
        sweep: seconds between two looks at the times above.
    """

    max_request_bytes: int
    max_concurrent_calls: int
    max_connection_age: float | None = None
    max_connection_age_grace: float | None = None
    max_streaming_calls: int = 1000
    max_connection_streaming_calls: int = 100
    max_streams: int = 1024
    max_headers: int = 100
    max_header_bytes: int = 16 * 1024
    max_buffered_bytes: int = 256 << 20
    max_connection_buffered_bytes: int = 16 << 20
    max_unsent_bytes: int = 16 << 20
    max_connections: int = 10_000
    idle_timeout: float | None = 3600.0
    stall_timeout: float = 20.0
    wasted_frames: int = 10_240
    metadata: bool = False
    sweep: float = SWEEP


class Nghttp2Server:
    """A server on one address; raises OSError at once when the address cannot be had."""

    def __init__(
        self, host: str, port: int, handlers: Handlers, options: Options, *, uds: str = "", tls: TlsFiles | None = None
    ) -> None:
        """``uds`` is the path of a unix socket that replaces host and port."""
        self._options = options
        self._tls = tls
        self._uds = uds
        self._service = _service(handlers, options)
        self._context = tls.context() if tls is not None else None
        self._socket = bind_unix(uds) if uds else bind(host, port)
        self.address = f"unix:{uds}" if uds else address(host, self._socket.getsockname()[1])
        self._file = SocketFile.of(uds) if uds else None
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._stopping = False
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Handle | None = None

    @property
    def calls(self) -> int:
        """Calls in flight."""
        return self._service.calls

    @property
    def connections(self) -> int:
        """Connections open."""
        return len(self._connections)

    async def start(self) -> None:
        """Serve from now on."""
        loop = asyncio.get_running_loop()
        owner = Owner(loop, self._service, self._admit, self._lost, self._limits)
        create = loop.create_unix_server if self._uds else loop.create_server
        self._server = await create(
            lambda: Connection(owner),
            sock=self._socket,
            backlog=BACKLOG,
            ssl=self._context,
            ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_WAIT,
        )
        self._sweep()

    async def stop(self, grace: float) -> None:
        """Take no new connection or call, give those in flight ``grace`` seconds, then end them."""
        self._stopping = True
        self._close_socket()
        for connection in tuple(self._connections):
            connection.leave(grace)
        await drain(self._connections, self._empty, grace)
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _close_socket(self) -> None:
        if self._file is not None:
            self._file.remove()  # while we still listen: nobody takes a file over that is about to go
            self._file = None
        if self._server is not None:
            self._server.close()
        self._socket.close()

    def _sweep(self) -> None:
        self._step(list(self._connections))

    def _step(self, rest: list[Connection]) -> None:
        """Look at some connections in this turn of the loop, and at the rest in the next ones."""
        loop = asyncio.get_running_loop()
        for connection in rest[-SWEPT:]:
            try:
                connection.step()
            except Exception as error:  # noqa: BLE001 - one connection's fault must not stop the watch over the others
                loop.call_exception_handler({"message": "a connection could not be judged", "exception": error})
                connection.abort()
        del rest[-SWEPT:]
        self._sweeper = loop.call_soon(self._step, rest) if rest else loop.call_later(self._options.sweep, self._sweep)

    def _admit(self, connection: Connection, transport: asyncio.Transport) -> bool:
        if self._stopping or len(self._connections) >= self._options.max_connections:
            return False
        if self._tls is not None and not self._tls.accepts(transport):
            return False
        self._connections.add(connection)
        return True

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def _limits(self) -> Limits:
        options = self._options
        age = inf if options.max_connection_age is None else options.max_connection_age
        return Limits(
            age=age * random.uniform(1 - AGE_JITTER, 1 + AGE_JITTER),  # noqa: S311 - spreads load, hides nothing
            grace=inf if options.max_connection_age_grace is None else options.max_connection_age_grace,
            idle=inf if options.idle_timeout is None else options.idle_timeout,
            stall=options.stall_timeout,
        )


def _service(handlers: Handlers, options: Options) -> Service:
    return Service(
        dict(handlers.unary),
        dict(handlers.streams),
        max_message=options.max_request_bytes,
        max_calls=options.max_concurrent_calls,
        max_streaming=options.max_streaming_calls,
        max_link_streaming=options.max_connection_streaming_calls,
        max_streams=options.max_streams,
        max_header_bytes=options.max_header_bytes,
        max_headers=options.max_headers,
        max_buffered=max(options.max_buffered_bytes, 4 * options.max_request_bytes),
        max_link_buffered=max(options.max_connection_buffered_bytes, 4 * options.max_request_bytes),
        max_unsent=options.max_unsent_bytes,
        wasted_frames=options.wasted_frames,
        metadata=options.metadata,
    )
