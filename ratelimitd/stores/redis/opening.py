"""Opening a connection to Redis, and commands whose replies are awaited."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.net.connect import connect

from .connection import RedisConnection, RedisConnectionError, Waiter
from .encoding import Word
from .options import Tls

NO_TLS: Final = ": does it speak TLS (REDIS_TLS, rediss://)?"
"""A Redis without TLS waits for the end of what it takes for a command."""


async def open_connection(
    address: RedisAddress,
    tls: Tls | None,
    timeout: float,  # noqa: ASYNC109 -- it becomes a RedisConnectionError
    handshake: Callable[[RedisConnection], Awaitable[None]],
    on_lost: Callable[[RedisConnection], None] = lambda _: None,
) -> RedisConnection:
    """Open a connection and perform its handshake. Raises RedisConnectionError.

    ``timeout`` (seconds) covers both. The name is resolved each time, since its address may change.
    """
    connection = RedisConnection(on_lost)
    try:
        async with asyncio.timeout(timeout):
            await _connect(connection, address, tls)
            await handshake(connection)
    except TimeoutError:
        hint = NO_TLS if tls is not None and not connection.made else ""
        problem = f"no connection to Redis at {address} within {timeout:g} s (REDIS_TIMEOUT){hint}"
    except ssl.SSLError as error:
        problem = f"TLS handshake with Redis at {address} failed: {error.reason or error}"
    except OSError as error:
        problem = f"no connection to Redis at {address}: {error.strerror or error}"
    except (RedisConnectionError, ValueError, OverflowError) as error:
        # A cluster may announce names and ports that no socket accepts.
        problem = f"no connection to Redis at {address}: {error}"
    except asyncio.CancelledError:
        connection.close("canceled while connecting")
        raise
    else:
        return connection
    connection.close(problem)
    raise RedisConnectionError(problem)


async def _connect(connection: RedisConnection, address: RedisAddress, tls: Tls | None) -> None:
    loop, protocol = asyncio.get_running_loop(), cast("asyncio.Protocol", connection)
    try:
        context = None if tls is None else await asyncio.to_thread(tls.context)
    except OSError as error:
        raise RedisConnectionError(f"cannot use the REDIS_TLS files: {error}") from error
    if address.path:
        await loop.create_unix_connection(lambda: protocol, address.path)
    else:
        name = address.host if context is not None else None
        await connect(lambda: protocol, address.host, address.port, ssl=context, server_hostname=name)


async def execute(connection: RedisConnection, commands: Sequence[Sequence[Word]]) -> list[Any]:
    """Send these commands and return their replies, ``hiredis.ReplyError`` included. Raises RedisConnectionError."""
    loop = asyncio.get_running_loop()
    replies: list[asyncio.Future[object]] = [loop.create_future() for _ in commands]
    connection.send([(words, waiter_of(reply)) for words, reply in zip(commands, replies, strict=True)])
    answered = await asyncio.gather(*replies)
    for reply in answered:
        if isinstance(reply, RedisConnectionError):
            raise reply
    return answered


def waiter_of(future: "asyncio.Future[object]") -> Waiter:
    """Return a waiter that sets the future's result, unless the future was canceled."""

    def settle(reply: object) -> None:
        if not future.done():
            future.set_result(reply)

    return settle
