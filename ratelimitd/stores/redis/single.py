"""A Redis of one server with every counter: one that is named, or the master that Sentinels name."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from ratelimitd.algorithms import Rate
from ratelimitd.config.redis_address import RedisAddress

from .connection import RedisConnection, RedisConnectionError
from .dialer import ask_master, dial
from .node import RedirectTarget, RedisNode, Watcher
from .options import ConnectOptions, RedisOptions, spread
from .script import Script
from .topology import Placement

WATCH_EVERY: Final = 5.0
"""Seconds between two looks at who is master, at most; an old one that can be cut off is so by then."""


class Single:
    """One server, at the address of its deployment."""

    def __init__(self, redis: ConnectOptions, script: Script, options: RedisOptions, watcher: Watcher) -> None:
        self._redis = redis
        self._script = script
        self._node = RedisNode(str(redis.deployment), self._dial, redis.pool_size, options, watcher, self)

    @property
    def alone(self) -> RedisNode | None:
        """See ``Topology``."""
        return self._node

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """See ``Topology``."""
        return (self._node,)

    @property
    def connected(self) -> bool:
        """See ``Topology``."""
        return self._node.refusal is None

    def placement_of(self, rate: Rate, name: bytes) -> Placement:  # noqa: ARG002 -- the signature of Topology
        """See ``Topology``."""
        return self._node, 0

    def redirect_for(self, node: RedisNode, message: str) -> RedirectTarget | None:  # noqa: ARG002 -- the signature of Home
        """See ``NodeOwner``: a single server redirects no call."""
        return None

    def on_stale(self, node: RedisNode) -> None:
        """See ``NodeOwner``: the connections do not lead to a master, so they are given up."""
        node.drop(f"Redis at {node.name} is no longer a master")

    def on_down(self, node: RedisNode) -> None:
        """See ``NodeOwner``: the next attempt to connect looks for it."""

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
        return await self._dial_to(self._redis.deployment.addresses[0], on_lost)

    async def _dial_to(self, address: RedisAddress, on_lost: Callable[[RedisConnection], None]) -> RedisConnection:
        return await dial(self._redis, address, self._script, self._node.probe_key, on_lost)


class Sentinel(Single):
    """The master that Sentinels name: each attempt to connect asks one of them anew."""

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
            return await self._dial_to(await self._look(), on_lost)
        except RedisConnectionError:
            self._ask_another()
            raise

    async def _keep_watching(self) -> None:
        """Notice another master even where nothing breaks: an old one that its Sentinels cannot reach goes on.

        Only one that is named twice: Sentinels cut an old master off within seconds where they can, and all processes
        at once. Were each to leave it in a moment of its own, more would be admitted meanwhile.
        """
        suspected = None
        while True:
            await asyncio.sleep(spread(WATCH_EVERY))
            named = await self._named_now()
            if self._node.connections and named == suspected and named not in (None, self._master):
                self._node.drop(f"Sentinel reports a different master, {named}")
            suspected = named

    async def _named_now(self) -> RedisAddress | None:
        try:
            return await self._named()
        except RedisConnectionError:
            self._ask_another()
            return None

    def _ask_another(self) -> None:
        """Ask another Sentinel first the next time, whether this one is away or behind the times."""
        self._sentinels.append(self._sentinels.pop(0))

    async def _look(self) -> RedisAddress:
        """Find out where the master is; connections to another one are given up, or charges would go to both."""
        master = await self._named()
        if self._master not in (None, master):
            self._node.drop(f"Sentinel reports a different master, {master}")
        self._master = master
        return master

    async def _named(self) -> RedisAddress:
        """Ask the first Sentinel of the list. Raises RedisConnectionError."""
        return await ask_master(self._redis, self._sentinels[0])
