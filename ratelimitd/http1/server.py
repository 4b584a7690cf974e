"""The server: accepts connections up to its bounds, and drains them when it is told to."""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable

from ratelimitd.net.drain import drain
from ratelimitd.net.listen import BACKLOG

from .deadlines import Sweeper
from .downstream import DownstreamConnection
from .model import ErrorResponse, Peer
from .options import ServerOptions
from .owner import Handler, Member
from .responses import Render, render_text


def _ignore(error: ErrorResponse, peer: Peer) -> None:
    """Ignore it."""


class Server:
    """HTTP/1.1 and 1.0.

    Attributes:
        handler: answers requests.
        options: bounds and timeouts, for connections from now on.
        render: makes headers and body of error responses; by default a line of text.
        leaving: the next response of each connection is its last.
    """

    def __init__(
        self,
        handler: Handler,
        options: ServerOptions,
        sweeper: Sweeper,
        *,
        render: Render = render_text,
        refused: Callable[[ErrorResponse, Peer], None] = _ignore,
    ) -> None:
        """``refused`` is called for errors before a request reaches the handler, and for rejected connections."""
        self.handler = handler
        self.options = options
        self.render = render
        self.refused = refused
        self.leaving = False
        self._sweeper = sweeper
        self._connections: set[Member] = set()
        self._addresses: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._servers: list[asyncio.Server] = []

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._connections)

    async def start(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Serve a bound socket, with TLS if a context is given; several sockets share the bounds."""
        loop = asyncio.get_running_loop()
        secure = tls is not None
        server = await loop.create_server(
            lambda: DownstreamConnection(self, loop, secure=secure), sock=sock, ssl=tls, backlog=BACKLOG
        )
        self._servers.append(server)

    def leave(self) -> None:
        """Announce with each response that it is its connection's last; new connections are still accepted."""
        self.leaving = True

    async def stop(self, grace: float) -> None:
        """Accept no connection, close idle ones, give the others ``grace`` seconds, then abort them."""
        self.leaving = True
        for server in self._servers:
            server.close()
        for connection in tuple(self._connections):
            connection.leave()
        await drain(self._connections, self._empty, grace)

    def admit(self, peer: Peer) -> str:
        """Return why a new connection is rejected; empty if it is accepted."""
        if len(self._connections) >= self.options.max_connections:
            return "too many connections"
        if peer.address and self._addresses[peer.address] >= self.options.max_connections_per_address:
            return "too many connections from one address"
        return ""

    def joined(self, member: Member, peer: Peer) -> None:
        """Count a connection, and watch its deadline."""
        self._connections.add(member)
        self._addresses[peer.address] += 1
        self._sweeper.add(member)

    def lost(self, member: Member, peer: Peer) -> None:
        """Drop a closed connection."""
        self._connections.discard(member)
        self._sweeper.discard(member)
        self._addresses[peer.address] -= 1
        if not self._addresses[peer.address]:
            del self._addresses[peer.address]
        if not self._connections:
            self._empty.set()
