"""Turns: what waits is served in slices, round robin over the connections that have some."""

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Final, Protocol

TURN_COST: Final = 256
"""Cost of the work that is done before sockets are read again: 1 to 3 ms, of the 20 ms that Envoy waits. A unit is the
work of a charge, 5 to 11 µs with many keys. The service says what a call costs."""

LEAST_SHARE: Final = TURN_COST // 16
"""Cost that a connection may use at once, however many wait: smaller batches cost more per call."""


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
    """The connections with calls (of a server) or replies (of Redis) that wait, in the order of their slices.

    A turn is one iteration of the event loop. Between two of them, sockets are read: the calls of other connections are
    served, and wait for no more than one turn, however many calls wait here.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: deque[Waiting] = deque()

    @property
    def share(self) -> int:
        """Cost that a connection may use at once: a turn's by all that wait; many may be read in one turn."""
        return max(LEAST_SHARE, TURN_COST // (1 + len(self._queue)))

    @property
    def waiting(self) -> Collection[Waiting]:
        """The connections of which some wait."""
        return self._queue

    def add(self, connection: Waiting) -> None:
        """Queue a connection of which some wait; it must not be in the queue."""
        if not self._queue:
            self._loop.call_soon(self._turn)
        self._queue.append(connection)

    def _turn(self) -> None:
        """Serve the first connections, each as far as the turn has room: whole slices, as small batches cost more."""
        room = TURN_COST
        for _ in range(len(self._queue)):
            connection = self._queue.popleft()
            room -= self._slice(connection, room)
            if connection.waits:
                self._queue.append(connection)
            if room <= 0:
                break
        if self._queue:
            self._loop.call_soon(self._turn)

    def _slice(self, connection: Waiting, room: int) -> int:
        try:
            return connection.serve(room)
        except Exception as error:  # noqa: BLE001 -- an error in one connection must not stop the turns of the others
            self._loop.call_exception_handler(
                {"message": "unhandled exception while serving calls that waited", "exception": error}
            )
            connection.abort()
            return 0
