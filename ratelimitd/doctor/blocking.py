"""Blocking calls with a timeout."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.stores.redis import RedisConnectionError

T = TypeVar("T")

LOOKUP_TIMEOUT: Final = 2.0
"""Seconds for a name lookup: a resolver that works answers in milliseconds; without a server it waits 5 s."""


async def within(seconds: float, call: Callable[[], T]) -> T:
    """Run a call in a thread and return its result or raise its exception; TimeoutError if it takes longer.

    The thread is a daemon, so that the process can exit while a resolver still waits for its server.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type] # None only if T includes it

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except Exception as caught:  # noqa: BLE001 -- raised again where it is awaited
            error = caught
        with suppress(RuntimeError):  # the loop is closed: the caller stopped waiting
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True).start()
    async with asyncio.timeout(seconds):
        return await done


async def resolve(address: RedisAddress) -> None:
    """Look up a name. Raises RedisConnectionError if it is unknown or the lookup times out."""
    if address.path:
        return
    try:
        await within(LOOKUP_TIMEOUT, lambda: socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
    except TimeoutError as error:
        raise RedisConnectionError(f"the name {address.host} was not resolved within {LOOKUP_TIMEOUT:g} s") from error
    except OSError as error:
        raise RedisConnectionError(f"the name {address.host} cannot be resolved: {error.strerror or error}") from error
