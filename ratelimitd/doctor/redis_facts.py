"""What one server tells: itself, its settings, and how long it takes to answer the real script."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ratelimitd.limiter import Failure
from ratelimitd.stores.redis import (
    INDEPENDENT,
    RedisConnection,
    RedisConnectionError,
    ReplyError,
    Script,
    dial,
    pack_lone,
    probe_of,
    slot_of,
    talk,
    unpack,
)

from .blocking import resolve
from .redis_servers import Server

PROBES: Final = 100
"""Calls one after the other: with so many, the 99th percentile is not merely the one that a busy host held up."""

PROBING: Final = 2.0
"""Seconds for all of them: a server that takes longer than 20 ms each is past every budget."""

ASKING: Final = 2.0
"""Seconds for INFO and the like, which take a millisecond."""

ASKED: Final = ("min-replicas-to-write", "appendfsync", "timeout")
"""Of CONFIG GET: what INFO does not tell."""


@dataclass
class Probes:
    """What became of the script calls.

    Attributes:
        times: seconds of those that were answered.
        failure: what one was answered instead; it is the last.
        skew: seconds that the server's clock is ahead of ours, by the fastest of them.
        unanswered: one was not answered in time, or the connection was lost; says so.
        asked: when the last one was sent, by ``time.perf_counter``.
    """

    times: list[float] = field(default_factory=list)
    failure: str = ""
    skew: float = 0.0
    unanswered: str = ""
    asked: float = 0.0

    def quantile(self, share: float) -> float:
        """Return the time, s, that so many did not exceed."""
        ordered = sorted(self.times)
        return ordered[max(0, round(share * len(ordered)) - 1)]


@dataclass
class Facts:
    """All of it.

    Attributes:
        version: empty where it does not say.
        info: of INFO; None: it may not be asked.
        config: of CONFIG GET; a name that may not be asked is missing.
        expires: when its certificate does, s since 1970; None: no TLS.
    """

    server: Server
    version: str = ""
    info: Mapping[str, str] | None = None
    config: dict[str, str] = field(default_factory=dict)
    expires: float | None = None
    probes: Probes = field(default_factory=Probes)


def holds(server: Server, key: bytes) -> bool:
    """Whether the key is this server's; a prefix with braces puts every key in one slot."""
    return not server.slots or any(slot_of(key) in some for some in server.slots)


async def gather(server: Server, script: Script) -> tuple[Facts, RedisConnection]:
    """Connect as the service does and read the facts; return the connection too, to be probed and closed.

    Raises RedisConnectionError.
    """
    await resolve(server.address)
    connection = await dial(server.redis.connect, server.address, script, server.probe_key, lambda _: None)
    facts = Facts(server)
    try:
        async with asyncio.timeout(ASKING):
            await _ask(connection, facts)
        facts.expires = await _expiry(server)
    except TimeoutError:
        connection.give_up("not answered")
        raise RedisConnectionError(f"greeted, and then no answer to INFO within {ASKING:g} s") from None
    except BaseException:
        connection.give_up("given up")
        raise
    return facts, connection


async def _ask(connection: RedisConnection, facts: Facts) -> None:
    settings = [("CONFIG", "GET", name) for name in ASKED]
    hello, info, *answers = await talk(connection, [("HELLO",), ("INFO",), *settings])
    facts.version = _pairs(hello).get("version", "")
    if isinstance(info, bytes):
        lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
        facts.info = {name: value for name, colon, value in lines if colon}
    for answer in answers:
        facts.config |= _pairs(answer)


def _pairs(reply: Any) -> dict[str, str]:
    """Read a flat list of names and texts; an error reply is none."""
    if isinstance(reply, ReplyError) or not isinstance(reply, list):
        return {}
    flat = [item.decode(errors="replace") if isinstance(item, bytes) else "" for item in reply]
    return dict(zip(flat[::2], flat[1::2], strict=False))


async def _expiry(server: Server) -> float | None:
    """Return when the server's certificate expires. None where there is none to be seen."""
    connect, address = server.redis.connect, server.address
    if connect.tls is None or address.path:
        return None
    context = await asyncio.to_thread(connect.tls.context)
    with suppress(OSError):
        async with asyncio.timeout(connect.connect_timeout):
            _, writer = await asyncio.open_connection(
                address.host, address.port, ssl=context, server_hostname=address.host
            )
        try:
            until = writer.get_extra_info("peercert", {}).get("notAfter")
            return ssl.cert_time_to_seconds(until) if until else None
        finally:
            writer.transport.abort()
    return None


async def probe(connection: RedisConnection, facts: Facts, script: Script) -> None:
    """Call the real script again and again, as a breaker's probe does, and note how that went."""
    probes = facts.probes
    try:
        async with asyncio.timeout(PROBING):
            await _probe(connection, script.sha, facts.server.probe_key, probes)
    except TimeoutError:
        waited = time.perf_counter() - probes.asked
        if waited > facts.server.redis.budget:
            probes.unanswered = f"no answer to the script for {waited:.2f} s, after {len(probes.times)} answers"
    except RedisConnectionError as error:
        probes.unanswered = str(error)


async def _probe(connection: RedisConnection, sha: str, key: bytes, probes: Probes) -> None:
    fastest = float("inf")
    for _ in range(PROBES):
        asked = probe_of(key)
        selection = (asked, [0], INDEPENDENT)
        keys, arguments = pack_lone(selection, time.time_ns() // 1000)
        wall, probes.asked = time.time(), time.perf_counter()
        (reply,) = await talk(connection, [("EVALSHA", sha, 1, *keys, *arguments)])
        took = time.perf_counter() - probes.asked
        if isinstance(reply, ReplyError):
            probes.failure = str(reply)
            return
        now = unpack(reply, [selection])
        outcome = asked.outcomes[0]
        if isinstance(outcome, Failure):
            probes.failure = outcome.message
            return
        probes.times.append(took)
        if took < fastest:
            fastest, probes.skew = took, now / 1e6 - (wall + took / 2)
