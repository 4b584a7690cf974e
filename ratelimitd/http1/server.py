"""The listener: takes clients in up to its bounds, and lets them go when it is told to."""

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


def _unheard(error: ErrorResponse, peer: Peer) -> None:
    """Nobody asked."""


class Server:
    """HTTP/1.1 and 1.0 on one socket.

    Attributes:
        handler: answers requests.
        options: bounds and times.
        render: makes the refusals; of text where it is not given.
        leaving: each answer is its connection's last.
    """

    def __init__(
        self,
        handler: Handler,
        options: ServerOptions,
        sweeper: Sweeper,
        *,
        render: Render = render_text,
        refused: Callable[[ErrorResponse, Peer], None] = _unheard,
    ) -> None:
        """``refused`` hears of requests that no handler sees, among them clients turned away."""
        self.handler = handler
        self.options = options
        self.render = render
        self.refused = refused
        self.leaving = False
        self._sweeper = sweeper
        self._connections: set[Member] = set()
        self._addresses: Counter[str] = Counter()
        self._empty = asyncio.Event()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """Connections open."""
        return len(self._connections)

    async def start(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Serve a bound socket from now on, with TLS where a context is given."""
        loop = asyncio.get_running_loop()
        secure = tls is not None
        self._server = await loop.create_server(
            lambda: DownstreamConnection(self, loop, secure=secure), sock=sock, ssl=tls, backlog=BACKLOG
        )

    def leave(self) -> None:
        """Say with each answer that it is the connection's last; new connections are still taken."""
        self.leaving = True

    async def stop(self, grace: float) -> None:
        """Take no new connection, close idle ones, give the others ``grace`` seconds, then end them."""
        self.leaving = True
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.leave()
        await drain(self._connections, self._empty, grace)

    def admit(self, peer: Peer) -> str:
        """Say why a new connection cannot be taken in; nothing where it can."""
        if len(self._connections) >= self.options.max_connections:
            return "too many connections"
        if peer.address and self._addresses[peer.address] >= self.options.max_connections_per_address:
            return "too many connections from one address"
        return ""

    def joined(self, member: Member, peer: Peer) -> None:
        """Look after a connection."""
        self._connections.add(member)
        self._addresses[peer.address] += 1
        self._sweeper.add(member)

    def lost(self, member: Member, peer: Peer) -> None:
        """Forget a connection."""
        self._connections.discard(member)
        self._sweeper.discard(member)
        self._addresses[peer.address] -= 1
        if not self._addresses[peer.address]:
            del self._addresses[peer.address]
        if not self._connections:
            self._empty.set()
