"""The interface between the store and a Redis deployment, and a pair of deployments that share the counters."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from ratelimitd.algorithms import SECOND, Rate

from .node import RedisNode

Placement = tuple[RedisNode | None, int]
"""The node of a counter, None while no node serves its slot; and the slot, since a script call may use one only."""


class Topology(Protocol):
    """A Redis deployment as the store sees it."""

    @property
    def only_node(self) -> RedisNode | None:
        """The node that has every counter; None if ``placement_of`` decides."""

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """All nodes."""

    @property
    def connected(self) -> bool:
        """Whether the deployment counts as connected, for health and metrics."""

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
    def nodes(self) -> Sequence[RedisNode]:
        """See ``Topology``."""
        return [node for each in self._both for node in each.nodes]

    @property
    def connected(self) -> bool:
        """See ``Topology``: whether both are connected, since each limit is in one of them only."""
        return all(each.connected for each in self._both)

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
