"""Servers of a Redis deployment, and remedies for those that cannot be used."""

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
"""With fewer, the failure of one machine prevents new connections from finding the master."""


class CheckedRedis(NamedTuple):
    """One of the two Redis deployments that a service may use.

    Attributes:
        name: as shown in findings.
        variable: prefix of the names of its settings.
        prefix: prefix of all keys.
        budget: time limit of a call, seconds.
    """

    name: str
    variable: str
    connect: ConnectOptions
    prefix: bytes
    budget: float

    def subject(self, address: RedisAddress) -> str:
        """Return the subject of findings about one of its servers."""
        return f"{self.name} {address}"


class CheckedServer(NamedTuple):
    """A server that stores counters; ``slots`` are those it owns in a cluster, else empty."""

    redis: CheckedRedis
    address: RedisAddress
    slots: Sequence[range] = ()

    @property
    def subject(self) -> str:
        """Subject of findings about this server."""
        return self.redis.subject(self.address)

    @property
    def probe_key(self) -> bytes:
        """The key that the service uses for its probes."""
        return probe_key(self.redis.prefix, self.slots)


Reached = tuple[list[Finding], list[CheckedServer]]

CHANGES: Final = (
    ("WRONGPASS", "set {}AUTH (password or user:password) or {}AUTH_FILE to the credentials of the server"),
    ("NOAUTH", "set {}AUTH (password or user:password) or {}AUTH_FILE to the credentials of the server"),
    ("AUTH failed", "set {}AUTH (password or user:password) or {}AUTH_FILE to the credentials of the server"),
    ("cannot read the credentials", "set {}AUTH_FILE to a file that this user may read"),
    ("NOPERM", "grant these permissions to the user; docs/operations.md has the complete ACL rule"),
    ("server is a Sentinel", "set {}TYPE=sentinel and {}URL=<name of the master>,<the Sentinels>"),
    ("server is a cluster node", "set {}TYPE=cluster"),
    ("cluster mode is disabled", "set {}TYPE=single"),
    ("cluster support disabled", "set {}TYPE=single"),
    ("is a read-only replica", "set {}URL to the master, or to its Sentinels with {}TYPE=sentinel"),
    ("monitors no master", "the first item of {}URL must be the name in `sentinel monitor` of the Sentinels"),
    ("6.0 or newer", "upgrade Redis"),
    ("LOADING", 'wait until it has loaded its data; without snapshots (`save ""`) it starts immediately'),
    ("DENIED", "set a password on the server, or `protected-mode no` if its network is protected"),
    ("max number of clients", "raise `maxclients` of the server, or lower {}POOL_SIZE"),
    ("REDIS_TLS files", "check REDIS_TLS_CACERT, REDIS_TLS_CLIENT_CERT and REDIS_TLS_CLIENT_KEY"),
    ("TLS handshake with", "check REDIS_TLS_CACERT and the name in the server's certificate, or unset {}TLS"),
    ("the name", "check the name in {}URL and the DNS of this host"),
    ("refused", "start Redis there, or set {}URL to a different address"),
    ("unreachable", "check the address in {}URL and the routes of this host"),
    ("No route to host", "check the address in {}URL and the routes of this host"),
    ("No such file", "start Redis there (`unixsocket` in its configuration), or set {}URL to a different path"),
    ("Permission denied", "allow this user to write to the socket (`unixsocketperm` of Redis)"),
    (
        "closed by Redis",
        "set {}TLS=true if the server requires TLS, or {}URL to a Redis if it is a proxy such as twemproxy",
    ),
    (
        "malformed reply to HELLO",
        "check that this is Redis; for a Sentinel set {}TYPE=sentinel and {}URL=<master>,<Sentinels>",
    ),
    ("within", "check the address, firewalls, {}TLS (it must match the server), and whether Redis hangs"),
)
"""Remedy by a substring of the reason why a server cannot be used; the first match applies."""


def unusable(redis: CheckedRedis, address: RedisAddress, why: str) -> Finding:
    """Return the finding that a server cannot be used, with a remedy."""
    short = why.removeprefix(f"no connection to Redis at {address}: ")
    short = short.partition("; set ")[0]  # CHANGES has the remedy, with the names of the settings of this Redis
    return bad(redis.subject(address), short, change_for(why, CHANGES).replace("{}", redis.variable))


