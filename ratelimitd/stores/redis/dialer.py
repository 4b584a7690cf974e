"""Opens connections to the servers of a deployment: for charges, or for one command."""

import reprlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis

from ratelimitd.config.redis_address import Credentials, RedisAddress

from .connection import RedisConnection, RedisConnectionError
from .handshake import LOST_ON_HELLO, Command, auth, introduction, preparation, refusal, version_of
from .opening import execute, open_connection
from .options import ConnectOptions
from .script import Script
from .slots import PORTS

CLUSTER_SLOTS: Final = ("CLUSTER", "SLOTS")
CLUSTER_NODES: Final = ("CLUSTER", "NODES")


async def dial(
    redis: ConnectOptions,
    address: RedisAddress,
    script: Script,
    probe_key: bytes,
    on_lost: Callable[[RedisConnection], None],
) -> RedisConnection:
    """Open a connection for charges, with its handshake done. Raises RedisConnectionError."""

    async def handshake(connection: RedisConnection) -> None:
        first = introduction(_read(redis.credentials))
        try:
            introduced = await execute(connection, first)
        except RedisConnectionError as error:
            raise RedisConnectionError(f"{error} {LOST_ON_HELLO}") from None
        _require(redis, first, introduced)
        connection.version = version_of(introduced[-1])
        prepared = preparation(redis.deployment, script.text, script.sha, probe_key)
        _require(redis, prepared, await execute(connection, prepared))

    return await open_connection(address, redis.tls, redis.connect_timeout, handshake, on_lost)


def _require(redis: ConnectOptions, sent: Sequence[Command], replies: Sequence[Any]) -> None:
    """Raise RedisConnectionError if a reply makes the connection useless."""
    problem = refusal(redis.deployment, sent, replies)
    if problem:
        raise RedisConnectionError(problem)


async def ask_once(
    redis: ConnectOptions, address: RedisAddress, credentials: Callable[[], Credentials], command: Command
) -> Any:
    """Return the reply to one command on a separate connection.

    Raises RedisConnectionError, also for an error reply.
    """
    answered: list[Any] = []

    async def handshake(connection: RedisConnection) -> None:
        for words in (*auth(_read(credentials)), command):
            answered.append(await ask(connection, words))  # noqa: PERF401 -- one after the other

    connection = await open_connection(address, redis.tls, redis.connect_timeout, handshake)
    connection.close("reply received")
    return answered[-1]


async def ask(connection: RedisConnection, command: Command) -> Any:
    """Return the reply to one command. Raises RedisConnectionError, also for an error reply."""
    (reply,) = await execute(connection, [command])
    if isinstance(reply, hiredis.ReplyError):
        raise RedisConnectionError(f"{command[0]!s} failed: {reply}")
    return reply


async def ask_master(redis: ConnectOptions, sentinel: RedisAddress) -> RedisAddress:
    """Return the address of the master according to this Sentinel. Raises RedisConnectionError."""
    question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", redis.deployment.master)
    reply = await ask_once(redis, sentinel, redis.sentinel_credentials, question)
    if reply is None:
        raise RedisConnectionError(f"Sentinel at {sentinel} monitors no master named {redis.deployment.master}")
    try:
        return _address(*reply)
    except (AttributeError, TypeError, ValueError) as error:
        raise RedisConnectionError(f"Sentinel at {sentinel} sent an invalid address: {reprlib.repr(reply)}") from error


def _address(host: bytes, port: bytes) -> RedisAddress:
    number = int(port)
    if not 0 < number < PORTS:
        raise ValueError(number)
    return RedisAddress(host.decode(), number)


async def ask_slots(redis: ConnectOptions, address: RedisAddress) -> Any:
    """Return the reply of this cluster node to CLUSTER SLOTS. Raises RedisConnectionError."""
    return await ask_once(redis, address, redis.credentials, CLUSTER_SLOTS)


def _read(credentials: Callable[[], Credentials]) -> Credentials:
    try:
        return credentials()
    except (OSError, ValueError) as error:
        raise RedisConnectionError(f"cannot read the credentials: {error}") from error
