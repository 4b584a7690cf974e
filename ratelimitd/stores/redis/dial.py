"""How a connection to a server of a deployment is made: dialled and greeted, or asked one thing and closed."""

from collections.abc import Callable
from typing import Any, Final

import hiredis

from ratelimitd.config.redis_address import Credentials, RedisAddress

from .connection import Link, LinkError, open_link, talk
from .handshake import Command, auth, introduction, preparation, refusal
from .options import ConnectOptions
from .script import Script

CLUSTER_SLOTS: Final = ("CLUSTER", "SLOTS")


async def dial(
    redis: ConnectOptions, address: RedisAddress, script: Script, probe_key: bytes, on_lost: Callable[[Link], None]
) -> Link:
    """Return a connection for charges. Raises LinkError."""

    async def greet(link: Link) -> None:
        first = introduction(_read(redis.credentials))
        for sent in (first, preparation(redis.deployment, script.text, script.sha, probe_key)):
            problem = refusal(redis.deployment, sent, await talk(link, sent))
            if problem:
                raise LinkError(problem)

    return await open_link(address, redis.tls, redis.connect_timeout, greet, on_lost)


async def ask_once(
    redis: ConnectOptions, address: RedisAddress, credentials: Callable[[], Credentials], command: Command
) -> Any:
    """Return the reply to one command on a connection of its own. Raises LinkError, also for an error reply."""
    answered: list[Any] = []

    async def greet(link: Link) -> None:
        for words in (*auth(_read(credentials)), command):
            answered.append(await ask(link, words))  # noqa: PERF401 -- one after the other

    link = await open_link(address, redis.tls, redis.connect_timeout, greet)
    link.give_up("answered")
    return answered[-1]


async def ask(link: Link, command: Command) -> Any:
    """Return the reply to one command. Raises LinkError, also for an error reply."""
    (reply,) = await talk(link, [command])
    if isinstance(reply, hiredis.ReplyError):
        raise LinkError(f"{command[0]!s} failed: {reply}")
    return reply


async def ask_master(redis: ConnectOptions, sentinel: RedisAddress) -> RedisAddress:
    """Return where the master is that this Sentinel names. Raises LinkError."""
    question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", redis.deployment.master)
    reply = await ask_once(redis, sentinel, redis.sentinel_credentials, question)
    if reply is None:
        raise LinkError(f"the Sentinel at {sentinel} knows no master named {redis.deployment.master}")
    try:
        host, port = reply
        return RedisAddress(host.decode(), int(port))
    except (AttributeError, TypeError, ValueError) as error:
        raise LinkError(f"the Sentinel at {sentinel} sent no address: {reply!r}") from error


async def ask_slots(redis: ConnectOptions, address: RedisAddress) -> Any:
    """Return what this node of a cluster replies to CLUSTER SLOTS. Raises LinkError."""
    return await ask_once(redis, address, redis.credentials, CLUSTER_SLOTS)


def _read(credentials: Callable[[], Credentials]) -> Credentials:
    try:
        return credentials()
    except (OSError, ValueError) as error:
        raise LinkError(f"the credentials cannot be read: {error}") from error
