"""The interface between the store and a Redis deployment, and a pair of deployments that share the counters."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from ratelimitd.algorithms import SECOND, Rate

from .node import Pool, RedisNode

ANY_SLOT: Final = -1
"""In place of a slot: those of the node together."""

Placement = tuple[RedisNode | None, int | bytes]
"""The node of a counter, None while no node serves its slot; and its slot, or its name: a script call may use one only.

It is the name where only the proxy in front of the servers knows which of them has the counter.
"""


class Topology(Protocol):
    """A Redis deployment as the store sees it."""

    @property
    def only_node(self) -> RedisNode | None:
        """The node that has every counter; None if ``placement_of`` decides."""

    @property
    def pools(self) -> Sequence[Pool]:
        """Counts of connections, by deployment."""

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """All nodes."""

    @property
    def connected(self) -> bool:
        """Whether the deployment counts as connected, for health and metrics."""

    @property
    def trouble(self) -> str:
        """Why every call to the deployment fails at present; empty if calls succeed."""

    @property
    def troubles(self) -> Sequence[tuple[str, str]]:
        """The servers of which every call fails at present, each with the reason."""

    def placement_of(self, rate: Rate, name: bytes) -> Placement:
        """Return the node and the slot of the counter with this name."""

    async def connect(self) -> bool:
        """Try to connect once. Return whether that succeeded; if not, keep trying in the background."""

    async def close(self) -> None:
        """Close every connection."""


class Split:
    """Two deployments: one for limits with a window of one second (REDIS_PERSECOND), one for all others."""

    def __init__(self, main: Topology, per_second: Topology) -> None:
        self._both = main, per_second

    @property
    def only_node(self) -> RedisNode | None:
        """See ``Topology``."""
        return None

    @property
    def pools(self) -> Sequence[Pool]:
        """See ``Topology``."""
        return [pool for each in self._both for pool in each.pools]

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """See ``Topology``."""
        return [node for each in self._both for node in each.nodes]

    @property
    def connected(self) -> bool:
        """See ``Topology``: whether both are connected, since each limit is in one of them only."""
        return all(each.connected for each in self._both)

    @property
    def trouble(self) -> str:
        """See ``Topology``: of either."""
        return next(filter(None, (each.trouble for each in self._both)), "")

    @property
    def troubles(self) -> Sequence[tuple[str, str]]:
        """See ``Topology``."""
        return [one for each in self._both for one in each.troubles]

    def placement_of(self, rate: Rate, name: bytes) -> Placement:
        """See ``Topology``."""
        return self._both[rate.window == SECOND].placement_of(rate, name)

    async def connect(self) -> bool:
        """See ``Topology``."""
        return all(await asyncio.gather(*(each.connect() for each in self._both)))

    async def close(self) -> None:
        """See ``Topology``."""
        for each in self._both:
            await each.close()
