"""Real receivers of statsd: a TCP server and datagram sockets that keep what they get."""

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager

from ratelimitd.statsd.wire import statsd

PATIENCE = 30.0
PLAIN = statsd(())


class Received:
    """Lines that came, in order."""

    def __init__(self):
        self.text = b""
        self.address = ("", 0)
        self.connections = []
        self._grown = asyncio.Event()

    def take(self, data):
        self.text += data
        self._grown.set()

    @property
    def lines(self):
        return self.text.decode().splitlines()

    async def has(self, wanted):
        """Wait until a line is there."""
        async with asyncio.timeout(PATIENCE):
            while wanted not in self.lines:
                self._grown.clear()
                await self._grown.wait()


@asynccontextmanager
async def tcp(port=0):
    """A statsd over TCP on a free port, or on the one that another one had."""
    received = Received()

    async def serve(reader, writer):
        received.connections.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                received.take(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    received.address = server.sockets[0].getsockname()[:2]
    try:
        yield received
    finally:
        server.close()
        for writer in received.connections:
            writer.transport.abort()
        await server.wait_closed()


@asynccontextmanager
async def datagrams(path="", port=0):
    """A statsd over UDP, on a free port or on that of another one, or on a unix socket.

    ``sizes`` has the size of each datagram.
    """
    received = Received()
    received.sizes = []
    family, address = (socket.AF_UNIX, path) if path else (socket.AF_INET, ("127.0.0.1", port))
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(address)
    sock.setblocking(False)
    received.address = sock.getsockname()

    async def read():
        loop = asyncio.get_running_loop()
        while True:
            data = await loop.sock_recv(sock, 1 << 16)
            received.sizes.append(len(data))
            received.take(data + b"\n")

    reading = asyncio.create_task(read())
    try:
        yield received
    finally:
        reading.cancel()
        sock.close()
