"""Turns: what is served in one iteration of the event loop, of all connections together.

Calls that wait are served in slices, and messages of streams a few at a time, both round robin.
"""

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Final, Protocol

TURN_COST: Final = 256
"""Cost of the work that is done before sockets are read again: 1 to 3 ms, of the 20 ms that Envoy waits. A unit is the
work of a charge, 5 to 11 µs with many keys. The service says what a call costs."""

LEAST_SHARE: Final = TURN_COST // 16
"""Cost that a connection may use at once, however many wait: smaller batches cost more per call."""

MESSAGES: Final = TURN_COST // 32
"""Messages of streams that are taken in a turn: an answer of reflection is 0.1 to 0.2 ms of work."""


class Waiting(Protocol):
    """A connection with calls, or replies, that wait."""

    @property
    def waits(self) -> bool:
        """Whether some wait."""

    def serve(self, room: int) -> int:
        """Serve those that wait until they cost ``room`` or more; return their cost."""

    def abort(self) -> None:
        """Close the connection immediately."""


class Turns:
    """The connections with calls (of a server) or replies (of Redis) that wait, and the streams with messages.

    A turn is one iteration of the event loop. Between two of them, sockets are read: the calls of other connections are
    served, as far as they fit into a turn together. A connection of which nothing was served comes before those that
    had a slice, so that a few calls do not wait for all the bursts.

    Attributes:
        room: cost that may be served at once until the next turn.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._new: deque[Waiting] = deque()
        self._old: deque[Waiting] = deque()
        self._messages: deque[asyncio.Future[None]] = deque()
        self._scheduled = False
        self.room = TURN_COST

    @property
    def share(self) -> int:
        """Cost that a connection that was just read may use at once: a turn's by all that wait, if there is room."""
        waiting = len(self._new) + len(self._old)
        return min(self.room, max(LEAST_SHARE, TURN_COST // (1 + waiting))) if waiting else self.room

    @property
    def waiting(self) -> Collection[Waiting]:
        """The connections of which some wait."""
        return (*self._new, *self._old)

    def spend(self, cost: int) -> None:
        """Take the cost of what was served at once from the room, and have a turn soon if half of it is gone."""
        self.room -= cost
        if self.room < TURN_COST // 2:
            self._schedule()

    def add(self, connection: Waiting, *, served: bool = True) -> None:
        """Queue a connection of which some wait, and some were ``served``; it must not be in the queue."""
        (self._old if served else self._new).append(connection)
        self._schedule()

    def message(self) -> "asyncio.Future[None]":
        """Return a future that is done when a stream may take a message."""
        future = self._loop.create_future()
        self._messages.append(future)
        self._schedule()
        return future

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Serve the first connections, each as far as the turn has room: whole slices, as small batches cost more."""
        self._scheduled = False
        self.room = TURN_COST
        room = TURN_COST - self._serve(self._new, TURN_COST // 2 if self._old else TURN_COST, LEAST_SHARE)
        self._serve(self._old, room, TURN_COST)
        for _ in range(min(MESSAGES, len(self._messages))):
            future = self._messages.popleft()
            if not future.done():
                future.set_result(None)
        if self._new or self._old or self._messages:
            self._schedule()

    def _serve(self, queue: deque[Waiting], room: int, most: int) -> int:
        """Serve connections of a queue, each until its calls cost ``most``, and all until they cost ``room``."""
        spent = 0
        for _ in range(len(queue)):
            if spent >= room:
                break
            connection = queue.popleft()
            spent += self._slice(connection, min(most, room - spent))
            if connection.waits:
                self._old.append(connection)
        return spent

    def _slice(self, connection: Waiting, room: int) -> int:
        try:
            return connection.serve(room)
        except Exception as error:  # noqa: BLE001 -- an error in one connection must not stop the turns of the others
            self._loop.call_exception_handler(
                {"message": "unhandled exception while serving calls that waited", "exception": error}
            )
            connection.abort()
            return 0
