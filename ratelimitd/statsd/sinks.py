"""The sockets that statsd's lines leave by. Each raises OSError when it cannot take them in time."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol, cast

from ratelimitd.net.connect import connect

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

    async def open(self) -> bool:
        """Connect if there is no connection; returns whether a receiver is known to be there. Raises OSError."""

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
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> bool:
        """Connect if there is no connection, or if the server has closed or reset it."""
        if self._writer is not None and self._writer.is_closing():
            self.close()
        if self._writer is None:
            reader = asyncio.StreamReader()
            async with asyncio.timeout(DIAL_TIME):
                with _no_name():
                    made = await connect(lambda: _Deaf(reader), self._host, self._port, ssl=None, server_hostname=None)
            self._writer = asyncio.StreamWriter(made.transport, made, reader, asyncio.get_running_loop())
        return True

    async def send(self, lines: bytes) -> None:
        """Write, and wait while the server reads more slowly."""
        if self._writer is None:
            raise ConnectionError("not connected")
        self._writer.write(lines)
        async with asyncio.timeout(SEND_TIME):
            await self._writer.drain()

    async def finish(self) -> None:
        """Close the connection once all has been sent."""
        if self._writer is not None:
            self._writer.close()
            async with asyncio.timeout(SEND_TIME):
                await self._writer.wait_closed()
        self._writer = None

    def close(self) -> None:
        """Abort the connection: what it did not send is lost."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._writer = None


class _Deaf(asyncio.StreamReaderProtocol):
    """The protocol below a writer. What the server sends is dropped, and the connection ends when it closes."""

    transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for a writer."""
        super().connection_made(transport)
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Drop it."""

    def eof_received(self) -> bool:
        """Let the transport close: a server that writes no more reads no more."""
        super().eof_received()
        return False


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

    async def open(self) -> bool:
        """Make a socket if there is none; its host is looked up again then.

        A host without a receiver tells so after the first datagram, so a new socket of UDP proves nothing.
        """
        if self._socket is not None:
            refused = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if refused:
                raise OSError(refused, os.strerror(refused))
            return True
        family, address = await self._resolved()
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)  # noqa: FBT003 -- the name of the function says it
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        self._socket = sock
        return bool(self._path)

    async def _resolved(self) -> tuple[int, tuple[object, ...] | str]:
        if self._path:
            return socket.AF_UNIX, self._path
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DIAL_TIME):
            with _no_name():
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


@contextmanager
def _no_name() -> Iterator[None]:
    """Raise OSError for a host that can be no name, such as one with an empty label."""
    try:
        yield
    except ValueError as error:
        raise OSError(str(error)) from error
