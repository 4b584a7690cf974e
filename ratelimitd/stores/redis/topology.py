"""Which server has a counter: what the store asks of a Redis, and two Redis that share the counters."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from ratelimitd.algorithms import SECOND, Rate

from .node import RedisNode

Placement = tuple[RedisNode | None, int]
"""The server of a counter, and what may share a script call with it: its slot. None: no server has the slot now."""


class Topology(Protocol):
    """What the store asks of a Redis, whatever that consists of."""

    @property
    def alone(self) -> RedisNode | None:
        """The server that has every counter; None: look with ``placement_of``."""

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """Each server."""

    @property
    def connected(self) -> bool:
        """Whether it is well enough to be called so."""

    def placement_of(self, rate: Rate, name: bytes) -> Placement:
        """Return where the counter of this name is."""

    async def connect(self) -> bool:
        """Try to connect once; if that fails, go on in the background. Returns whether it worked."""

    async def close(self) -> None:
        """Close every connection."""


class Split:
    """Two Redis: one for limits with a window of one second (REDIS_PERSECOND), one for all others."""

    def __init__(self, main: Topology, per_second: Topology) -> None:
        self._both = main, per_second

    @property
    def alone(self) -> RedisNode | None:
        """See ``Topology``."""
        return None

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """See ``Topology``."""
        return [node for each in self._both for node in each.nodes]

    @property
    def connected(self) -> bool:
        """See ``Topology``: both of them, since each limit is in one alone."""
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
