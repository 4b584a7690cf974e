"""Draining of a server's connections, independent of the protocol."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final, Protocol, TypeVar

ABORT_WAIT: Final = 1.0
"""Seconds for aborted connections to close; their sockets need one iteration of the event loop."""


PART: Final = 64
"""Connections that are closed before the loop serves others: each takes 10 to 20 µs."""


class Abortable(Protocol):
    """A connection that can be aborted."""

    def abort(self) -> None:
        """Close immediately."""


C = TypeVar("C")


def _nothing() -> None:
    """Do nothing."""


async def drain(
    connections: Collection[Abortable],
    empty: asyncio.Event,
    grace: float,
    hang_up: Callable[[], None] = _nothing,
) -> None:
    """Wait up to ``grace`` seconds until a server has no connections, then abort the remaining ones.

    ``connections`` shrinks during the wait, and ``empty`` is set when the last one closes. ``hang_up`` ends those that
    cannot be aborted yet, as their handshake is not complete.
    """
    await _until_empty(connections, empty, grace)
    hang_up()
    await each(connections, lambda connection: connection.abort())
    await _until_empty(connections, empty, ABORT_WAIT)


async def each(connections: Collection[C], call: Callable[[C], None]) -> None:
    """Call for each connection, ``PART`` of them in a turn of the loop; some may be closed by then."""
    for number, connection in enumerate(tuple(connections), 1):
        call(connection)
        if number % PART == 0:
            await asyncio.sleep(0)


async def _until_empty(connections: Collection[Abortable], empty: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while connections:
                empty.clear()
                await empty.wait()
