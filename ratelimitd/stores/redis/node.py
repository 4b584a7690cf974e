"""One Redis server as the store sees it: its connections, its breaker, and how it comes back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.limiter import Failure, FailureKind

from .breaker import Breaker
from .connection import RedisConnection, RedisConnectionError
from .options import RedisOptions, spread
from .probe import probe_key

Dial = Callable[[Callable[[RedisConnection], None]], Awaitable[RedisConnection]]
"""Opens a connection to the server's current address; its argument is called when the connection is lost.

Raises RedisConnectionError.
"""


class Observer:
    """Is told what cannot be read off the store later; this one does not listen."""

    def round_trip(self, seconds: float, charges: int) -> None:
        """A script call with so many charges was answered."""

    def edge(self, name: str, up: bool, reason: str) -> None:  # noqa: FBT001 -- the edge's direction
        """A server, or a cluster as a whole, can be asked or no longer; at each change, and for the first attempt."""


class Watcher(Protocol):
    """Who is told how servers are.

    Attributes:
        reconnects: connections opened after a server's first.
        breaker_opens: times that a server began to be left alone.
    """

    reconnects: int
    breaker_opens: int

    def on_read(self) -> None:
        """What one read of a connection brought has reached its waiters, or the loss of one."""

    def probe(self, node: "RedisNode") -> None:
        """Ask a server that is left alone whether it can be asked again: with the real script."""

    def opened(self, node: "RedisNode") -> None:
        """A connection was made."""

    def missed(self, node: "RedisNode") -> None:
        """An attempt to connect failed or was given up, and there is no other connection."""

    def edge(self, name: str, up: bool, reason: str) -> None:  # noqa: FBT001 -- the edge's direction
        """Something by that name can be asked, or no longer; told at each change, and for the first attempt."""


class NodeOwner(Protocol):
    """What a server belongs to."""

    def redirect_for(self, node: "RedisNode", message: str) -> "RedirectTarget | None":
        """Return where a server's answer sends a call, and learn from it; None: it is no such answer."""

    def on_stale(self, node: "RedisNode") -> None:
        """The server said what contradicts that it is the right one to ask."""

    def on_down(self, node: "RedisNode") -> None:
        """The server can no longer be asked."""


class RedirectTarget(NamedTuple):
    """The server that a call is sent to instead, which ran nothing so far; ``asking``: for this once."""

    node: "RedisNode"
    asking: bool


