"""Which servers a Redis consists of, and what keeps one from being used."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.stores.redis import (
    SLOTS,
    ConnectOptions,
    Ranges,
    RedisConnectionError,
    ask_master,
    ask_slots,
    probe_key,
    ranges,
)

from .blocking import resolve
from .finding import Finding, bad, ok, warn

RANGES_SHOWN: Final = 5

FEW_SENTINELS: Final = 2
"""Fewer are one machine: when it is away, no new connection finds the master."""


class Redis(NamedTuple):
    """One of the two that a service may have.

    Attributes:
        name: for people.
        variable: what the names of its settings begin with.
        prefix: of all keys.
        budget: seconds for a call.
    """

    name: str
    variable: str
    connect: ConnectOptions
    prefix: bytes
    budget: float

    def subject(self, address: RedisAddress) -> str:
        """Say which server a finding is about."""
        return f"{self.name} {address}"


class Server(NamedTuple):
    """One that holds counters; ``slots`` of a cluster are its own, else there are none."""

    redis: Redis
    address: RedisAddress
    slots: Sequence[range] = ()

    @property
    def subject(self) -> str:
        """What findings about it are about."""
        return self.redis.subject(self.address)

    @property
    def probe_key(self) -> bytes:
        """The key that the service itself probes it with."""
        return probe_key(self.redis.prefix, self.slots)


Reached = tuple[list[Finding], list[Server]]

CHANGES: Final = (
    ("WRONGPASS", "set {}AUTH (password or user:password) or {}AUTH_FILE to what the server knows"),
    ("NOAUTH", "set {}AUTH (password or user:password) or {}AUTH_FILE to what the server knows"),
    ("AUTH failed", "set {}AUTH (password or user:password) or {}AUTH_FILE to what the server knows"),
    ("credentials cannot be read", "{}AUTH_FILE must name a file that this user may read"),
    ("NOPERM", "give the user what is named; docs/operations.md has the whole rule"),
    ("it is a Sentinel", "write {}TYPE=sentinel and {}URL=<name of the master>,<the Sentinels>"),
    ("it is a node of a cluster", "write {}TYPE=cluster"),
    ("it is no cluster", "write {}TYPE=single"),
    ("cluster support disabled", "write {}TYPE=single"),
    ("it is a replica", "name the master in {}URL, or its Sentinels with {}TYPE=sentinel"),
    ("knows no master", "the first word of {}URL must be the name in the Sentinels' own `sentinel monitor` line"),
    ("6.0 or newer", "upgrade Redis"),
    ("LOADING", 'wait until it has loaded its data; without a snapshot (`save ""`) it starts at once'),
    ("DENIED", "set a password on the server, or `protected-mode no` where only you can reach it"),
    ("max number of clients", "raise `maxclients` of the server, or lower {}POOL_SIZE"),
    ("files of REDIS_TLS", "look at REDIS_TLS_CACERT, REDIS_TLS_CLIENT_CERT and REDIS_TLS_CLIENT_KEY"),
    ("no TLS with", "look at REDIS_TLS_CACERT and the name in the server's certificate, or unset {}TLS"),
    ("the name", "look at the name in {}URL and at this host's DNS"),
    ("refused", "start Redis there, or name another one in {}URL"),
    ("Connect call failed", "start Redis there, or name another one in {}URL"),
    ("unreachable", "look at the address in {}URL, and at this host's routes"),
    ("No route to host", "look at the address in {}URL, and at this host's routes"),
    ("No such file", "start Redis there (`unixsocket` in its configuration), or name another path in {}URL"),
    ("Permission denied", "let this user write to the socket (`unixsocketperm` of Redis)"),
    ("closed by Redis", "a server that wants TLS cuts off plain text: then set {}TLS=true. Else look into its log"),
    ("HELLO that is none", "is this Redis? A Sentinel is named with {}TYPE=sentinel and {}URL=<master>,<Sentinels>"),
    ("within", "look at the address, at firewalls, at {}TLS (has the server it too?), and whether Redis hangs"),
)
"""What to change, by words in why a server cannot be used; the first that fits counts."""


def unusable(redis: Redis, address: RedisAddress, why: str) -> Finding:
    """Return that a server cannot be used, and what may help."""
    short = why.removeprefix(f"no connection to Redis at {address}: ")
    for advice in (": write ", "; name "):  # the table has it, by the names of this Redis' settings
        short = short.partition(advice)[0]
    return bad(redis.subject(address), short, change_for(why, CHANGES).replace("{}", redis.variable))


def change_for(why: str, changes: Sequence[tuple[str, str]]) -> str:
    """Return what helps, by the first words of the table that ``why`` holds."""
    return next((change for words, change in changes if words in why), "look into the server's log")


async def servers(redis: Redis) -> Reached:
    """Find the servers that hold counters."""
    return await {"single": _single, "sentinel": _sentinel, "cluster": _cluster}[redis.connect.deployment.kind](redis)


async def _single(redis: Redis) -> Reached:
    return [], [Server(redis, redis.connect.deployment.addresses[0])]


async def _each(
    redis: Redis, ask: Callable[[ConnectOptions, RedisAddress], Awaitable[Any]]
) -> list[tuple[RedisAddress, Any]]:
    """Ask each address of the deployment the same; what came back, or a RedisConnectionError, with each."""
    addresses = redis.connect.deployment.addresses

    async def one(address: RedisAddress) -> Any:
        try:
            await resolve(address)
            return await ask(redis.connect, address)
        except RedisConnectionError as error:
            return error

    return list(zip(addresses, await asyncio.gather(*map(one, addresses)), strict=True))


def _away(redis: Redis, address: RedisAddress, error: RedisConnectionError, others: bool) -> Finding:  # noqa: FBT001 -- a state
    """Return that one of several cannot be asked: harmless as long as another can."""
    finding = unusable(redis, address, str(error))
    return warn(*finding[1:]) if others else finding


async def _sentinel(redis: Redis) -> Reached:
    deployment = redis.connect.deployment
    answers = await _each(redis, ask_master)
    named = {address: master for address, master in answers if not isinstance(master, RedisConnectionError)}
    findings = [
        _away(redis, address, reply, bool(named))
        for address, reply in answers
        if isinstance(reply, RedisConnectionError)
    ]
    masters = dict.fromkeys(named.values())
    if len(masters) > 1:
        said = ", ".join(f"{address} says {master}" for address, master in named.items())
        change = "if no failover is under way, bring the Sentinels together: SENTINEL RESET, or start one anew"
        findings.append(warn(redis.name, f"the Sentinels name different masters: {said}", change))
    elif masters:
        findings.append(ok(redis.name, f"{len(named)} Sentinels name {next(iter(masters))} as {deployment.master}"))
    if len(deployment.addresses) < FEW_SENTINELS:
        change = f"name all Sentinels in {redis.variable}URL"
        findings.append(warn(redis.name, "one Sentinel is named: when it is away, no new connection is made", change))
    return findings, [Server(redis, master) for master in masters]


async def _cluster(redis: Redis) -> Reached:
    findings: list[Finding] = []
    found: Ranges = {}
    replies = await _each(redis, ask_slots)
    problems = [(address, reply) for address, reply in replies if isinstance(reply, RedisConnectionError)]
    for address, reply in replies:
        if not isinstance(reply, RedisConnectionError) and not found:
            try:
                found = ranges(reply, address)
            except ValueError as error:
                problems.append((address, RedisConnectionError(str(error))))
    findings += [_away(redis, address, error, bool(found)) for address, error in problems]
    if found or not problems:
        findings.append(coverage(redis, found))
    return findings, [Server(redis, address, slots) for address, slots in found.items()]


def coverage(redis: Redis, found: Ranges) -> Finding:
    """Return whether every slot has a master."""
    missing = gaps([some for slots in found.values() for some in slots])
    if not missing:
        return ok(redis.name, f"{len(found)} masters have all {SLOTS} slots")
    shown = ", ".join(f"{some.start}-{some.stop - 1}" for some in missing[:RANGES_SHOWN])
    more = ", ..." if len(missing) > RANGES_SHOWN else ""
    return bad(
        redis.name,
        f"{sum(map(len, missing))} of {SLOTS} slots have no master: {shown}{more}",
        "give them one: `redis-cli --cluster fix <a node>`, or CLUSTER ADDSLOTSRANGE",
    )


def gaps(covered: Sequence[range]) -> list[range]:
    """Return the slots between these, in order."""
    found, at = [], 0
    for some in sorted(covered, key=lambda some: some.start):
        if some.start > at:
            found.append(range(at, some.start))
        at = max(at, some.stop)
    return [*found, range(at, SLOTS)] if at < SLOTS else found
