"""Draining of a server's connections, independent of the protocol."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Final, Protocol

ABORT_WAIT: Final = 1.0
"""Seconds for aborted connections to close; their sockets need one iteration of the event loop."""


class Abortable(Protocol):
    """A connection that can be aborted."""

    def abort(self) -> None:
        """Close immediately."""


async def drain(connections: Collection[Abortable], empty: asyncio.Event, grace: float) -> None:
    """Wait up to ``grace`` seconds until a server has no connections, then abort the remaining ones.

    ``connections`` shrinks during the wait, and ``empty`` is set when the last one closes.
    """
    await _until_empty(connections, empty, grace)
    for connection in tuple(connections):
        connection.abort()
    await _until_empty(connections, empty, ABORT_WAIT)


async def _until_empty(connections: Collection[Abortable], empty: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while connections:
                empty.clear()
                await empty.wait()
