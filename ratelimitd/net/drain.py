"""The end of a server's connections, whatever is spoken on them."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Final, Protocol

ABORT_WAIT: Final = 1.0
"""Seconds for connections that were aborted to be gone; their sockets need one turn of the loop."""


class Connection(Protocol):
    """What is needed of one."""

    def abort(self) -> None:
        """Close at once."""


async def drain(connections: Collection[Connection], empty: asyncio.Event, grace: float) -> None:
    """Wait ``grace`` seconds until a server has no connections, then abort those it still has.

    ``connections`` shrinks while this waits, and ``empty`` is set whenever the last one went.
    """
    await _until_empty(connections, empty, grace)
    for connection in tuple(connections):
        connection.abort()
    await _until_empty(connections, empty, ABORT_WAIT)


async def _until_empty(connections: Collection[Connection], empty: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while connections:
                empty.clear()
                await empty.wait()
