"""The nghttp2 transport: gRPC over libnghttp2. Importing it raises ImportError if the extension is not built."""

import asyncio
import random
import socket
import ssl
from math import inf
from operator import itemgetter
from typing import Final, NamedTuple

from ratelimitd.net.accept import Hooks, Listener
from ratelimitd.net.drain import drain
from ratelimitd.net.listen import SocketFile, address, bind, bind_unix
from ratelimitd.net.peers import peers, plain
from ratelimitd.net.places import Bounds, Full, Places
from ratelimitd.net.tls import TlsFiles, certificate_names
from ratelimitd.net.turns import Turns

from ._nghttp2 import ServerState
from .api import METADATA_BYTES, METADATA_HEADERS, Handlers, Refusal, Refused, ignore
from .connection import ConnectionContext, GrpcConnection
from .lifetime import IDLE_GRACE, LifetimeLimits
from .stream_places import HELD, StreamPlaces, kept
from .streams import ServerStream

AGE_JITTER = 0.1
"""Jitter of the maximum age, ±10 % as in gRPC (gRFC A9), so that a fleet's connections do not all close at once."""
SPARE: Final = 10
"""Part of the places that is kept free: a connection that was asked to leave needs two seconds, and in these 500 others
may come."""
SWEEP_BATCH = 500
"""Connections checked in one iteration of the event loop: about 1 ms."""
SWEEP_INTERVAL = 1.0
"""Seconds between sweeps over the connections; ages, idle times and stalls are configured in seconds."""


class Nghttp2Options(NamedTuple):
    """Limits and timeouts of the server. The first five have the same meaning as in ``GrpcioOptions``.

    Attributes:
        max_request_bytes: maximum size of a message; a larger one is RESOURCE_EXHAUSTED.
        max_concurrent_calls: maximum number of unary calls in flight; further ones are RESOURCE_EXHAUSTED at once.
        max_connection_age: seconds, ±10 %, after which a connection is drained; None disables it.
        max_connection_age_grace: seconds that its calls in flight then have to complete; None: no limit.
        max_streaming_calls: maximum number of streaming calls on all connections; each needs a task. They do not count
            towards max_concurrent_calls. Before that, the oldest call of the connection that holds most gives way.
        max_connection_streaming_calls: maximum number of streaming calls that a connection may have open before its
            oldest ones give way, after each read: twice those that it keeps (``stream_places.HELD``).
        max_streams: maximum number of concurrent calls per connection. It allows one Envoy worker with a timeout of
            20 ms 50,000 calls per second.
        max_headers, max_header_bytes: maximum number and size of a request's headers.
        max_buffered_bytes: maximum size of incomplete calls, messages not yet taken, and responses left unread, on all
            connections. Half of it is for all; of the other half each connection has a share that the others cannot
            take. Half as much may be responses that clients do not read, and a quarter requests in flight, of which a
            connection has no more than is free. The default is a sixteenth of 4 GiB.
        max_connection_buffered_bytes: the same per connection; at least four messages of the maximum size.
        max_unsent_bytes: unread response bytes of a connection above which its calls are RESOURCE_EXHAUSTED.
        max_connections: places for connections, TLS handshakes among them. Past nine tenths of them each new one asks
            the idlest to leave; with all taken, the idlest is closed. Each needs a file descriptor.
        trusted_peers: addresses and networks that may have more than a quarter of the places while others want one.
        idle_timeout: seconds without a call after which a connection is drained; an hour, as Envoy's default for its
            upstream connections; None disables it.
        stall_timeout: seconds that a client may leave responses unread, or a request incomplete; gRPC's keepalive
            timeout is 20.
        wasted_frames: frames without useful work (RST_STREAM, PING, SETTINGS, WINDOW_UPDATE, empty DATA) and messages
            of streams allowed per second, and as a burst; ten per stream. A new connection has two per stream, and
            gains the others with time. Cancelling a unary call in flight is free,
            because Envoy does so on each timeout. A frame that costs more to decode than its size suggests counts as
            several.
        metadata: whether to keep request headers for the ``metadata`` of calls.
        sweep_interval: seconds between checks of the timeouts above.
    """

    max_request_bytes: int
    max_concurrent_calls: int
    max_connection_age: float | None = None
    max_connection_age_grace: float | None = None
    max_streaming_calls: int = 1000
    max_connection_streaming_calls: int = 2 * HELD
    max_streams: int = 1024
    max_headers: int = METADATA_HEADERS
    max_header_bytes: int = METADATA_BYTES
    max_buffered_bytes: int = 256 << 20
    max_connection_buffered_bytes: int = 16 << 20
    max_unsent_bytes: int = 16 << 20
    max_connections: int = 10_000
    trusted_peers: tuple[str, ...] = ()
    idle_timeout: float | None = 3600.0
    stall_timeout: float = 20.0
    wasted_frames: int = 10_240
    metadata: bool = False
    sweep_interval: float = SWEEP_INTERVAL


