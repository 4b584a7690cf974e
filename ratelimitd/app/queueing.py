"""How many requests may wait for a limit, and what becomes of them when the process stops."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ratelimitd.gateway import Queueing

CONNECTIONS_PER_WAITING: Final = 2
"""A waiting request has a connection. Half of them stay for requests that need not wait, and for health checks."""

WAITER_BYTES: Final = 3_072
"""Memory of a waiting request besides its connection and its head: 2.6 KiB measured, with its timer and its plan."""

LAST_ANSWERS: Final = 1.0
"""Seconds before the end of the grace at which waiting ends: to answer 5,000 requests in turns takes half of it."""


def waiting_most(connections: int) -> int:
    """Return how many requests may wait in a process with room for this many connections."""
    return max(1, connections // CONNECTIONS_PER_WAITING)


async def stop_queueing(queueing: "Queueing", stop: Callable[[float], Awaitable[None]], grace: float) -> None:
    """Stop a server within ``grace`` seconds. Requests that wait go on as places come free, and get 503 at the end."""
    last = asyncio.get_running_loop().call_later(max(grace / 2, grace - LAST_ANSWERS), queueing.close)
    try:
        await stop(grace)
    finally:
        last.cancel()
