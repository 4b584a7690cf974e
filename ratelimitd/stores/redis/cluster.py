"""A Redis cluster: its map from slots to nodes, learned from the nodes and kept up to date."""

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

REFRESH_EVERY: Final = 10.0
"""Seconds between refreshes of the slot map while nothing is wrong. MOVED reports a change at once; a refresh finds
changes in which no call was redirected."""

REFRESH_SOON: Final = 0.25
"""Seconds between refreshes while a slot has no node, or an unavailable one; with jitter. A refresh is short."""


class Cluster:
    """A cluster. Its nodes are added and removed by the replies to CLUSTER SLOTS."""

    sharded = False

    def __init__(self, redis: ConnectOptions, script: Script, options: RedisOptions, watcher: Watcher) -> None:
        self._redis = redis
        self._script = script
        self._options = options
        probe_key(options.prefix, [range(1)])  # the first call takes 30 ms, so it is made here
        self._watcher = watcher
        self._nodes: dict[RedisAddress, RedisNode] = {}
        self._table: list[RedisNode | None] = [None] * SLOTS
        self._leaving: list[RedisNode] = []
        self._redirected_to: dict[RedisAddress, float] = {}
        self._loop = asyncio.get_running_loop()
        self._reported = False
        self._why = "not connected to Redis yet"
        self._wake = asyncio.Event()
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def only_node(self) -> RedisNode | None:
        """See ``Topology``."""
        return None

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """See ``Topology``."""
        return tuple(self._nodes.values())

    @property
    def connected(self) -> bool:
        """See ``Topology``: while one node is available, this instance still serves the callers of its slots."""
        return any(node.refusal is None for node in self._nodes.values())

    @property
    def trouble(self) -> str:
        """See ``Topology``: no node accepts calls."""
        troubles = self.troubles
        return troubles[0][1] if len(troubles) >= max(1, len(self._nodes)) else ""

    @property
    def troubles(self) -> Sequence[tuple[str, str]]:
        """See ``Topology``; of the whole cluster as long as no node is known."""
        if not self._nodes:
            return [(str(self._redis.deployment), self._why)]
        return [(node.name, node.trouble) for node in self._nodes.values() if node.trouble]

    def placement_of(self, rate: Rate, name: bytes) -> Placement:  # noqa: ARG002 -- the signature of Topology
        """See ``Topology``."""
        slot = slot_of(name)
        return self._table[slot], slot

    def redirect_for(self, node: RedisNode, message: str) -> RedirectTarget | None:
        """See ``NodeOwner``: MOVED changes its slot at once, and triggers a refresh of the whole map."""
        found = redirect(message, node.address)
        if found is None:
            return None
        there = self._node(found.address)
        self._redirected_to[found.address] = self._loop.time()
        if not found.asking:
            self._table[found.slot % SLOTS] = there
            self._wake.set()
        return RedirectTarget(there, found.asking)

    def on_stale(self, node: RedisNode) -> None:  # noqa: ARG002 -- the signature of NodeOwner
        """See ``NodeOwner``."""
        self._wake.set()

    def on_crossslot(self, node: RedisNode, message: str) -> None:
        """See ``NodeOwner``: no action; calls are made for one slot each."""

    def on_down(self, node: RedisNode) -> None:  # noqa: ARG002 -- the signature of NodeOwner
        """See ``NodeOwner``: another node may have taken its slots."""
        self._wake.set()

    async def connect(self) -> bool:
        """See ``Topology``: connect to all masters once; the slot map is refreshed in the background."""
        known = await self._refresh()
        self._refreshing = asyncio.ensure_future(self._keep_refreshing())
        if not known:
            return False
        up = await asyncio.gather(*(node.open() for node in self.nodes))
        for node in self.nodes:
            if not node.connections:
                node.open_more()
        return all(up)

    async def close(self) -> None:
        """See ``Topology``."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        for node in (*self._nodes.values(), *self._leaving):
            await node.close()

    async def _keep_refreshing(self) -> None:
        while True:
            pause = REFRESH_EVERY if self._settled else REFRESH_SOON
            try:
                async with asyncio.timeout(spread(pause)):
                    await self._wake.wait()
                    await asyncio.sleep(REFRESH_SOON * random.uniform(0.2, 0.4))  # noqa: S311 -- several triggers, one refresh
            except TimeoutError:
                pass
            self._wake.clear()
            await self._refresh()

    @property
    def _settled(self) -> bool:
        return None not in self._table and all(node.refusal is None for node in self._nodes.values())

    async def _refresh(self) -> bool:
        """Ask one node after the other for the slots until one replies. Return whether one did."""
        ready = [(address, node) for address, node in self._nodes.items() if node.refusal is None]
        random.shuffle(ready)
        for address, node in ready:
            if await self._refresh_from(address, partial(self._ask_node, node)):
                return True
        for address in dict.fromkeys((*self._redis.deployment.addresses, *self._nodes)):
            if await self._refresh_from(address, partial(ask_slots, self._redis, address)):
                return True
        return False

    async def _refresh_from(self, address: RedisAddress, ask: Callable[[], Any]) -> bool:
        try:
            self._apply_slots(ranges(await ask(), address))
        except (RedisConnectionError, ValueError) as problem:
            self._why = str(problem)
            if not self._nodes and not self._reported:
                self._reported = True
                self._edge(False, self._why)  # noqa: FBT003 -- the edge's direction
            return False
        if self._reported:
            self._reported = False
            self._edge(True, "its nodes are known")  # noqa: FBT003 -- as above
        return True

    def _edge(self, up: bool, why: str) -> None:  # noqa: FBT001 -- as above
        """Report the cluster as a whole; each node reports itself."""
        self._watcher.observer.edge(str(self._redis.deployment), up, why)

    async def _ask_node(self, node: RedisNode) -> Any:
        connection = node.pick()
        if connection is None:
            raise RedisConnectionError("all connections are full")
        try:
            async with asyncio.timeout(self._redis.connect_timeout):
                return await ask(connection, CLUSTER_SLOTS)
        except TimeoutError as error:
            raise RedisConnectionError("no reply to CLUSTER SLOTS") from error

    def _apply_slots(self, found: Ranges) -> None:
        """Apply a new slot map. A node without slots is retired once it has no call in flight."""
        if not found:
            raise ValueError("CLUSTER SLOTS lists no slots")
        table: list[RedisNode | None] = [None] * SLOTS
        for address, slots in found.items():
            node = self._node(address)
            node.probe_key = probe_key(self._options.prefix, slots)
            for some in slots:
                table[some.start : some.stop] = [node] * len(some)
        self._table = table
        # A node that is about to receive its first slot has none yet, but calls are already redirected to it.
        recent = self._loop.time() - REFRESH_EVERY
        self._redirected_to = {address: at for address, at in self._redirected_to.items() if at > recent}
        for address in [known for known in self._nodes if known not in found and known not in self._redirected_to]:
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
            if self._refreshing is not None:
                node.open_more()
        return node

    async def _dial(self, address: RedisAddress, on_lost: Callable[[RedisConnection], None]) -> RedisConnection:
        node = self._nodes.get(address)
        key = probe_key(self._options.prefix) if node is None else node.probe_key
        return await dial(self._redis, address, self._script, key, on_lost)
