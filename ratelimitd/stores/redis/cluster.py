"""A Redis cluster: its map from slots to nodes, learned from the nodes and kept up to date."""

import asyncio
import random
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, Final

from ratelimitd.algorithms import Rate
from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.limiter import FailureKind

from .connection import RedisConnection, RedisConnectionError
from .dialer import CLUSTER_NODES, CLUSTER_SLOTS, ask, ask_slots, dial
from .errors import meaning, redirect
from .handshake import Command
from .node import Pool, RedirectTarget, RedisNode, Watcher
from .options import ConnectOptions, RedisOptions, spread
from .probe import probe_key
from .script import Script
from .sharding import KEYS, trial_keys, try_sharding
from .slots import PART, SLOTS, Ranges, add_ranges, key_in, listed, parts, replicas, slot_of
from .strangers import Stranger, Strangers
from .topology import Placement

REFRESH_EVERY: Final = 10.0
"""Seconds between refreshes of the slot map while nothing is wrong. MOVED reports a change at once; a refresh finds
changes in which no call was redirected."""

REFRESH_SOON: Final = 0.25
"""Seconds between refreshes while a slot has no node, or an unavailable one; with jitter. A refresh is short."""


TRY_EVERY: Final = 1.0
"""Seconds until a node is tried of which it is unknown whether a call may use several of its slots; with jitter."""

DIALS: Final = 8
"""Connections that are being opened at once: a thousand servers that a reply names cost no more than eight do."""

REDIALS: Final = DIALS // 2
"""Those of them to servers that could not be reached before: a server that lost its connection waits for no others."""


