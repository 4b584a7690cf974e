"""A Redis cluster: which server has which slot, learned from the servers themselves and kept up to date."""

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from ratelimitd.algorithms import Rate
from ratelimitd.config.redis_address import RedisAddress

from .connection import RedisConnection, RedisConnectionError
from .dialer import CLUSTER_SLOTS, ask, ask_slots, dial
from .errors import redirect
from .node import RedirectTarget, RedisNode, Watcher
from .options import ConnectOptions, RedisOptions, spread
from .probe import probe_key
from .script import Script
from .slots import SLOTS, Ranges, ranges, slot_of
from .topology import Placement

LOOK_EVERY: Final = 10.0
"""Seconds between looks at the slots while nothing is wrong: MOVED tells of a change at once, this of a spare one."""

LOOK_AGAIN: Final = 0.25
"""Seconds between looks while a slot has no server, or one that cannot be asked; with jitter, a look is short."""


class Cluster:
    """A cluster. Its nodes come and go with the reply to CLUSTER SLOTS."""

    def __init__(self, redis: ConnectOptions, script: Script, options: RedisOptions, watcher: Watcher) -> None:
        self._redis = redis
        self._script = script
        self._options = options
        probe_key(options.prefix, [range(1)])  # slow the first time, so now
        self._watcher = watcher
        self._nodes: dict[RedisAddress, RedisNode] = {}
        self._table: list[RedisNode | None] = [None] * SLOTS
        self._leaving: list[RedisNode] = []
        self._named: dict[RedisAddress, float] = {}
        self._loop = asyncio.get_running_loop()
        self._told = False
        self._wake = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @property
    def alone(self) -> RedisNode | None:
        """See ``Topology``."""
        return None

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """See ``Topology``."""
        return tuple(self._nodes.values())

    @property
    def connected(self) -> bool:
        """See ``Topology``: while one server answers, most callers are better off here than with nobody."""
        return any(node.refusal is None for node in self._nodes.values())

    def placement_of(self, rate: Rate, name: bytes) -> Placement:  # noqa: ARG002 -- the signature of Topology
        """See ``Topology``."""
        slot = slot_of(name)
        return self._table[slot], slot

    def redirect_for(self, node: RedisNode, message: str) -> RedirectTarget | None:
        """See ``NodeOwner``: MOVED is believed for its slot at once, and the whole is looked at again soon."""
        found = redirect(message, node.address)
        if found is None:
            return None
        there = self._node(found.address)
        self._named[found.address] = self._loop.time()
        if not found.asking:
            self._table[found.slot % SLOTS] = there
            self._wake.set()
        return RedirectTarget(there, found.asking)

    def on_stale(self, node: RedisNode) -> None:  # noqa: ARG002 -- the signature of Home
        """See ``NodeOwner``."""
        self._wake.set()

    def on_down(self, node: RedisNode) -> None:  # noqa: ARG002 -- the signature of Home
        """See ``NodeOwner``: another one may have its slots by now."""
        self._wake.set()

    async def connect(self) -> bool:
        """See ``Topology``: all masters, once; the look at the slots goes on in the background."""
        known = await self._look()
        self._looking = asyncio.ensure_future(self._keep_looking())
        if not known:
            return False
        up = await asyncio.gather(*(node.open() for node in self.nodes))
        for node in self.nodes:
            if not node.connections:
                node.open_more()
        return all(up)

    async def close(self) -> None:
        """See ``Topology``."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for node in (*self._nodes.values(), *self._leaving):
            await node.close()

    async def _keep_looking(self) -> None:
        while True:
            pause = LOOK_EVERY if self._settled else LOOK_AGAIN
            try:
                async with asyncio.timeout(spread(pause)):
                    await self._wake.wait()
                    await asyncio.sleep(LOOK_AGAIN * random.uniform(0.2, 0.4))  # noqa: S311 -- many doubts, one look
            except TimeoutError:
                pass
            self._wake.clear()
            await self._look()

    @property
    def _settled(self) -> bool:
        return None not in self._table and all(node.refusal is None for node in self._nodes.values())

    async def _look(self) -> bool:
        """Ask one node after the other for the slots until one answers; returns whether one did."""
        ready = [(address, node) for address, node in self._nodes.items() if node.refusal is None]
        random.shuffle(ready)
        for address, node in ready:
            if await self._take(address, partial(self._ask_node, node)):
                return True
        for address in dict.fromkeys((*self._redis.deployment.addresses, *self._nodes)):
            if await self._take(address, partial(ask_slots, self._redis, address)):
                return True
        return False

    async def _take(self, address: RedisAddress, ask: Callable[[], Any]) -> bool:
        try:
            self._adopt(ranges(await ask(), address))
        except (RedisConnectionError, ValueError) as problem:
            if not self._nodes and not self._told:
                self._told = True
                name = str(self._redis.deployment)
                self._watcher.edge(name, False, str(problem))  # noqa: FBT003 -- the edge's direction
            return False
        return True

    async def _ask_node(self, node: RedisNode) -> Any:
        connection = node.pick()
        if connection is None:
            raise RedisConnectionError("all connections are full")
        try:
            async with asyncio.timeout(self._redis.connect_timeout):
                return await ask(connection, CLUSTER_SLOTS)
        except TimeoutError as error:
            raise RedisConnectionError("no reply to CLUSTER SLOTS") from error

    def _adopt(self, found: Ranges) -> None:
        """Take over who has which slot; who has none any more leaves once its calls are done."""
        if not found:
            raise ValueError("CLUSTER SLOTS lists no slots")
        table: list[RedisNode | None] = [None] * SLOTS
        for address, slots in found.items():
            node = self._node(address)
            node.probe_key = probe_key(self._options.prefix, slots)
            for some in slots:
                table[some.start : some.stop] = [node] * len(some)
        self._table = table
        # A server that is to get its first slot has none yet, and calls are sent there all the same.
        recent = self._loop.time() - LOOK_EVERY
        self._named = {address: at for address, at in self._named.items() if at > recent}
        for address in [known for known in self._nodes if known not in found and known not in self._named]:
            self._leaving.append(self._nodes.pop(address))
        for node in [node for node in self._leaving if not any(map(len, node.connections))]:
            self._leaving.remove(node)
            node.retire()

    def _node(self, address: RedisAddress) -> RedisNode:
        node = self._nodes.get(address)
        if node is None:
            dial = partial(self._dial, address)
            size = self._redis.pool_size
            node = RedisNode(str(address), dial, size, self._options, self._watcher, self, address)
            self._nodes[address] = node
            if self._looking is not None:
                node.open_more()
        return node

    async def _dial(self, address: RedisAddress, on_lost: Callable[[RedisConnection], None]) -> RedisConnection:
        node = self._nodes.get(address)
        key = probe_key(self._options.prefix) if node is None else node.probe_key
        return await dial(self._redis, address, self._script, key, on_lost)
