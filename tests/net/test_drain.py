"""The end of a server's connections."""

import asyncio

from ratelimitd.net import drain
from ratelimitd.net.drain import PART, each
from ratelimitd.net.drain import drain as drained


class Server:
    """Holds connections that go when they are aborted, or do not go at all."""

    def __init__(self):
        self.connections: set[Connection] = set()
        self.empty = asyncio.Event()
        self.aborted = 0

    def lose(self, connection):
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()


class Connection:
    def __init__(self, server, *, goes=True):
        self.server, self.goes = server, goes
        server.connections.add(self)

    def abort(self):
        self.server.aborted += 1
        if self.goes:
            asyncio.get_running_loop().call_soon(self.server.lose, self)


async def test_connections_that_go_within_the_grace_are_not_aborted():
    """The wait ends with the last of them, long before the grace."""
    server = Server()
    for _ in range(2):
        asyncio.get_running_loop().call_soon(server.lose, Connection(server))
    async with asyncio.timeout(10):
        await drained(server.connections, server.empty, 1000)
    assert server.aborted == 0


async def test_what_is_left_after_the_grace_is_aborted():
    """Also where the server was empty before, and took another connection since."""
    server = Server()
    server.lose(Connection(server))
    Connection(server)
    await drained(server.connections, server.empty, 0)
    assert (server.connections, server.aborted) == (set(), 1)


async def test_a_connection_that_cannot_be_closed_holds_nobody_up(monkeypatch):
    """The process ends without it."""
    monkeypatch.setattr(drain, "ABORT_WAIT", 0.001)
    server = Server()
    Connection(server, goes=False)
    async with asyncio.timeout(10):
        await drained(server.connections, server.empty, 0)
    assert server.aborted == 1


async def test_many_connections_are_left_in_parts():
    """The loop serves others meanwhile."""
    called, between = [], []

    async def other():
        while len(called) < 3 * PART:
            between.append(len(called))
            await asyncio.sleep(0)

    serving = asyncio.create_task(other())
    await each(range(3 * PART), called.append)
    await serving
    assert (called, between) == ([*range(3 * PART)], [PART, 2 * PART])


async def test_what_cannot_be_aborted_yet_is_ended_after_the_grace():
    """A connection in its handshake has no transport: its server hangs up."""
    server = Server()
    connection = Connection(server, goes=False)

    def hang_up():
        server.lose(connection)

    async with asyncio.timeout(10):
        await drained(server.connections, server.empty, 0, hang_up)
    assert (server.connections, server.aborted) == (set(), 0)
