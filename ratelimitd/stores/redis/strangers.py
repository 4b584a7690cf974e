"""Servers that redirections name, and that no look at the cluster has named yet.

A connection begins with the password, so such a server is connected to only once a look names it.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ratelimitd.config.redis_address import RedisAddress

from .node import RedisNode

STRANGERS: Final = 16
"""Strangers at once: a cluster gets few new servers between two looks, a quarter of a second apart."""


class Stranger(NamedTuple):
    """A server that was named by a redirection.

    Attributes:
        node: takes the calls that were redirected; it connects once it was accepted.
        by: the node that named it.
        decided: done when it was accepted or refused.
    """

    node: RedisNode
    by: RedisNode
    decided: "asyncio.Future[None]"


class Strangers:
    """The strangers of a cluster, until a look accepts or refuses them."""

    def __init__(self) -> None:
        self._all: dict[RedisAddress, Stranger] = {}

    @property
    def nodes(self) -> Sequence[RedisNode]:
        """Their nodes."""
        return [stranger.node for stranger in self._all.values()]

    def present(self) -> dict[RedisAddress, Stranger]:
        """Return all; the next look decides on them."""
        return dict(self._all)

    def add(self, address: RedisAddress, by: RedisNode, make: Callable[[RedisAddress], RedisNode]) -> RedisNode | None:
        """Return the node of a stranger; None if there are too many."""
        stranger = self._all.get(address)
        if stranger is None:
            if len(self._all) >= STRANGERS:
                return None
            stranger = Stranger(make(address), by, asyncio.get_running_loop().create_future())
            self._all[address] = stranger
        return stranger.node

    async def decision(self, address: RedisAddress) -> None:
        """Wait until a stranger was accepted or refused."""
        if address in self._all:
            await asyncio.wait((self._all[address].decided,))

    def remove(self, address: RedisAddress) -> RedisNode | None:
        """Return the node of a stranger that is accepted or refused now; None if there is none."""
        stranger = self._all.pop(address, None)
        if stranger is None:
            return None
        stranger.decided.set_result(None)
        return stranger.node
