"""Accepting connections: each gets a place before anything is made for it, also before a TLS handshake."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar, cast

from .idlest import Occupant
from .listen import BACKLOG
from .peers import Peer
from .places import Bounds, Full, Places

HANDSHAKE_WAIT: Final = 10.0
"""Seconds for a TLS handshake, which takes a few round trips; asyncio would keep a silent client for a minute."""

HANDSHAKES: Final = 1000
"""TLS handshakes of a listener at the same time: each holds 62 KiB (measured), so all hold as much as a small cache."""

HANDSHAKE_PATIENCE: Final = 2.0
"""Seconds for a handshake before it makes room for another: as many of 1 to 2 ms of work may be before it."""

TURN: Final = 8
"""Connections accepted before the loop serves others: less than a millisecond of work. As many may be about to close,
so that others have their places; their files are open until then."""

RETRY: Final = 1.0
"""Seconds without accepting after the system had no file or memory for a connection: asyncio's number."""

_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Member(Occupant, Protocol):
    """A connection of a listener: an asyncio protocol."""

    def abort(self) -> None:
        """Close immediately, once it is made."""


C = TypeVar("C", bound=Member)


class Hooks(NamedTuple, Generic[C]):
    """What a listener asks of its server.

    Attributes:
        make: makes the protocol of a connection.
        leave: asks a connection to leave, so that another gets its place.
        refused: learns why a connection got no place, before its socket is closed.
        exhausted: learns why the system has no file or memory for a connection.
    """

    make: Callable[[], C]
    leave: Callable[[C], None]
    refused: Callable[[Full, "socket.socket", Any], None]
    exhausted: Callable[[OSError], None]


class Accepted(socket.socket):
    """The socket of an accepted connection. ``socket.socket`` makes an enum member at each look at family or type, five
    for a connection, which together take a tenth of the time that accepting takes."""

    __slots__ = ("_family",)

    def __init__(self, family: socket.AddressFamily, fileno: int) -> None:
        super().__init__(family, socket.SOCK_STREAM, 0, fileno)
        self._family = family

    @property
    def family(self) -> socket.AddressFamily:
        """The address family."""
        return self._family

    @property
    def type(self) -> socket.SocketKind:
        """The kind."""
        return socket.SOCK_STREAM


class Listener(Generic[C]):
    """Accepts the connections of a listening socket, as far as it has places.

    The event loop's own server knows a TLS connection only after its handshake, so that handshakes count nowhere.

    Attributes:
        peer: finds the peer of a connection by its address.
        handshake_wait: seconds for a TLS handshake.
    """

    def __init__(
        self,
        sock: socket.socket,
        hooks: Hooks[C],
        places: Places[C],
        peer: Callable[[object], Peer],
        tls: ssl.SSLContext | None = None,
        handshake_wait: float = HANDSHAKE_WAIT,
    ) -> None:
        self.peer = peer
        self.handshake_wait = handshake_wait
        self._sock = sock
        self._family = sock.family
        self._hooks = hooks
        self._places = places
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._batch = 1
        self._greeting: dict[C, socket.socket] = {}
        self._handshakes: Places[C] = Places(Bounds(HANDSHAKES, patience=HANDSHAKE_PATIENCE))
        self._retry: asyncio.TimerHandle | None = None
        sock.settimeout(0)
        self._resume()

    async def finish(self) -> None:
        """Accept the connections that wait in the backlog, and then no more.

        A client's connection is made before it is accepted, and closing the socket would reset it and its request.
        Handshakes go on.
        """
        for _ in range(BACKLOG):
            if self._sock.fileno() < 0 or not self._accept():
                break
            await asyncio.sleep(0)
        self._stop()

    def close(self) -> None:
        """Accept no more, and end the handshakes."""
        self._stop()
        for sock in self._greeting.values():
            _hang_up(sock)

    def _stop(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock)
        if self._retry is not None:
            self._retry.cancel()
        self._sock.close()

    def _resume(self) -> None:
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> bool:
        """Accept one connection, and more while they come faster: to find none costs as much as to accept one.

        Returns whether others may wait.
        """
        for _ in range(min(self._batch, TURN - self._places.closing)):
            try:
                fileno, address = self._sock._accept()  # type: ignore[attr-defined] # noqa: SLF001 -- see Accepted
            except OSError as error:  # nothing to accept, or the client is gone already
                self._batch = 1
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                return False
            sock = Accepted(self._family, fileno)
            sock.settimeout(0)
            self._take(sock, address, self._loop.time())
        self._batch = min(TURN, 2 * self._batch)
        return True

    def _pause(self, error: OSError) -> None:
        """Stop accepting: the socket stays readable, and would keep the loop busy."""
        self._loop.remove_reader(self._sock)
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._loop.call_later(RETRY, self._resume)
        self._hooks.exhausted(error)

    def _take(self, sock: socket.socket, address: object, now: float) -> None:
        peer = self.peer(address)
        refused = self._no_place(peer, now)
        if refused is not None:
            self._hooks.refused(refused, sock, address)
            sock.close()
            return
        connection = self._hooks.make()
        self._greeting[connection] = sock
        self._places.enter(connection, peer, now)
        if self._tls is not None:
            self._handshakes.enter(connection, peer, now)
        self._greet(connection, self._connecting(connection, sock))

    def _no_place(self, peer: Peer, now: float) -> Full | None:
        """Make room for a connection; return why there is none."""
        for places in (self._handshakes, self._places) if self._tls is not None else (self._places,):
            room = places.make_room(peer, now)
            if room.refused is not None:
                return room.refused if places is self._places else Full.HANDSHAKES
            if room.closes is not None:
                self._close(room.closes)
            if room.leaves is not None:
                self._leave(room.leaves)
        return None

    def _leave(self, connection: C) -> None:
        if connection in self._greeting:
            self._close(connection)
        else:
            self._hooks.leave(connection)

    def _close(self, connection: C) -> None:
        """Close a connection, whether its transport is known already or not."""
        if connection in self._greeting:
            _hang_up(self._greeting[connection])
        connection.abort()

    def _connecting(self, connection: C, sock: socket.socket) -> Coroutine[Any, None, object]:
        """Connect the protocol, after the handshake if there is one."""
        wait = None if self._tls is None else self.handshake_wait
        protocol = cast("asyncio.BaseProtocol", connection)
        return self._loop.connect_accepted_socket(lambda: protocol, sock, ssl=self._tls, ssl_handshake_timeout=wait)

    def _greet(self, connection: C, connecting: Coroutine[Any, None, object]) -> None:
        """Go on until the next wait. A task would cost twice as much, and begin a turn of the loop later."""
        try:
            waits: asyncio.Future[object] = connecting.send(None)
        except StopIteration:
            pass
        except OSError as error:  # ssl.SSLError is one: a client that fails in the handshake is dropped
            error.__traceback__ = None  # leads to ``waits``, which has the error: a cycle, for the collector to find
            self._places.leave(connection)
        else:
            waits.add_done_callback(lambda _: self._greet(connection, connecting))
            return
        del self._greeting[connection]
        self._handshakes.leave(connection)


def _hang_up(sock: socket.socket) -> None:
    """End a connection whose transport is not known yet: it reads the end, and closes."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
