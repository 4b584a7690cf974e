"""Facts of one server: INFO, CONFIG, and the latency of the real script."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from ratelimitd.limiter import Failure
from ratelimitd.stores.redis import (
    RedisConnection,
    RedisConnectionError,
    ReplyError,
    Script,
    Sharding,
    dial,
    execute,
    open_selections,
    pack,
    probe_of,
    slot_of,
    trial_keys,
    try_sharding,
    unpack,
)

from .blocking import resolve
from .redis_servers import CheckedServer

PROBES: Final = 100
"""Sequential calls: with so many, the 99th percentile is not just the one call that a busy host delayed."""

PROBES_TIMEOUT: Final = 2.0
"""Seconds for all of them: a server that takes more than 20 ms per call exceeds every budget."""

INFO_TIMEOUT: Final = 2.0
"""Seconds for INFO and CONFIG GET, which take a millisecond."""

CONFIG_NAMES: Final = ("min-replicas-to-write", "appendfsync", "timeout")
"""Parameters read with CONFIG GET, since INFO does not contain them."""


@dataclass
class Probes:
    """Results of the script calls.

    Attributes:
        times: latency of each successful call, seconds.
        failure: error of the last call, empty if none failed; the calls end with the first error.
        skew: seconds that the server's clock is ahead of the local clock, from the fastest call.
        unanswered: description of a timeout or a lost connection, empty if there was none.
        asked: time at which the last call was sent, of ``time.perf_counter``.
    """

    times: list[float] = field(default_factory=list)
    failure: str = ""
    skew: float = 0.0
    unanswered: str = ""
    asked: float = 0.0

    def quantile(self, share: float) -> float:
        """Return the latency in seconds that this share of the calls did not exceed."""
        ordered = sorted(self.times)
        return ordered[max(0, round(share * len(ordered)) - 1)]


@dataclass
class Facts:
    """Facts of one server.

    Attributes:
        version: version of Redis, empty if unknown.
        info: reply to INFO; None if not permitted.
        config: replies to CONFIG GET; a parameter that is not permitted is missing.
        expires: expiry of its certificate, seconds since 1970; None without TLS.
        sharding: whether several servers are behind the address; None if the deployment says it.
    """

    server: CheckedServer
    version: str = ""
    info: Mapping[str, str] | None = None
    config: dict[str, str] = field(default_factory=dict)
    expires: float | None = None
    sharding: Sharding | None = None
    probes: Probes = field(default_factory=Probes)


def owns_slot(server: CheckedServer, key: bytes) -> bool:
    """Whether the server owns the slot of the key; a prefix with a hash tag puts every key in one slot."""
    return not server.slots or any(slot_of(key) in some for some in server.slots)


async def gather(server: CheckedServer, script: Script) -> tuple[Facts, RedisConnection]:
    """Connect as the service does and read the facts; return the connection too, to be probed and closed by the caller.

    Raises RedisConnectionError.
    """
    await resolve(server.address)
    connect = server.redis.connect
    connection = await dial(connect, server.address, script, server.probe_key, lambda _: None)
    facts = Facts(server)
    try:
        async with asyncio.timeout(INFO_TIMEOUT):
            await _ask(connection, facts)
        if connect.deployment.kind == "single":
            keys = trial_keys(server.redis.prefix)
            facts.sharding = await try_sharding(connection, script, keys, connect.connect_timeout)
        facts.expires = await _expiry(server)
    except TimeoutError:
        connection.close("not answered")
        raise RedisConnectionError(f"connected, but no reply to INFO within {INFO_TIMEOUT:g} s") from None
    except BaseException:
        connection.close("given up")
        raise
    return facts, connection


async def _ask(connection: RedisConnection, facts: Facts) -> None:
    settings = [("CONFIG", "GET", name) for name in CONFIG_NAMES]
    hello, info, *answers = await execute(connection, [("HELLO",), ("INFO",), *settings])
    facts.version = _pairs(hello).get("version", "")
    if isinstance(info, bytes):
        lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
        facts.info = {name: value for name, colon, value in lines if colon}
    for answer in answers:
        facts.config |= _pairs(answer)


def _pairs(reply: Any) -> dict[str, str]:
    """Parse a flat list of names and values; an error reply gives none."""
    if isinstance(reply, ReplyError) or not isinstance(reply, list):
        return {}
    flat = [item.decode(errors="replace") if isinstance(item, bytes) else "" for item in reply]
    return dict(zip(flat[::2], flat[1::2], strict=False))


async def _expiry(server: CheckedServer) -> float | None:
    """Return the expiry of the server's certificate; None without one."""
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
    """Call the real script repeatedly, as a probe of the circuit breaker does, and record the results."""
    probes = facts.probes
    try:
        async with asyncio.timeout(PROBES_TIMEOUT):
            await _probe(connection, script.sha, facts.server.probe_key, probes)
    except TimeoutError:
        waited = time.perf_counter() - probes.asked
        # The last call of a server that is merely slow is cut off too.
        if waited > max(facts.server.redis.budget, 2 * max(probes.times, default=0.0)):
            probes.unanswered = f"no reply to the script for {waited:.2f} s, after {len(probes.times)} replies"
    except RedisConnectionError as error:
        probes.unanswered = str(error)


async def _probe(connection: RedisConnection, sha: str, key: bytes, probes: Probes) -> None:
    fastest = float("inf")
    for _ in range(PROBES):
        asked = probe_of(key)
        packed = pack(open_selections([asked]), time.time_ns() // 1000)
        wall, probes.asked = time.time(), time.perf_counter()
        (reply,) = await execute(connection, [("EVALSHA", sha, *packed.words)])
        took = time.perf_counter() - probes.asked
        if isinstance(reply, ReplyError):
            probes.failure = str(reply)
            return
        try:
            now, _ = unpack(reply, packed)
        except (TypeError, ValueError) as error:
            probes.failure = f"unexpected reply: {error}"
            return
        outcome = asked.outcomes[0]
        if isinstance(outcome, Failure):
            probes.failure = outcome.message
            return
        probes.times.append(took)
        if took < fastest:
            fastest, probes.skew = took, now / 1e6 - (wall + took / 2)
