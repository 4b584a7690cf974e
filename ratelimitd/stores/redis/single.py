"""A deployment of one server with every counter: a configured address, or the master that Sentinels report."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from ratelimitd.algorithms import Rate
from ratelimitd.config.redis_address import RedisAddress

from .connection import RedisConnection, RedisConnectionError
from .dialer import ask_master, dial
from .node import Pool, RedirectTarget, RedisNode, Watcher
from .options import ConnectOptions, RedisOptions, spread
from .script import Script
from .sharding import Sharding, trial_keys, try_sharding
from .topology import Placement

WATCH_EVERY: Final = 5.0
"""Seconds between checks of the master's address, at most."""

LEAVE_AFTER: Final = 15.0
"""Seconds for which another master is reported before the old one is left without need.

Sentinels demote an old master in reach at the second INFO after the promotion, which is 10 s later (their
``sentinel_info_period``; the role must have been wrong for 8 s, four times ``sentinel_publish_period``).
"""


class Single:
    """One server, at the address of its deployment.

    Attributes:
        pool: see ``NodeOwner``.
        sharded: whether several servers share the keys behind the address, as a trial at the first connection showed.
    """

    def __init__(self, redis: ConnectOptions, script: Script, options: RedisOptions, watcher: Watcher) -> None:
        self.pool = Pool()
        self.sharded = False
        self._redis = redis
        self._script = script
        self._options = options
        self._watcher = watcher
        self._node = RedisNode(str(redis.deployment), self._dial, redis.pool_size, options, watcher, self)

    @property
    def only_node(self) -> RedisNode | None:
        """See ``Topology``: None if each key has a call of its own."""
        return None if self.sharded else self._node

    @property
    def pools(self) -> Sequence[Pool]:
        """See ``Topology``."""
        return (self.pool,)

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """See ``Topology``."""
        return (self._node,)

    @property
    def connected(self) -> bool:
        """See ``Topology``."""
        return self._node.refusal is None

    @property
    def trouble(self) -> str:
        """See ``Topology``."""
        return self._node.trouble

    @property
    def troubles(self) -> Sequence[tuple[str, str]]:
        """See ``Topology``."""
        return [(self._node.name, self._node.trouble)] if self._node.trouble else []

    def placement_of(self, rate: Rate, name: bytes) -> Placement:  # noqa: ARG002 -- the signature of Topology
        """See ``Topology``."""
        return self._node, name if self.sharded else 0

    def redirect_for(self, node: RedisNode, message: str) -> RedirectTarget | None:  # noqa: ARG002 -- the signature of NodeOwner
        """See ``NodeOwner``: a single server redirects no call."""
        return None

    def on_stale(self, node: RedisNode) -> None:
        """See ``NodeOwner``: the connections lead to a server that is not a master, so they are closed."""
        node.drop(f"Redis at {node.name} is no longer a master")

    def on_crossslot(self, node: RedisNode, message: str) -> None:
        """See ``NodeOwner``: a deployment may get more servers while it runs."""
        self._learned(node, Sharding(sharded=True, why=message))

    def on_down(self, node: RedisNode) -> None:
        """See ``NodeOwner``: no action; the next attempt to connect finds the server."""

    async def connect(self) -> bool:
        """See ``Topology``."""
        up = await self._node.open()
        if not up:
            self._node.open_more()
        return up

    async def close(self) -> None:
        """See ``Topology``."""
        await self._node.close()

    async def _dial(self, on_lost: Callable[[RedisConnection], None]) -> RedisConnection:
        """Connect; the first connection, also the first after an outage, shows how many servers there are."""
        connection = await self._dial_to(self._redis.deployment.addresses[0], on_lost)
        if not self._node.connections:
            await self._try_sharding(connection)
        return connection

    async def _try_sharding(self, connection: RedisConnection) -> None:
        prefix, timeout = self._options.prefix, self._redis.connect_timeout
        try:
            found = await try_sharding(connection, self._script, trial_keys(prefix), timeout)
        except BaseException:
            connection.close("the trial of a new connection was abandoned")
            raise
        self._learned(self._node, found)

    def _learned(self, node: RedisNode, found: Sharding) -> None:
        """Apply the result of a trial; an unknown one changes nothing."""
        if found.sharded is not None:
            self.sharded = found.sharded
        self._watcher.observer.sharding(node.name, found.sharded, found.why)

    async def _dial_to(self, address: RedisAddress, on_lost: Callable[[RedisConnection], None]) -> RedisConnection:
        return await dial(self._redis, address, self._script, self._node.probe_key, on_lost)


class Sentinel(Single):
    """The master that Sentinels report; each attempt to connect asks one of them again, unless connections are open."""

    def __init__(self, redis: ConnectOptions, script: Script, options: RedisOptions, watcher: Watcher) -> None:
        super().__init__(redis, script, options, watcher)
        self._sentinels = list(redis.deployment.addresses)
        self._master: RedisAddress | None = None
        self._watching: asyncio.Task[None] | None = None

    async def connect(self) -> bool:
        """See ``Topology``."""
        up = await super().connect()
        self._watching = asyncio.ensure_future(self._keep_watching())
        return up

    async def close(self) -> None:
        """See ``Topology``."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await super().close()

    async def _dial(self, on_lost: Callable[[RedisConnection], None]) -> RedisConnection:
        try:
            return await self._dial_to(await self._find_master(), on_lost)
        except RedisConnectionError:
            self._ask_another()
            raise

    async def _keep_watching(self) -> None:
        """Detect a new master even if no connection breaks: an old one that Sentinels cannot reach keeps serving.

        Sentinels close the connections to an old master in reach, those of all processes together. If each process left
        it at a time of its own, both masters would count meanwhile and admit more.
        """
        loop = asyncio.get_running_loop()
        reported, since = self._master, loop.time()
        while True:
            await asyncio.sleep(spread(WATCH_EVERY))
            named, now = await self._reported_master(), loop.time()
            if named is None:
                continue
            if named != reported:
                reported, since = named, now
            elif self._node.connections and named != self._master and now - since >= LEAVE_AFTER:
                self._node.drop(f"Sentinel reports a different master, {named}")

    async def _reported_master(self) -> RedisAddress | None:
        try:
            return await self._ask_sentinel()
        except RedisConnectionError:
            self._ask_another()
            return None

    def _ask_another(self) -> None:
        """Ask another Sentinel first next time: this one is unavailable, or its information is out of date."""
        self._sentinels.append(self._sentinels.pop(0))

    async def _find_master(self) -> RedisAddress:
        """Return the master's address: as long as there are connections, theirs, or both masters would be charged."""
        if self._master is None or not self._node.connections:
            self._master = await self._ask_sentinel()
        return self._master

    async def _ask_sentinel(self) -> RedisAddress:
        """Ask the first Sentinel of the list. Raises RedisConnectionError."""
        return await ask_master(self._redis, self._sentinels[0])
