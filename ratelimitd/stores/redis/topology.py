"""Which server has a counter, and how one is reached: a lone server, the master of Sentinels, or two Redis."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ratelimitd.algorithms import Rate

from .dial import ask_once, dial
from .link import Link, LinkError
from .node import Detour, Node, Watcher
from .options import Address, Place, RedisOptions
from .script import Script

Spot = tuple[Node | None, int]
"""The server of a counter, and what may share a script call with it: its slot. None: no server has the slot now."""

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
        """Whether it can be asked at this moment, for a part of the counters at least."""

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
        return up

    async def close(self) -> None:
        """See ``Topology``."""
        await self._node.close()

    async def _dial(self, on_lost: Callable[[Link], None]) -> Link:
        place = self._place
        if place.kind != "sentinel":
            return await dial(place, place.addresses[0], self._script, self._node.probe_key, on_lost)
        try:
            return await dial(place, await self._master(), self._script, self._node.probe_key, on_lost)
        except LinkError:
            # Whether this Sentinel is away or behind the times: the next attempt asks another first.
            self._sentinels.append(self._sentinels.pop(0))
            raise

    async def _master(self) -> Address:
        """Ask the Sentinel at hand where the master is."""
        place, sentinel = self._place, self._sentinels[0]
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", place.master)
        reply = await ask_once(place, sentinel, place.sentinel_credentials, question)
        if reply is None:
            raise LinkError(f"the Sentinel at {sentinel} knows no master named {place.master}")
        host, port = reply
        return Address(host.decode(), int(port))


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
