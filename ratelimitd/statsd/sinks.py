"""The sockets that statsd's lines leave by. Each raises OSError when it cannot take them in time."""

import asyncio
import socket
from typing import Final, Protocol

from .wire import datagrams

DIAL_TIME: Final = 1.5
"""Seconds to connect, and ``SEND_TIME`` to take a chunk, as gostats waits."""

SEND_TIME: Final = 1.0

UDP_BYTES: Final = 1_432
"""Bytes of a datagram that pass a network with an MTU of 1,500 in one piece, as gostats and Datadog's client send."""

UNIX_BYTES: Final = 8_192
"""Bytes of a datagram to a unix socket, as Datadog's client sends; its agent reads no more."""


class Sink(Protocol):
    """A place for lines.

    Attributes:
        where: its address, for the log.
    """

    where: str

    async def open(self) -> None:
        """Connect if there is no connection. Raises OSError."""

    async def send(self, lines: bytes) -> None:
        """Hand over whole lines. Raises OSError."""

    async def finish(self) -> None:
        """Close the connection once all has been sent. Raises OSError."""

    def close(self) -> None:
        """Give the connection up; ``open`` makes another one."""


class TcpSink:
    """statsd over TCP."""

    def __init__(self, host: str, port: int) -> None:
        self.where = f"{host}:{port}"
        self._host = host
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Connect if there is no connection, or if the server has closed it."""
        if self._streams is not None and self._streams[0].at_eof():
            self.close()
        if self._streams is None:
            async with asyncio.timeout(DIAL_TIME):
                self._streams = await asyncio.open_connection(self._host, self._port)

    async def send(self, lines: bytes) -> None:
        """Write, and wait while the server reads more slowly."""
        if self._streams is None:
            raise ConnectionError("not connected")
        _, writer = self._streams
        writer.write(lines)
        async with asyncio.timeout(SEND_TIME):
            await writer.drain()

    async def finish(self) -> None:
        """Close the connection once all has been sent."""
        if self._streams is not None:
            writer = self._streams[1]
            writer.close()
            async with asyncio.timeout(SEND_TIME):
                await writer.wait_closed()
        self._streams = None

    def close(self) -> None:
        """Abort the connection: what it did not send is lost."""
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams = None


class DatagramSink:
    """statsd over UDP, or a unix socket of datagrams; it can only notice that there is no receiver on this host.

    Args:
        path: the unix socket; "": UDP to host and port.
    """

    def __init__(self, host: str = "", port: int = 0, path: str = "") -> None:
        self.where = path or f"{host}:{port}"
        self._address = host, port
        self._path = path
        self._most = UNIX_BYTES if path else UDP_BYTES
        self._socket: socket.socket | None = None

    async def open(self) -> None:
        """Make a socket if there is none; its host is looked up again then."""
        if self._socket is not None:
            return
        family, address = await self._resolved()
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)  # noqa: FBT003 -- the name of the function says it
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        self._socket = sock

    async def _resolved(self) -> tuple[int, tuple[object, ...] | str]:
        if self._path:
            return socket.AF_UNIX, self._path
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DIAL_TIME):
            found = await loop.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)
        family, _, _, _, address = found[0]
        return family, address

    async def send(self, lines: bytes) -> None:
        """Send datagrams of whole lines; wait while the receiver on this host, or the network, is busy."""
        if self._socket is None:
            raise ConnectionError("not connected")
        loop = asyncio.get_running_loop()
        for datagram in datagrams(lines, self._most):
            try:
                self._socket.send(datagram)
            except BlockingIOError:
                async with asyncio.timeout(SEND_TIME):
                    await loop.sock_sendall(self._socket, datagram)

    async def finish(self) -> None:
        """Close the socket: the kernel has all that was sent."""
        self.close()

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
