"""Connections of our own to a server, for what no client would do."""

import asyncio
import socket
from contextlib import asynccontextmanager

from hyperframe.frame import PingFrame

from tests.transport.wire import Caller


@asynccontextmanager
async def raw(server, settings=None, ssl=None):
    """A connection of our own and its caller, greeted; by TLS with a context."""
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=ssl)
    caller = Caller()
    writer.write(caller.start(settings))
    try:
        yield caller, reader, writer
    finally:
        writer.transport.abort()


async def read_until(caller, reader, what):
    """Read until ``what()`` holds or the server closes; returns whether it closed."""
    while not what():
        try:
            out = await reader.read(65_536)
        except ConnectionError:
            return True
        if not out:
            return True
        caller.read(out)
    return False


async def closed(caller, reader):
    """Read until the server closes."""
    return await read_until(caller, reader, lambda: False)


async def narrow_at_a_drain(server, held):
    """A caller whose socket holds little, with a call in ``held``, at a server that drains: (socket, caller, drain)."""
    host, _, port = server.address.rpartition(":")
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
    narrow.connect((host, int(port)))
    narrow.setblocking(False)
    loop, caller = asyncio.get_running_loop(), Caller()
    await loop.sock_sendall(narrow, caller.start({4: 1 << 30}) + caller.window(1 << 30) + caller.call())
    while not held:
        await asyncio.sleep(0.01)
    stopping = asyncio.create_task(server.stop(20))
    await loop.sock_sendall(narrow, PingFrame(0, bytes(8), flags=["ACK"]).serialize())
    return narrow, caller, stopping
