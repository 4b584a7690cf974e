"""Which clients get the connections of a pool, and which of those that wait gets the next one. Pure.

A client gets another connection while it holds fewer than are free, so that none can take all: one client gets half of
them, two get a third each, and a client that holds none gets the last one. The rule is that of Choudhury and Hahne,
Dynamic Queue Length Thresholds for Shared-Memory Packet Switches (IEEE/ACM Transactions on Networking 6(2), 1998): fair
without a number to set. A number in its place is for a gateway whose clients are few and known.
"""

from typing import Final, Generic, TypeVar

T = TypeVar("T")

WAITING_TIMES: Final = 3
"""Requests of one client that wait, in free places of the queue: it gets three quarters of the queue. With half of the
connections these are, by default, 1,024: an address has 1,000 connections (``max_connections_per_address``)."""


class Shares(Generic[T]):
    """The connections that clients hold, and the requests that wait until their clients may hold another.

    Of those that wait, a request of the client that holds the fewest is next; of several such clients, of the one that
    waits there longest; of its requests, the oldest.
    """

    __slots__ = ("_held", "_lines", "_most", "_of_one", "_queues", "_taken", "_waiting", "_waits")

    def __init__(self, most: int, waits: int, of_one: int | None = None) -> None:
        """Make the shares of ``most`` connections.

        Args:
            most: connections.
            waits: requests that may wait.
            of_one: connections of one client; None: as many as are free.
        """
        self._most = most
        self._waits = waits
        self._of_one = of_one
        self._taken = 0
        self._held: dict[str, int] = {}
        self._waiting: dict[T, str] = {}
        self._queues: dict[str, dict[T, None]] = {}  # of each client that waits, its requests
        self._lines: dict[int, dict[str, None]] = {}  # the clients that wait, by the number that they hold

    @property
    def full(self) -> bool:
        """Whether no request of any client may wait."""
        return len(self._waiting) >= self._waits

    def take(self, client: str) -> bool:
        """Count a connection for a client, which then ends with ``give_back``; False if it may hold no other."""
        held = self._held.get(client, 0)
        free = self._most - self._taken
        if free <= 0 or held >= (free if self._of_one is None else self._of_one):
            return False
        self._taken += 1
        self._held[client] = held + 1
        if client in self._queues:
            self._move(client, held, held + 1)
        return True

    def give_back(self, client: str) -> None:
        """Count one connection less for a client."""
        held = self._held[client]
        self._taken -= 1
        if held > 1:
            self._held[client] = held - 1
        else:
            del self._held[client]
        if client in self._queues:
            self._move(client, held, held - 1)

    def wait(self, request: T, client: str) -> bool:
        """Let a request wait, which then ends with ``next`` or ``leave``; False if there is no place for it."""
        queue = self._queues.get(client)
        if (0 if queue is None else len(queue)) >= WAITING_TIMES * (self._waits - len(self._waiting)):
            return False
        if queue is None:
            queue = self._queues[client] = {}
            self._lines.setdefault(self._held.get(client, 0), {})[client] = None
        queue[request] = None
        self._waiting[request] = client
        return True

    def leave(self, request: T) -> None:
        """Let a request wait no longer, if it waits."""
        client = self._waiting.pop(request, None)
        if client is None:
            return
        queue = self._queues[client]
        del queue[request]
        if not queue:
            del self._queues[client]
            self._leave_line(client, self._held.get(client, 0))

    def next(self) -> tuple[T, str] | None:
        """Return the next request that waits, with its client, for which a connection is now counted; None for none."""
        if not self._lines:
            return None
        client = next(iter(self._lines[min(self._lines)]))
        if not self.take(client):
            return None  # nor may any other, which holds no fewer
        request = next(iter(self._queues[client]))
        self.leave(request)
        return request, client

    def _move(self, client: str, before: int, after: int) -> None:
        self._leave_line(client, before)
        self._lines.setdefault(after, {})[client] = None

    def _leave_line(self, client: str, held: int) -> None:
        line = self._lines[held]
        del line[client]
        if not line:
            del self._lines[held]
