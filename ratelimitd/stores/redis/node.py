"""One Redis server as the store sees it: its connections, its circuit breaker and its recovery."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.limiter import Failure, FailureKind
from ratelimitd.net.turns import Turns

from .breaker import Breaker, Refusals
from .connection import RedisConnection, RedisConnectionError
from .errors import budget_text, meaning
from .options import RedisOptions, spread
from .probe import probe_key

Dial = Callable[[Callable[[RedisConnection], None]], Awaitable[RedisConnection]]
"""Opens a connection to the node's current address; its argument is called when the connection is lost.

Raises RedisConnectionError.
"""


class Observer:
    """Receives events that the store does not keep; this implementation ignores them."""

    def round_trip(self, seconds: float, charges: int) -> None:
        """A script call with this number of charges received its reply."""

    def edge(self, name: str, up: bool, reason: str) -> None:
        """A node, or a cluster as a whole, became available or unavailable; also called for the first attempt."""

    def refusing(self, name: str, reason: str) -> None:
        """A node refuses every call from now on, for this reason, or accepts calls again (no reason)."""

    def sharding(self, name: str, sharded: bool | None, reason: str) -> None:
        """A trial showed whether several servers share the keys behind the address of a node."""


class Watcher(Protocol):
    """Receives the events of nodes.

    Attributes:
        observer: receives those that the store does not keep.
        turns: give slices to connections with more replies than one turn has room for.
        reconnects: connections opened after the first one of a node.
        breaker_opens: openings of circuit breakers.
    """

    observer: Observer
    turns: Turns
    reconnects: int
    breaker_opens: int

    def on_read(self) -> None:
        """Replies, or the loss of a connection, were passed to their waiters."""

    def probe(self, node: "RedisNode") -> None:
        """Send a probe, with the real script, to a node whose breaker is open."""

    def opened(self, node: "RedisNode") -> None:
        """A connection was opened."""

    def connect_failed(self, node: "RedisNode") -> None:
        """An attempt to connect failed or was abandoned, and the node has no other connection."""


class Pool:
    """The connections to a deployment: how many were made, and how many of them closed."""

    __slots__ = ("closed", "made")

    def __init__(self) -> None:
        self.made = 0
        self.closed = 0


class NodeOwner(Protocol):
    """The topology that a node belongs to.

    Attributes:
        pool: counts of its connections.
        sharded: whether several servers share the keys behind the node's address, so that a call may use one key only.
    """

    pool: Pool
    sharded: bool

    def redirect_for(self, node: "RedisNode", message: str) -> "RedirectTarget | None":
        """Return the target if an error redirects a call, and remember it; None for any other error."""

    def on_stale(self, node: "RedisNode") -> None:
        """The node's reply suggests that it is not the master any more."""

    def on_crossslot(self, node: "RedisNode", message: str) -> None:
        """The node refused a call because of the slots of its keys."""

    def on_down(self, node: "RedisNode") -> None:
        """The node became unavailable."""


class RedirectTarget(NamedTuple):
    """The node that a redirected call is sent to; ``asking``: for this call only, with ASKING."""

    node: "RedisNode"
    asking: bool


