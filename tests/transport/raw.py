"""Connections of our own to a server, for what no client would do."""

import asyncio
from contextlib import asynccontextmanager

from tests.transport.wire import Caller


@asynccontextmanager
async def raw(server, settings=None):
    """A connection of our own and its caller, greeted."""
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
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
