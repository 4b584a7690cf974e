"""The server: accepts connections up to its bounds, and drains them when it is told to."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

from ratelimitd.net.accept import Hooks, Listener
from ratelimitd.net.drain import drain, each
from ratelimitd.net.peers import peers
from ratelimitd.net.places import Bounds, Full, Places

from .deadlines import Sweeper
from .downstream import DownstreamConnection
from .model import ErrorResponse, Peer, peer_of
from .options import ServerOptions
from .owner import Handler, Member
from .responses import Render, error_answer, render_text

NO_PLACE: Final[Mapping[Full, str]] = {
    Full.ADDRESS: "too many connections from one address",
    Full.CONNECTIONS: "too many connections",
    Full.HANDSHAKES: "too many TLS handshakes",
}


def _ignore(error: ErrorResponse, peer: Peer) -> None:
    """Ignore it."""


def ignore(reason: str, client: str) -> None:
    """Ignore a rejected connection: the default of ``turned_away``."""


class Server:
    """HTTP/1.1 and 1.0.

    Attributes:
        handler: answers requests.
        places: the open connections and the bounds of their number.
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
        turned_away: Callable[[str, str], None] = ignore,
        most: int | None = None,
        trusted: Iterable[str] = (),
    ) -> None:
        """Make a server; ``start`` lets it serve.

        Args:
            handler: see above.
            options: see below.
            sweeper: enforces the deadlines.
            render: see above.
            refused: called for errors before a request reaches the handler, and for rejected connections.
            turned_away: called with the reason and the address of a rejected connection; "files" and no address if the
                system has no file or memory for one.
            most: connections for which the process has files; None: any number.
            trusted: see ``trust``.
        """
        self.handler = handler
        self.places: Places[Member] = Places(Bounds(0))
        self._listeners: list[Listener[Member]] = []
        self._most = most
        self.options = options
        self.render = render
        self.refused = refused
        self.leaving = False
        self.turned_away = turned_away
        self._sweeper = sweeper
        self._peer = peers(trusted)
        self._empty = asyncio.Event()

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self.places)

    @property
    def options(self) -> ServerOptions:
        """Bounds and timeouts, for connections from now on."""
        return self._options

    @options.setter
    def options(self, options: ServerOptions) -> None:
        self._options = options
        total = options.max_connections if self._most is None else min(options.max_connections, self._most)
        of_one = options.max_connections_per_address
        self.places.bounds = Bounds(total, per_address=of_one if of_one < total else 0)
        for listener in self._listeners:
            listener.handshake_wait = options.head_timeout

    def trust(self, networks: Iterable[str]) -> None:
        """Let the peers in these networks, and no others, have any part of the places from now on."""
        self._peer = peers(networks)
        for listener in self._listeners:
            listener.peer = self._peer

    async def start(self, sock: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
        """Serve a bound socket, with TLS if a context is given; several sockets share the bounds."""
        loop = asyncio.get_running_loop()
        secure = tls is not None
        hooks: Hooks[Member] = Hooks(
            make=lambda: DownstreamConnection(self, loop, secure=secure),
            leave=lambda member: member.abort(),
            refused=self._refuse_unread if secure else self._refuse,
            exhausted=lambda _: self.turned_away("files", ""),
        )
        self._listeners.append(Listener(sock, hooks, self.places, self._peer, tls, self.options.head_timeout))

    def leave(self) -> None:
        """Announce with each response that it is its connection's last; new connections are still accepted."""
        self.leaving = True

    async def stop(self, grace: float) -> None:
        """Accept no new connection, close idle ones, give the others ``grace`` seconds, then abort them.

        A client that has connected is accepted before, and a request that has arrived is answered.
        """
        self.leaving = True
        for listener in self._listeners:
            await listener.finish()
        await each(self.places, lambda connection: connection.leave())
        await drain(self.places, self._empty, grace, self._hang_up)

    def _hang_up(self) -> None:
        for listener in self._listeners:
            listener.close()

    def joined(self, member: Member) -> None:
        """Watch the deadline of a connection."""
        self._sweeper.add(member)

    def lost(self, member: Member) -> None:
        """Drop a closed connection."""
        self.places.leave(member)
        self._sweeper.discard(member)
        if not self.places:
            self._empty.set()

    def _refuse(self, reason: Full, sock: socket.socket, client: object) -> None:
        """Answer before anything is read: what does not fit into an empty buffer is dropped."""
        self._refuse_unread(reason, sock, client)
        error = ErrorResponse(503, NO_PLACE[reason])
        with suppress(OSError):
            sock.send(error_answer(*self.render(error, None), error.status))

    def _refuse_unread(self, reason: Full, _: socket.socket, client: object) -> None:
        """Say why: a client that waits for a TLS handshake can read no answer."""
        peer = peer_of(client)
        self.refused(ErrorResponse(503, NO_PLACE[reason]), peer)
        self.turned_away(str(reason), peer.address)
