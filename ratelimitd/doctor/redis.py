"""Check of Redis: connect to each server as the service would, read its facts, and apply the rules."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from ratelimitd.app.redis import hide_passwords, redis_options
from ratelimitd.settings import MAIN_REDIS, PER_SECOND_REDIS, Settings
from ratelimitd.stores.redis import RedisConnection, RedisConnectionError, Script, composed_script, slot_of

from .finding import Finding, warn
from .redis_facts import Facts, gather, owns_slot, probe
from .redis_rules import RULES
from .redis_servers import CheckedRedis, CheckedServer, servers, unusable
from .target import CheckTarget


def redises(settings: Settings) -> list[CheckedRedis]:
    """Return the one or two Redis that the settings name."""
    options = redis_options(settings)
    if options is None:
        return []
    both = (("redis", MAIN_REDIS, options.main), ("redis per second", PER_SECOND_REDIS, options.per_second))
    return [
        CheckedRedis(name, variable, connect, options.prefix, options.budget)
        for name, variable, connect in both
        if connect
    ]


async def check(target: CheckTarget) -> AsyncIterator[Finding]:
    """Check every server of every Redis."""
    hide_passwords(target.settings)
    own = composed_script()
    for redis in redises(target.settings):
        findings, found = await servers(redis)
        for finding in (*findings, *prefix(redis)):
            yield finding
        gathered = await asyncio.gather(*(_gathered(server, own) for server in found))
        try:
            # Sequentially: with concurrent calls the times would include the work of this process.
            for outcome in gathered:
                for finding in [outcome] if isinstance(outcome, Finding) else await _examined(*outcome, own):
                    yield finding
        finally:
            for outcome in gathered:
                if not isinstance(outcome, Finding):
                    outcome[1].close("looked at")


async def _gathered(server: CheckedServer, own: Script) -> tuple[Facts, RedisConnection] | Finding:
    try:
        return await gather(server, own)
    except RedisConnectionError as error:
        return unusable(server.redis, server.address, str(error))


async def _examined(facts: Facts, connection: RedisConnection, own: Script) -> list[Finding]:
    if owns_slot(facts.server, facts.server.probe_key):
        await probe(connection, facts, own)
    return [finding for rule in RULES for finding in rule(facts)]


def prefix(redis: CheckedRedis) -> Iterator[Finding]:
    """Warn of braces in the prefix (a hash tag): they map every key of a cluster to one slot, so to one server."""
    one, other = (slot_of(redis.prefix + end) for end in (b"a", b"b"))
    if redis.connect.deployment.kind == "cluster" and one == other:
        yield warn(
            redis.name,
            f"CACHE_KEY_PREFIX has braces (a hash tag), so slot {one} has every counter, and one server "
            "has all the load",
            "remove the braces from CACHE_KEY_PREFIX",
        )