def change_for(why: str, changes: Sequence[tuple[str, str]]) -> str:
    """Return the remedy of the first substring in the table that ``why`` contains."""
    return next((change for words, change in changes if words in why), "see the server's log")


async def servers(redis: CheckedRedis) -> Reached:
    """Find the servers that store counters."""
    return await {"single": _single, "sentinel": _sentinel, "cluster": _cluster}[redis.connect.deployment.kind](redis)


async def _single(redis: CheckedRedis) -> Reached:
    return [], [CheckedServer(redis, redis.connect.deployment.addresses[0])]


async def _each(
    redis: CheckedRedis, ask: Callable[[ConnectOptions, RedisAddress], Awaitable[Any]]
) -> list[tuple[RedisAddress, Any]]:
    """Call ``ask`` for each address of the deployment; returns each with its reply or RedisConnectionError."""
    addresses = redis.connect.deployment.addresses

    async def one(address: RedisAddress) -> Any:
        try:
            await resolve(address)
            return await ask(redis.connect, address)
        except RedisConnectionError as error:
            return error

    return list(zip(addresses, await asyncio.gather(*map(one, addresses)), strict=True))


def _unavailable(redis: CheckedRedis, address: RedisAddress, error: RedisConnectionError, others: bool) -> Finding:
    """Return the finding that one of several is unavailable: a warning as long as another answers."""
    finding = unusable(redis, address, str(error))
    return warn(*finding[1:]) if others else finding


async def _sentinel(redis: CheckedRedis) -> Reached:
    deployment = redis.connect.deployment
    answers = await _each(redis, ask_master)
    named = {address: master for address, master in answers if not isinstance(master, RedisConnectionError)}
    findings = [
        _unavailable(redis, address, reply, bool(named))
        for address, reply in answers
        if isinstance(reply, RedisConnectionError)
    ]
    masters = dict.fromkeys(named.values())
    if len(masters) > 1:
        reported = ", ".join(f"{address} reports {master}" for address, master in named.items())
        change = "unless a failover is in progress, make the Sentinels agree: SENTINEL RESET, or restart one"
        findings.append(warn(redis.name, f"the Sentinels report different masters: {reported}", change))
    elif masters:
        findings.append(ok(redis.name, f"{len(named)} Sentinels report {next(iter(masters))} as {deployment.master}"))
    if len(deployment.addresses) < FEW_SENTINELS:
        change = f"list all Sentinels in {redis.variable}URL"
        findings.append(
            warn(redis.name, "only one Sentinel is configured: if it fails, no new connection can be made", change)
        )
    return findings, [CheckedServer(redis, master) for master in masters]


async def _cluster(redis: CheckedRedis) -> Reached:
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
    findings += [_unavailable(redis, address, error, bool(found)) for address, error in problems]
    if found or not problems:
        findings.append(coverage(redis, found))
    return findings, [CheckedServer(redis, address, slots) for address, slots in found.items()]


def coverage(redis: CheckedRedis, found: Ranges) -> Finding:
    """Return a finding on whether every slot has a master."""
    missing = gaps([some for slots in found.values() for some in slots])
    if not missing:
        return ok(redis.name, f"{len(found)} masters serve all {SLOTS} slots")
    shown = ", ".join(f"{some.start}-{some.stop - 1}" for some in missing[:RANGES_SHOWN])
    more = ", ..." if len(missing) > RANGES_SHOWN else ""
    return bad(
        redis.name,
        f"{sum(map(len, missing))} of {SLOTS} slots have no master: {shown}{more}",
        "assign them: `redis-cli --cluster fix <a node>`, or CLUSTER ADDSLOTSRANGE",
    )


def gaps(covered: Sequence[range]) -> list[range]:
    """Return the ranges of slots that are not covered, in order."""
    found, at = [], 0
    for some in sorted(covered, key=lambda some: some.start):
        if some.start > at:
            found.append(range(at, some.start))
        at = max(at, some.stop)
    return [*found, range(at, SLOTS)] if at < SLOTS else found