class Nghttp2Server:
    """A server on one address. The constructor raises OSError if the address is not available.

    Attributes:
        places: the open connections and the bounds of their number.
    """

    def __init__(
        self,
        host: str,
        port: int,
        handlers: Handlers,
        options: Nghttp2Options,
        *,
        uds: str = "",
        tls: TlsFiles | None = None,
        refused: Refused = ignore,
    ) -> None:
        """``uds`` is the path of a Unix domain socket, which replaces host and port."""
        self._refused = refused
        self._options = options
        self._tls = tls
        self._uds = uds
        self._state = _state(handlers, options)
        self._context = tls.context() if tls is not None else None
        if tls is not None:
            tls.handshake_failed = lambda reason: refused(Refusal.HANDSHAKE, "", reason)
        self._socket = bind_unix(uds) if uds else bind(host, port)
        self.address = f"unix:{uds}" if uds else address(host, self._socket.getsockname()[1])
        self._file = SocketFile.of(uds) if uds else None
        most = options.max_connections
        self.places: Places[GrpcConnection] = Places(Bounds(most, spare=most // SPARE))
        self._empty = asyncio.Event()
        self._stopping = False
        self._unread: list[tuple[int, GrpcConnection]] = []
        self._listener: Listener[GrpcConnection] | None = None
        self._sweeper: asyncio.Handle | None = None

    @property
    def calls(self) -> int:
        """Number of calls in flight."""
        return self._state.calls

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self.places)

    async def start(self) -> None:
        """Start to serve."""
        loop = asyncio.get_running_loop()
        streams: StreamPlaces[GrpcConnection, ServerStream] = StreamPlaces(kept(self._options.max_streaming_calls))
        context = ConnectionContext(loop, self._state, self._admit, self._lost, self._limits, Turns(loop), streams)
        hooks = Hooks(
            make=lambda: GrpcConnection(context),
            leave=lambda connection: connection.drain(IDLE_GRACE),
            refused=self._no_place,
            exhausted=lambda error: self._refused(Refusal.FILES, "", error.strerror or str(error)),
        )
        self._listener = Listener(self._socket, hooks, self.places, peers(self._options.trusted_peers), self._context)
        self._sweep()

    async def stop(self, grace: float) -> None:
        """Accept no new connection or call, wait up to ``grace`` seconds for calls in flight, then abort them."""
        self._stopping = True
        self._close_socket()
        for connection in tuple(self.places):
            connection.drain(grace)
        await drain(self.places, self._empty, grace)
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _close_socket(self) -> None:
        if self._file is not None:
            self._file.remove()  # before the socket closes: an instance that finds a stale file would take it over
            self._file = None
        if self._listener is not None:
            self._listener.close()
        self._socket.close()

    def _sweep(self) -> None:
        self._step(list(self.places))

    def _step(self, rest: list[GrpcConnection]) -> None:
        """Check a batch of connections now, and the rest in the next iterations of the event loop."""
        loop = asyncio.get_running_loop()
        for connection in rest[-SWEEP_BATCH:]:
            try:
                connection.step()
                if connection.unread:
                    self._unread.append((connection.unread, connection))
            except Exception as error:  # noqa: BLE001 -- an error in one connection must not stop the sweep over the others
                loop.call_exception_handler(
                    {"message": "unhandled exception while checking a connection's timeouts", "exception": error}
                )
                connection.abort()
        del rest[-SWEEP_BATCH:]
        if rest:
            self._sweeper = loop.call_soon(self._step, rest)
        else:
            self._relieve()
            self._sweeper = loop.call_later(self._options.sweep_interval, self._sweep)

    def _relieve(self) -> None:
        """Close the connections with the most unread responses, until all of them together are within the bound.

        Each connection has a bound of its own, but a thousand of them have none together. Responses are small, so no
        more than some ten megabytes are made between two sweeps.
        """
        unread, self._unread = self._unread, []
        surplus = sum(size for size, _ in unread) - _max_buffered(self._options) // 2
        if surplus <= 0:
            return
        for size, connection in sorted(unread, key=itemgetter(0), reverse=True):
            connection.abort()
            surplus -= size
            if surplus <= 0:
                break

    def _admit(self, transport: asyncio.Transport) -> bool:
        if self._stopping:
            return False
        refusal = self._refusal(transport)
        if refusal is not None:
            self._refused(refusal[0], _peer(transport.get_extra_info("peername")), refusal[1])
            return False
        return True

    def _no_place(self, reason: Full, _: socket.socket, client: object) -> None:
        self._refused(Refusal(reason), _peer(client), f"{len(self.places)} are open")

    def _refusal(self, transport: asyncio.Transport) -> tuple[Refusal, str] | None:
        if self._tls is None:
            return None
        spoken: ssl.SSLObject = transport.get_extra_info("ssl_object")
        if spoken.selected_alpn_protocol() != "h2":
            return Refusal.NO_H2, "no ALPN protocol, or another one"
        dns, others = certificate_names(transport.get_extra_info("peercert"))
        if not self._tls.names(dns, others):
            return Refusal.CERTIFICATE_NAME, ", ".join((*dns, *others)) or "no name"
        return None

    def _lost(self, connection: GrpcConnection) -> None:
        self.places.leave(connection)
        if not self.places:
            self._empty.set()

    def _limits(self) -> LifetimeLimits:
        options = self._options
        age = inf if options.max_connection_age is None else options.max_connection_age
        return LifetimeLimits(
            age=age * random.uniform(1 - AGE_JITTER, 1 + AGE_JITTER),  # noqa: S311 -- jitter, not cryptography
            grace=inf if options.max_connection_age_grace is None else options.max_connection_age_grace,
            idle=inf if options.idle_timeout is None else options.idle_timeout,
            stall=options.stall_timeout,
        )


def _peer(client: object) -> str:
    return address(plain(client[0]), client[1]) if isinstance(client, tuple) else "unix socket"


def _max_buffered(options: Nghttp2Options) -> int:
    return max(options.max_buffered_bytes, 4 * options.max_request_bytes)


def _state(handlers: Handlers, options: Nghttp2Options) -> ServerState:
    half = _max_buffered(options) // 2
    return ServerState(
        dict(handlers.unary),
        dict(handlers.streams),
        exclusive=frozenset(handlers.exclusive),
        max_message=options.max_request_bytes,
        max_calls=options.max_concurrent_calls,
        max_streaming=options.max_streaming_calls,
        max_connection_streaming=options.max_connection_streaming_calls,
        max_streams=options.max_streams,
        max_header_bytes=options.max_header_bytes,
        max_headers=options.max_headers,
        max_buffered=half,
        buffered_share=half // options.max_connections,
        max_connection_buffered=max(options.max_connection_buffered_bytes, 4 * options.max_request_bytes),
        max_bodies=max(options.max_buffered_bytes // 4, 4 * options.max_request_bytes),
        max_unsent=options.max_unsent_bytes,
        wasted_frames=options.wasted_frames,
        request_timeout=int(options.stall_timeout * 1_000_000),
        metadata=options.metadata,
    )