class Cluster:
    """A cluster. Its nodes are added and removed by the replies to CLUSTER SLOTS."""

    sharded = False

    def __init__(self, redis: ConnectOptions, script: Script, options: RedisOptions, watcher: Watcher) -> None:
        self.pool = Pool()
        self._redis = redis
        self._script = script
        self._options = options
        probe_key(options.prefix, [range(1)])  # the first call takes 30 ms, so it is made here
        self._watcher = watcher
        self._nodes: dict[RedisAddress, RedisNode] = {}
        self._table: list[RedisNode | None] = [None] * SLOTS
        self._leaving: list[RedisNode] = []
        self._redirected_to: dict[RedisAddress, float] = {}
        self._replicas: set[RedisAddress] = set()
        self._strangers = Strangers()
        self._unreached: set[RedisAddress] = set()
        self._dials, self._redials = asyncio.Semaphore(DIALS), asyncio.Semaphore(REDIALS)
        self._loop = asyncio.get_running_loop()
        self._reported = False
        self._why = "not connected to Redis yet"
        self._wake = asyncio.Event()
        self._refreshing: asyncio.Task[None] | None = None
        self._trying: asyncio.Task[None] | None = None
        self._trials = asyncio.Semaphore(DIALS)

    @property
    def only_node(self) -> RedisNode | None:
        """See ``Topology``."""
        return None

    @property
    def pools(self) -> Sequence[Pool]:
        """See ``Topology``."""
        return (self.pool,)

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
        """See ``NodeOwner``: MOVED changes its slot at once, and triggers a refresh of the whole map.

        A connection begins with the password. So a server that the last look did not name, as a master or a replica,
        is connected to once a look names it; the call waits for that within its budget.
        """
        found = redirect(message, node.address)
        if found is None:
            return None
        if found.address not in self._nodes and found.address not in self._replicas:
            self._wake.set()
            stranger = self._strangers.add(found.address, node, self._new_node)
            return None if stranger is None else RedirectTarget(stranger, found.asking)
        there = self._node(found.address)
        self._redirected_to[found.address] = self._loop.time()
        if not found.asking:
            self._table[found.slot % SLOTS] = there
            self._wake.set()
        return RedirectTarget(there, found.asking)

    def on_stale(self, node: RedisNode) -> None:  # noqa: ARG002 -- the signature of NodeOwner
        """See ``NodeOwner``."""
        self._wake.set()

    def on_crossslot(self, node: RedisNode, message: str) -> None:  # noqa: ARG002 -- the signature of NodeOwner
        """See ``NodeOwner``."""
        node.cross_slot = False

    def on_down(self, node: RedisNode) -> None:
        """See ``NodeOwner``: another node may have taken its slots; a stranger has none."""
        if self._nodes.get(node.address) is node:
            self._wake.set()

    async def connect(self) -> bool:
        """See ``Topology``: connect to all masters once; the slot map is refreshed in the background."""
        known = await self._refresh()
        self._refreshing = asyncio.ensure_future(self._keep_refreshing())
        self._trying = asyncio.ensure_future(self._keep_trying())
        if not known:
            return False
        up = await asyncio.gather(*(node.open() for node in self.nodes))
        for node in self.nodes:
            if not node.connections:
                node.open_more()
        await self._try_nodes()
        return all(up)

    async def close(self) -> None:
        """See ``Topology``."""
        background = [task for task in (self._refreshing, self._trying) if task is not None]
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        for node in (*self._nodes.values(), *self._leaving, *self._strangers.nodes):
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

    async def _keep_trying(self) -> None:
        while True:
            await asyncio.sleep(spread(TRY_EVERY))
            await self._try_nodes()

    async def _try_nodes(self) -> None:
        """Find out which nodes run a script call over several of their slots, if that is unknown."""
        slots: dict[RedisNode, list[int]] = {node: [] for node in self.nodes if node.cross_slot is None}
        for slot, node in enumerate(self._table if slots else ()):
            if node in slots:
                slots[node].append(slot)
        await asyncio.gather(*(self._try_node(node, some) for node, some in slots.items() if len(some) > 1))

    async def _try_node(self, node: RedisNode, slots: Sequence[int]) -> None:
        async with self._trials:
            some = random.sample(slots, min(KEYS, len(slots)))
            keys = [key_in(key, slot) for key, slot in zip(trial_keys(self._options.prefix), some, strict=False)]
            if slot_of(keys[0]) != some[0]:
                node.cross_slot = False  # braces in CACHE_KEY_PREFIX: all keys have one slot
                return
            connection = node.pick()
            if connection is None:
                return
            try:
                found = await try_sharding(connection, self._script, keys, self._redis.connect_timeout, declared=False)
            except RedisConnectionError:
                return
        if found.sharded is not None or meaning(found.why).kind is FailureKind.PERMANENT:
            node.cross_slot = found.sharded is False

    @property
    def _settled(self) -> bool:
        return None not in self._table and all(node.refusal is None for node in self._nodes.values())

    async def _refresh(self) -> bool:
        """Ask one node after the other for the slots until one replies. Return whether one did."""
        strangers = self._strangers.present()
        for address, node in self._ready(strangers):
            if await self._refresh_from(address, partial(self._ask_node, node, CLUSTER_SLOTS)):
                await self._meet(strangers, address, node)
                return True
        for address in dict.fromkeys((*self._redis.deployment.addresses, *self._nodes)):
            if await self._refresh_from(address, partial(ask_slots, self._redis, address)):
                await self._meet(strangers, address, None)
                return True
        self._decide(strangers, ())
        return False

    def _ready(self, strangers: Mapping[RedisAddress, Stranger]) -> Sequence[tuple[RedisAddress, RedisNode]]:
        """Return the available nodes in random order; first those that named no stranger, as they can confirm one."""
        ready = [(address, node) for address, node in self._nodes.items() if node.refusal is None]
        random.shuffle(ready)
        named_by = {stranger.by for stranger in strangers.values()}
        return sorted(ready, key=lambda each: each[1] in named_by)

    async def _meet(
        self, strangers: Mapping[RedisAddress, Stranger], asked: RedisAddress, node: RedisNode | None
    ) -> None:
        """Decide on strangers by the last look, and by CLUSTER NODES, which also names servers without slots."""
        named = self._nodes.keys() | self._replicas
        if node is not None and not named.issuperset(strangers):
            # The user may lack the right; then the server is known as soon as it has a slot.
            with suppress(RedisConnectionError, ValueError):
                named |= listed(await self._ask_node(node, CLUSTER_NODES), asked)
        self._decide(strangers, named)

    def _decide(self, strangers: Iterable[RedisAddress], named: Container[RedisAddress]) -> None:
        for address in strangers:
            if address in named:
                self._redirected_to[address] = self._loop.time()
                self._node(address)
            elif (refused := self._strangers.remove(address)) is not None:
                self._leaving.append(refused)

    async def _refresh_from(self, address: RedisAddress, ask: Callable[[], Any]) -> bool:
        try:
            await self._apply_slots(await ask(), address)
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

    def _edge(self, up: bool, why: str) -> None:
        """Report the cluster as a whole; each node reports itself."""
        self._watcher.observer.edge(str(self._redis.deployment), up, why)

    async def _ask_node(self, node: RedisNode, command: Command) -> Any:
        connection = node.pick()
        if connection is None:
            raise RedisConnectionError("all connections are full")
        try:
            async with asyncio.timeout(self._redis.connect_timeout):
                return await ask(connection, command)
        except TimeoutError as error:
            raise RedisConnectionError(f"no reply to {command[0]!s} {command[1]!s}") from error

    async def _apply_slots(self, reply: Any, asked: RedisAddress) -> None:
        """Apply a new slot map. A node without slots is retired once it has no call in flight."""
        found: Ranges = {}
        others: set[RedisAddress] = set()
        for part in parts(reply):
            add_ranges(found, part, asked)
            others |= replicas(part, asked)
            await _turn(len(part))
        if not found:
            raise ValueError("CLUSTER SLOTS lists no slots")
        for count, (address, slots) in enumerate(found.items(), 1):
            self._node(address).probe_key = probe_key(self._options.prefix, slots)
            await _turn(count)
        self._replicas = others
        self._apply(found)

    def _apply(self, found: Ranges) -> None:
        table: list[RedisNode | None] = [None] * SLOTS
        for address, slots in found.items():
            node = self._node(address)
            for some in slots:
                table[some.start : some.stop] = [node] * len(some)
        self._table = table
        # A node that is about to receive its first slot has none yet, but calls are already redirected to it.
        recent = self._loop.time() - REFRESH_EVERY
        self._redirected_to = {address: at for address, at in self._redirected_to.items() if at > recent}
        for address in [known for known in self._nodes if known not in found and known not in self._redirected_to]:
            self._leaving.append(self._nodes.pop(address))
        self._unreached &= self._nodes.keys()
        for node in [node for node in self._leaving if not any(map(len, node.connections))]:
            self._leaving.remove(node)
            node.retire()

    def _node(self, address: RedisAddress) -> RedisNode:
        node = self._nodes.get(address)
        if node is None:
            node = self._strangers.remove(address) or self._new_node(address)
            self._nodes[address] = node
            if self._refreshing is not None:
                node.open_more()
        return node

    def _new_node(self, address: RedisAddress) -> RedisNode:
        dial = partial(self._dial, address)
        return RedisNode(str(address), dial, self._redis.pool_size, self._options, self._watcher, self, address)

    async def _dial(self, address: RedisAddress, on_lost: Callable[[RedisConnection], None]) -> RedisConnection:
        await self._strangers.decision(address)
        if address not in self._nodes:
            raise RedisConnectionError(f"no connection to Redis at {address}: CLUSTER SLOTS does not name it")
        again = self._redials if address in self._unreached else nullcontext()
        async with again, self._dials:
            try:
                connection = await dial(self._redis, address, self._script, self._probe_key(address), on_lost)
            except RedisConnectionError:
                self._unreached.add(address)
                raise
        self._unreached.discard(address)
        return connection

    def _probe_key(self, address: RedisAddress) -> bytes:
        node = self._nodes.get(address)
        return probe_key(self._options.prefix) if node is None else node.probe_key


async def _turn(count: int) -> None:
    """Let the event loop turn after each part of a large reply."""
    if count % PART == 0:
        await asyncio.sleep(0)