class RedisNode:
    """A server. It may be asked while it has a connection and its breaker is closed.

    Attributes:
        name: for logs and metrics.
        address: of a node of a cluster.
        home: what it belongs to.
        breaker: told by ``failed`` and ``passed``.
        probe_key: of our own, to be written by probes.
        refusal: why it cannot be asked; None: it can.
        links: its connections.
    """

    def __init__(
        self,
        name: str,
        dial: Dial,
        pool_size: int,
        options: RedisOptions,
        watcher: Watcher,
        owner: NodeOwner,
        address: RedisAddress | None = None,
    ) -> None:
        self.name = name
        self.address = address or RedisAddress()
        self.owner = owner
        self.breaker = Breaker(options.breaker_after)
        self.probe_key = probe_key(options.prefix)
        self.refusal: Failure | None = Failure(FailureKind.DISCONNECTED, "not connected to Redis yet")
        self.connections: list[RedisConnection] = []
        self._loop = asyncio.get_running_loop()
        self._dial = dial
        self._pool_size = pool_size
        self._options = options
        self._watcher = watcher
        self._told: bool | None = None
        self._known = False
        self._proven = True
        self._probing: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[None] | None = None
        self._watching = False
        self._closed = False

    async def open(self) -> bool:
        """Open one connection; returns whether that worked."""
        try:
            connection = await self._dial(self._lost)
        except RedisConnectionError as problem:
            if not self.connections:
                self._judge(str(problem))
                self._watcher.missed(self)
            return False
        if connection.lost or self._closed or len(self.connections) >= self._pool_size:
            connection.give_up("connection no longer needed")
            return False
        connection.after = self._watcher.on_read
        self.connections.append(connection)
        self._proven = False
        self._watcher.reconnects += self._known
        self._known = True
        self._judge(f"connected to Redis at {self.name}")
        self._watcher.opened(self)
        if self.breaker.open:
            self._watcher.probe(self)
        return True

    def open_more(self) -> None:
        """Open a connection in the background; as long as that fails, go on trying, at a pace of its own."""
        if self._opening is None and not self._closed and len(self.connections) < self._pool_size:
            self._opening = self._loop.create_task(self._keep_opening())

    async def _keep_opening(self) -> None:
        pause, most = self._options.retry_first, self._options.retry_most
        try:
            if not self._proven:
                # The last one was greeted well, and nothing has come of it yet: a server may be well at that alone.
                await asyncio.sleep(spread(most))
            while len(self.connections) < self._pool_size and not await self.open():
                await asyncio.sleep(spread(pause))
                pause = min(pause * 2, most)
        finally:
            self._opening = None

    def pick(self) -> RedisConnection | None:
        """Return the least busy connection, None when each is full; another is opened when none is idle."""
        ready = [connection for connection in self.connections if not connection.full]
        if not ready:
            return None
        connection = min(ready, key=len)
        if len(connection):
            self.open_more()
        return connection

    def failed(self, why: str) -> None:
        """Count a failure that is the server's; after some in a row it is left alone and probed."""
        if self.breaker.failed():
            self._watcher.breaker_opens += 1
            self._judge(why)
            self._probe_later()

    def passed(self) -> None:
        """Count a call that was answered in time."""
        self._proven = True
        if self.breaker.passed():
            self._judge(f"Redis at {self.name} responds again; circuit breaker closed")

    def _probe_later(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        self._probing = self._loop.call_later(spread(self._options.probe_most), self._probe)

    def _probe(self) -> None:
        if self._closed or not self.breaker.open:
            return
        self._probe_later()
        if self.connections:
            self._watcher.probe(self)

    def watch(self) -> None:
        """Give the connections up when no answer comes for long, even if nothing more is sent meanwhile."""
        waited = max((connection.waited() for connection in self.connections), default=0.0)
        if waited and not self._watching:
            self._watching = True
            self._loop.call_later(self._options.stale_after - waited, self._watched)

    def _watched(self) -> None:
        self._watching = False
        if any(connection.waited() >= self._options.stale_after for connection in self.connections):
            self.drop(f"no reply from Redis for {self._options.stale_after:g} s")
        self.watch()

    def drop(self, reason: str) -> None:
        """Give up every connection, and look for the server again."""
        for connection in tuple(self.connections):
            connection.give_up(reason)

    def _lost(self, connection: RedisConnection) -> None:
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        if self._closed:
            self.refusal = Failure(FailureKind.DISCONNECTED, connection.lost)
        elif not self.connections:
            self._judge(connection.lost)
            self.open_more()

    def _judge(self, why: str) -> None:
        """Work out whether the server can be asked, and tell a change once."""
        if not self.connections:
            self.refusal = Failure(FailureKind.DISCONNECTED, why)
        elif self.breaker.open:
            self.refusal = Failure(FailureKind.OPEN, f"Redis at {self.name}: circuit breaker open; probing")
        else:
            self.refusal = None
        up = self.refusal is None
        if up is not self._told:
            self._told = up
            self._watcher.edge(self.name, up, why)
            if not up:
                self.owner.on_down(self)

    def retire(self) -> None:
        """End without a call under way: the server has no part in anything any more."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        self.drop("Redis node no longer owns slots")
        self._watcher.missed(self)

    async def close(self) -> None:
        """Close every connection; what is under way fails as disconnected."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        self.drop("shutting down")