class RedisNode:
    """A server. It is available while it has a connection and its breaker is closed.

    Attributes:
        name: name in logs and metrics.
        address: address of a cluster node.
        owner: topology that it belongs to.
        breaker: circuit breaker, updated by ``failed`` and ``answered``.
        refusals: calls in a row that it refused, updated by ``refused`` and ``accepted``.
        probe_key: reserved key that probes write.
        refusal: failure of calls while the node is unavailable; None while it is available.
        connections: open connections.
        cross_slot: whether a script call may use keys of several of a cluster node's slots; None: not tried yet.
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
        self.refusals = Refusals(options.breaker_after)
        self.probe_key = probe_key(options.prefix)
        self.refusal: Failure | None = Failure(FailureKind.DISCONNECTED, "not connected to Redis yet")
        self.connections: list[RedisConnection] = []
        self.cross_slot: bool | None = None
        self._loop = asyncio.get_running_loop()
        self._dial = dial
        self._pool_size = pool_size
        self._options = options
        self._watcher = watcher
        self._reported: bool | None = None
        self._connected_before = False
        self._proven = True
        self._late = (0.0, float("-inf"))
        self._probing: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[None] | None = None
        self._watching = False
        self._closed = False

    @property
    def trouble(self) -> str:
        """Why every call to the node fails at present; empty if calls succeed."""
        return self.refusals.reason if self.refusal is None else self.refusal.message

    async def open(self) -> bool:
        """Open one connection. Return whether that succeeded."""
        try:
            connection = await self._dial(self._lost)
        except RedisConnectionError as problem:
            if not self.connections:
                self._update(str(problem))
                self._watcher.connect_failed(self)
            return False
        if connection.lost or self._closed or len(self.connections) >= self._pool_size:
            connection.close("connection no longer needed")
            return False
        connection.after = self._watcher.on_read
        connection.turns = self._watcher.turns
        self.connections.append(connection)
        self.owner.pool.made += 1
        self._proven = False
        self._watcher.reconnects += self._connected_before
        self._connected_before = True
        self._update(f"connected to Redis at {self.name}")
        self._watcher.opened(self)
        if self.breaker.open:
            self._watcher.probe(self)
        return True

    def open_more(self) -> None:
        """Open a connection in the background, unless the pool is full; retry with a growing pause until one opens."""
        if self._opening is None and not self._closed and len(self.connections) < self._pool_size:
            self._opening = self._loop.create_task(self._keep_opening())

    async def _keep_opening(self) -> None:
        pause, most = self._options.retry_first, self._options.retry_most
        try:
            if not self._proven:
                # The last connection completed its handshake and no call yet: a server may fail at the script only.
                await asyncio.sleep(spread(most))
            while len(self.connections) < self._pool_size and not await self.open():
                await asyncio.sleep(spread(pause))
                pause = min(pause * 2, most)
        finally:
            self._opening = None

    def pick(self) -> RedisConnection | None:
        """Return the least busy connection, or None if all are full. Opens another one if none is idle."""
        least: RedisConnection | None = None
        for connection in self.connections:
            if connection.full:
                continue
            if not len(connection):
                return connection
            if least is None or len(connection) < len(least):
                least = connection
        if least is not None:
            self.open_more()
        return least

    def answered(self, problem: str, seconds: float) -> None:
        """Note a reply that took this long; ``problem`` is an error in it that may be the node's, or empty."""
        cause = meaning(problem) if problem else None
        in_time = seconds <= self._options.budget
        if cause is not None and cause.node_fault:
            self.failed(problem)
        elif in_time:
            self._passed()
        if not in_time:
            self._late = seconds, self._loop.time()
            if self.breaker.open:
                self._update("")
        if cause is not None and cause.not_master:
            self.owner.on_stale(self)

    def failed(self, why: str) -> None:
        """Count a failure of the node; after ``breaker_after`` consecutive ones the breaker opens, and probes start."""
        opened = self.breaker.failed()
        self._watcher.breaker_opens += opened
        if self.breaker.open:
            self._update(why)
        if opened:
            self._probe_later()

    def refused(self, why: str, *, probe: bool) -> None:
        """Count a call that failed by an error that the breaker does not count; once all do, probes find the end."""
        if self.refusals.refused(why, self._loop.time(), probe=probe):
            self._watcher.observer.refusing(self.name, why)
            self._probe_later()

    def accepted(self, *, probe: bool) -> None:
        """Count a call with a charge that passed."""
        if self.refusals.passed(probe=probe):
            self._watcher.observer.refusing(self.name, "")

    def _passed(self) -> None:
        """Count a call that received its reply in time."""
        self._proven = True
        if self.breaker.passed():
            self._update(f"Redis at {self.name} responds again; circuit breaker closed")

    def _probe_later(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        self._probing = self._loop.call_later(spread(self._options.probe_most), self._probe)

    def _probe(self) -> None:
        if self._closed or not (self.breaker.open or self.refusals.reason):
            return
        self._probe_later()
        if self.connections:
            self._watcher.probe(self)

    def watch(self) -> None:
        """Drop the connections once no reply arrives for ``stale_after``, even if nothing more is sent."""
        longest_wait = max((connection.longest_wait() for connection in self.connections), default=0.0)
        if longest_wait and not self._watching:
            self._watching = True
            self._loop.call_later(self._options.stale_after - longest_wait, self._watched)

    def _watched(self) -> None:
        self._watching = False
        if any(connection.longest_wait() >= self._options.stale_after for connection in self.connections):
            self.drop(f"no reply from Redis for {self._options.stale_after:g} s")
        self.watch()

    def drop(self, reason: str) -> None:
        """Close every connection, and reconnect in the background."""
        for connection in tuple(self.connections):
            connection.close(reason)

    def _lost(self, connection: RedisConnection) -> None:
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        self.owner.pool.closed += 1
        if self._closed:
            self.refusal = Failure(FailureKind.DISCONNECTED, connection.lost)
        elif not self.connections:
            self.refusals = Refusals(self._options.breaker_after)  # the next connection may find another server
            self.cross_slot = None
            self._update(connection.lost)
            self.open_more()

    def _update(self, why: str) -> None:
        """Derive whether the node is available and why not, and report a change once."""
        if not self.connections:
            self.refusal = Failure(FailureKind.DISCONNECTED, why)
        elif self.breaker.open:
            self.refusal = self._breaker_refusal(why)
        else:
            self.refusal = None
        up = self.refusal is None
        if up is not self._reported:
            self._reported = up
            self._watcher.observer.edge(self.name, up, why if self.refusal is None else self.refusal.message)
            if not up:
                self.owner.on_down(self)

    def _breaker_refusal(self, why: str) -> Failure:
        """Tell a server that answers too late from one that does not answer: raising STORE_BUDGET helps the first."""
        seconds, when = self._late
        if self._loop.time() - when < self._options.stale_after:
            text = f"Redis at {self.name} takes {seconds * 1000:.3g} ms, more than {budget_text(self._options.budget)}"
            return Failure(FailureKind.SLOW, f"{text}; circuit breaker open")
        return Failure(FailureKind.OPEN, f"Redis at {self.name}: circuit breaker open; {why}")

    def retire(self) -> None:
        """Close a node that has left the cluster and has no call in flight."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        self.drop("Redis node no longer owns slots")
        self._watcher.connect_failed(self)

    async def close(self) -> None:
        """Close every connection; charges in flight fail as disconnected."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        self.drop("shutting down")
