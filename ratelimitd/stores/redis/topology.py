"""Which server has a counter, and how one is reached: a lone server, the master of Sentinels, or two Redis."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ratelimitd.algorithms import Rate

from .connection import Link, LinkError
from .dial import ask_master, dial
from .options import Address, Place, RedisOptions, spread
from .script import Script
from .server import Detour, Node, Watcher

Spot = tuple[Node | None, int]
"""The server of a counter, and what may share a script call with it: its slot. None: no server has the slot now."""

WATCH_EVERY: Final = 5.0
"""Seconds between two looks at who is master, at most; an old one that can be cut off is so by then."""

PER_SECOND: Final = 1_000_000
"""µs: the window of the limits that REDIS_PERSECOND is about."""


class Topology(Protocol):
    """What the store asks of a Redis, whatever that consists of."""

    @property
    def alone(self) -> Node | None:
        """The server that has every counter; None: look with ``spot``."""

    @property
    def nodes(self) -> Sequence[Node]:
        """Each server."""

    @property
    def connected(self) -> bool:
        """Whether it is well enough to be called so."""

    def spot(self, rate: Rate, name: bytes) -> Spot:
        """Return where the counter of this name is."""

    async def connect(self) -> bool:
        """Try to connect once; if that fails, go on in the background. Returns whether it worked."""

    async def close(self) -> None:
        """Close every connection."""


class Lone:
    """A lone server, or the one master that Sentinels name: each attempt to connect asks them anew."""

    def __init__(self, place: Place, script: Script, options: RedisOptions, watcher: Watcher) -> None:
        self._place = place
        self._script = script
        self._sentinels = list(place.addresses)
        self._master: Address | None = None
        self._watching: asyncio.Task[None] | None = None
        self._node = Node(str(place), self._dial, place.pool_size, options, watcher, self)

    @property
    def alone(self) -> Node | None:
        """See ``Topology``."""
        return self._node

    @property
    def nodes(self) -> Sequence[Node]:
        """See ``Topology``."""
        return (self._node,)

    @property
    def connected(self) -> bool:
        """See ``Topology``."""
        return self._node.refusal is None

    def spot(self, rate: Rate, name: bytes) -> Spot:  # noqa: ARG002 -- the signature of Topology
        """See ``Topology``."""
        return self._node, 0

    def elsewhere(self, node: Node, message: str) -> Detour | None:  # noqa: ARG002 -- the signature of Home
        """See ``Home``: a lone server sends nobody elsewhere."""
        return None

    def doubt(self, node: Node) -> None:
        """See ``Home``: the connections do not lead to a master, so they are given up."""
        node.drop(f"Redis at {node.name} is no master any more")

    def fell(self, node: Node) -> None:
        """See ``Home``: the next attempt to connect looks for it."""

    async def connect(self) -> bool:
        """See ``Topology``."""
        up = await self._node.open()
        if not up:
            self._node.open_more()
        if self._place.kind == "sentinel":
            self._watching = asyncio.ensure_future(self._keep_watching())
        return up

    async def close(self) -> None:
        """See ``Topology``."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._node.close()

    async def _dial(self, on_lost: Callable[[Link], None]) -> Link:
        place = self._place
        if place.kind != "sentinel":
            return await dial(place, place.addresses[0], self._script, self._node.probe_key, on_lost)
        try:
            return await dial(place, await self._look(), self._script, self._node.probe_key, on_lost)
        except LinkError:
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
            if self._node.links and named == suspected and named not in (None, self._master):
                self._node.drop(f"Sentinel names another master, {named}")
            suspected = named

    async def _named_now(self) -> Address | None:
        try:
            return await self._named()
        except LinkError:
            self._ask_another()
            return None

    def _ask_another(self) -> None:
        """Ask another Sentinel first the next time, whether this one is away or behind the times."""
        self._sentinels.append(self._sentinels.pop(0))

    async def _look(self) -> Address:
        """Find out where the master is; connections to another one are given up, or charges would go to both."""
        master = await self._named()
        if self._master not in (None, master):
            self._node.drop(f"Sentinel names another master, {master}")
        self._master = master
        return master

    async def _named(self) -> Address:
        """Ask the Sentinel at hand. Raises LinkError."""
        return await ask_master(self._place, self._sentinels[0])


class Split:
    """Two Redis: one for limits with a window of one second (REDIS_PERSECOND), one for all others."""

    def __init__(self, main: Topology, per_second: Topology) -> None:
        self._both = main, per_second

    @property
    def alone(self) -> Node | None:
        """See ``Topology``."""
        return None

    @property
    def nodes(self) -> Sequence[Node]:
        """See ``Topology``."""
        return [node for each in self._both for node in each.nodes]

    @property
    def connected(self) -> bool:
        """See ``Topology``: both of them, since each limit is in one alone."""
        return all(each.connected for each in self._both)

    def spot(self, rate: Rate, name: bytes) -> Spot:
        """See ``Topology``."""
        return self._both[rate.window == PER_SECOND].spot(rate, name)

    async def connect(self) -> bool:
        """See ``Topology``."""
        return all(await asyncio.gather(*(each.connect() for each in self._both)))

    async def close(self) -> None:
        """See ``Topology``."""
        for each in self._both:
            await each.close()
