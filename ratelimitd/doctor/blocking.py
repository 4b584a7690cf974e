"""Calls that may block, without waiting for them longer than a bound."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.stores.redis import RedisConnectionError

T = TypeVar("T")

NAMES: Final = 2.0
"""Seconds for a name: a resolver that is there answers in milliseconds, and one that is not takes 5 s to say so."""


async def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what the call returns or raise what it raises; TimeoutError when that takes longer.

    The thread is a daemon, since the process must be able to end while a resolver still waits for its server.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type] # None only where T has it

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except Exception as caught:  # noqa: BLE001 -- raised again where it is awaited
            error = caught
        with suppress(RuntimeError):  # the loop has ended: nobody waited so long
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    async with asyncio.timeout(seconds):
        return await done


async def resolve(address: RedisAddress) -> None:
    """Look a name up. Raises RedisConnectionError when it is not known, or nobody says so in time."""
    if address.path:
        return
    try:
        await within(NAMES, lambda: socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
    except TimeoutError as error:
        raise RedisConnectionError(f"the name {address.host} was not looked up within {NAMES:g} s") from error
    except OSError as error:
        raise RedisConnectionError(f"the name {address.host} is not known: {error.strerror or error}") from error
