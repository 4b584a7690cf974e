"""The handshake on a new connection: its commands, and the meaning of their replies; no I/O.

Authentication comes first, since Redis disconnects an unauthenticated client that sends much. The database, the script
and each command that the script uses follow, on a reserved key. So a missing permission is reported when the service
connects, by its name, and not by failing requests.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import hiredis

from ratelimitd.config.redis_address import Credentials, Deployment

Command = tuple[str | bytes | int, ...]
"""A command's name and its arguments."""

LEAST_VERSION: Final = (6, 0)
"""The first with HELLO and ACL; Redis ended its support for older ones in 2022."""

LOST_ON_HELLO: Final = (
    "on HELLO: is TLS required, or is this a proxy without HELLO and SCRIPT LOAD, such as twemproxy (not supported)?"
)

_WRONG_MODE: Final = {
    ("sentinel", "single"): "server is a Sentinel; set REDIS_TYPE=sentinel and REDIS_URL=<master name>,<this address>",
    ("cluster", "single"): "server is a cluster node; set REDIS_TYPE=cluster",
    ("cluster", "sentinel"): "server is a cluster node; set REDIS_TYPE=cluster",
    ("standalone", "cluster"): "cluster mode is disabled on this server; set REDIS_TYPE=single",
    ("sentinel", "cluster"): "server is a Sentinel, not a cluster node",
    ("sentinel", "sentinel"): "server is a Sentinel, not the master",
}
"""Errors by (mode that the server reports, kind of the deployment)."""


def auth(credentials: Credentials) -> list[Command]:
    """Return AUTH, or no command without a password."""
    return [("AUTH", *filter(None, credentials))] if credentials.password else []


def introduction(credentials: Credentials) -> list[Command]:
    """Return the first commands of the handshake: authentication and HELLO."""
    return [*auth(credentials), ("HELLO",)]


def preparation(deployment: Deployment, script: str, sha: str, probe_key: bytes) -> list[Command]:
    """Return the commands that follow: database, script, and each command of the script once."""
    return [
        *([("SELECT", deployment.database)] if deployment.database else []),
        ("SCRIPT", "LOAD", script),
        *_rights(probe_key),
        ("EVALSHA", sha, 0, "", 0, 0, "[[],[],[],[]]"),
    ]


def _rights(key: bytes) -> Iterator[Command]:
    """Yield each command of the script once, on a key that the last one deletes."""
    yield ("TIME",)
    yield ("SET", key, 0, "PX", 1000)
    yield ("INCRBY", key, 1)
    yield ("GET", key)
    yield ("PTTL", key)
    yield ("PEXPIRE", key, 1000)
    yield ("DEL", key)
    yield ("ZADD", key, 1, "1")
    yield ("ZCARD", key)
    yield ("ZCOUNT", key, 0, 1)
    yield ("ZRANGE", key, 0, 0, "WITHSCORES")
    yield ("ZREMRANGEBYRANK", key, 0, -1)
    yield ("DEL", key)


def refusal(deployment: Deployment, sent: Sequence[Command], replies: Sequence[Any]) -> str:
    """Return why this connection cannot be used and how to fix that; empty if it can be used."""
    lacking = {}
    for words, reply in zip(sent, replies, strict=True):
        said = str(reply) if isinstance(reply, hiredis.ReplyError) else ""
        if said.startswith("NOPERM"):
            lacking[right(words, said)] = said
        elif said and words[0] in ("AUTH", "HELLO", "SELECT", "SCRIPT"):
            return _failed(words, said)
        elif words[0] == "HELLO":
            problem = unsuitable(deployment, reply)
            if problem:
                return problem
    if lacking:
        return (
            f"the REDIS_AUTH user lacks permissions: ACL SETUSER … {' '.join(lacking)} ({next(iter(lacking.values()))})"
        )
    return ""


def _failed(words: Command, said: str) -> str:
    secret = str(words[-1]) if words[0] == "AUTH" else ""
    if words[0] == "HELLO" and "unknown command" in said:
        return "Redis 6.0 or newer is required; this server, or a proxy in front of it, does not support HELLO"
    return f"{words[0]!s} failed: {said.replace(secret, '***') if secret else said}"


def right(words: Command, said: str) -> str:
    """Return the ACL rule that a denied command requires: a command, or access to keys."""
    if "to access" in said:
        return "~<CACHE_KEY_PREFIX>*"
    name = str(words[0]).lower()
    return f"+{name}|{str(words[1]).lower()}" if name in ("script", "cluster", "sentinel") else f"+{name}"


def version_of(hello: Any) -> tuple[int, int]:
    """Return the first two numbers of a server's version, by its reply to HELLO."""
    fields = dict(zip(hello[::2], hello[1::2], strict=False))
    first, second = [*fields[b"version"].decode().split("."), "0"][:2]
    return int(first), int(second)


def unsuitable(deployment: Deployment, hello: Any) -> str:
    """Return why a server is unsuitable, by its reply to HELLO: too old, a replica, or of another kind; else empty."""
    try:
        fields = {key.decode(): value for key, value in zip(hello[::2], hello[1::2], strict=False)}
        version, mode = fields["version"].decode(), fields["mode"].decode()
        role = fields.get("role", b"master").decode()  # a Sentinel has none
        numbers = version_of(hello)
    except (AttributeError, KeyError, TypeError, ValueError):
        return "malformed reply to HELLO"
    if numbers < LEAST_VERSION:
        return f"Redis 6.0 or newer is required; this is {version}"
    if (mode, deployment.kind) in _WRONG_MODE:
        return _WRONG_MODE[mode, deployment.kind]
    if role != "master":
        return (
            "server is a read-only replica; set REDIS_URL to the master, or to its Sentinels with REDIS_TYPE=sentinel"
        )
    return ""
