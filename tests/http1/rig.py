"""A gateway between two ends that tests hold by hand: raw clients, and an upstream that says what it is told to."""

import asyncio
import re
import socket
import struct
from contextlib import suppress

from ratelimitd.http1 import (
    Endpoint,
    Server,
    ServerOptions,
    Sweeper,
    Upstream,
    UpstreamOptions,
    to_upstream,
)

PATIENCE = 30.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class End:
    """One end of a TCP connection."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, mark=b"\r\n\r\n"):
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(mark)

    async def exactly(self, count):
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(count)

    async def rest(self):
        """All up to the other side's end."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def answer(self):
        """A head, and the body that its length or chunks announce."""
        head = await self.until()
        if length := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
            return head, await self.exactly(int(length[1]))
        if b"chunked" in head:
            return head, await self.until(b"0\r\n\r\n")
        return head, b""

    async def ask(self, data):
        await self.send(data)
        return await self.answer()

    async def closed(self):
        """The other side has closed, however."""
        with suppress(ConnectionError):
            assert await self.rest() == b""

    def eof(self):
        self.writer.write_eof()

    def close(self):
        self.writer.close()

    def reset(self):
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class ScriptedUpstream:
    """Hands each connection that comes to the test."""

    def __init__(self):
        self._arrived = asyncio.Queue()
        self.ends = []
        self.connections = 0

    async def start(self, port=0, tls=None):
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", port, limit=1 << 20, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _accepted(self, reader, writer):
        await self._take(reader, writer)

    async def _take(self, reader, writer):
        end = End(reader, writer)
        self.connections += 1
        self.ends.append(end)
        self._arrived.put_nowait(end)

    async def accept(self):
        async with asyncio.timeout(PATIENCE):
            return await self._arrived.get()

    @property
    def untouched(self):
        return self._arrived.empty()

    async def stop(self):
        self._server.close()
        for end in self.ends:
            end.close()

    def serve(self, callback):
        """Serve each connection so, instead of handing it to the test."""

        async def take(reader, writer):
            self.connections += 1
            self.ends.append(End(reader, writer))
            await callback(reader, writer)

        self._take = take


class Rig:
    """A gateway that forwards all it gets, to as many upstream endpoints as it was given."""

    def __init__(self):
        self.summaries = []
        self.refusals = []
        self.requests = []
        self.trusted = False
        self.client_of = lambda request: request.peer.address
        self.response_headers = []
        self.request_id = b""
        self._ended = asyncio.Event()
        self._ends = []
        self.sweeper = Sweeper(0.01)

    async def start(
        self,
        endpoints,
        server=None,
        upstream=None,
        handler=None,
        tls=None,
        upstream_tls=None,
        sndbuf=0,
        rcvbuf=0,
        sock=None,
        trusted=(),
    ):
        self.upstream = Upstream("app", endpoints, upstream or UpstreamOptions(), self.sweeper, tls=upstream_tls)
        self.server = Server(
            handler or self.forward,
            server or ServerOptions(),
            self.sweeper,
            refused=lambda error, peer: self.refusals.append(error),
            trusted=trusted,
        )
        sock = sock or socket.create_server(("127.0.0.1", 0))
        for option, size in ((socket.SO_SNDBUF, sndbuf), (socket.SO_RCVBUF, rcvbuf)):
            if size:
                sock.setsockopt(socket.SOL_SOCKET, option, size)
        self.port = sock.getsockname()[1]
        await self.server.start(sock, tls=tls)
        return self

    def forward(self, request, exchange):
        self.watch(request, exchange)
        headers = to_upstream(request, trusted=self.trusted, request_id=self.request_id)
        exchange.forward(self.upstream, headers, response_headers=list(self.response_headers))

    def watch(self, request, exchange):
        self.requests.append(request)
        request.client = self.client_of(request)
        exchange.on_done = self._done

    def _done(self, summary):
        self.summaries.append(summary)
        self._ended.set()

    @property
    def downstream(self):
        """Connections of clients."""
        return tuple(self.server.places)

    @property
    def upstreams(self):
        """Connections to the first endpoint."""
        return tuple(self.upstream.pools[0]._connections)

    async def summary(self, count=1):
        """The count-th summary, when it is there."""
        async with asyncio.timeout(PATIENCE):
            while len(self.summaries) < count:
                self._ended.clear()
                await self._ended.wait()
        return self.summaries[count - 1]

    async def client(self, **options):
        end = End(*await asyncio.open_connection("127.0.0.1", self.port, **{"limit": 1 << 20, **options}))
        self._ends.append(end)
        return end

    async def stop(self):
        for end in self._ends:
            end.close()
        await self.server.stop(0)
        await self.upstream.close()
        self.sweeper.close()


def unsent(connection):
    """The bytes in a connection's write buffer."""
    return int(re.search(r"(\d+) unsent", repr(connection))[1])


def endpoint(upstream):
    return Endpoint("127.0.0.1", upstream.port)


async def until(condition, every=0.0):
    """The loop turns until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(every)


def get(path=b"/", *headers):
    return b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path, b"".join(line + b"\r\n" for line in headers))


def post(body, *headers):
    lines = b"".join(line + b"\r\n" for line in headers)
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), lines, body)


async def forwarded(rig, upstream):
    """A client whose request has reached the upstream, and the upstream's end of its connection."""
    client = await rig.client()
    await client.send(get())
    end = await upstream.accept()
    await end.until()
    return client, end


async def answered(rig, upstream):
    """The same, once the upstream has answered and the client has read it: both connections are idle."""
    client, end = await forwarded(rig, upstream)
    await end.send(OK)
    await client.answer()
    return client, end
