"""Places of streaming calls: which call gives way when there are too many. Pure.

A streaming call may stay open forever, so a bound that only refuses new ones is used up once. Here the oldest call of
the connection that holds most gives way instead: a client can take places only from those that hold more than it.
"""

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

HELD: Final = 10
"""Streaming calls that a connection keeps: a client needs one Watch per connection (gRFC A17), and a reflection."""

GAVE_WAY: Final = "too many concurrent streaming calls: the oldest one of the connection that holds most gave way"
"""Text of the status of such a call, which is RESOURCE_EXHAUSTED as for a call that is refused. On every status but
UNIMPLEMENTED a client of health checks watches again (gRFC A17)."""

Connection = TypeVar("Connection", bound=Hashable)
Call = TypeVar("Call", bound=Hashable)


def kept(most: int) -> int:
    """Return how many calls a server keeps that may have ``most``: a tenth of them, at most, are about to end."""
    return most - most // 10


class StreamPlaces(Generic[Connection, Call]):
    """The streaming calls of a server, by connection, each in the order of their begin.

    Args:
        most: calls of all connections.
        held: calls of one connection.
    """

    def __init__(self, most: int, held: int = HELD) -> None:
        self._free = most
        self._calls: dict[Connection, dict[Call, None]] = {}
        # Connections by the number of their calls, so that the one that holds most is found at once.
        self._holding: list[dict[Connection, None]] = [{} for _ in range(held + 2)]

    def take(self, connection: Connection, call: Call) -> tuple[Connection, Call] | None:
        """Give a new call a place; return the call that gives way for it, which may be itself, or None."""
        calls = self._calls.setdefault(connection, {})
        calls[call] = None
        self._free -= 1
        self._move(connection, len(calls) - 1)
        if self._free >= 0 and len(calls) < len(self._holding) - 1:
            return None
        most = next(holding for holding in reversed(self._holding) if holding)
        loser = connection if connection in most else next(iter(most))
        oldest = next(iter(self._calls[loser]))
        self.leave(loser, oldest)
        return loser, oldest

    def leave(self, connection: Connection, call: Call) -> None:
        """Free the place of a call that ended; no effect if it has none."""
        calls = self._calls.get(connection, {})
        if call not in calls:
            return
        del calls[call]
        self._free += 1
        self._move(connection, len(calls) + 1)
        if not calls:
            del self._calls[connection]

    def _move(self, connection: Connection, before: int) -> None:
        """List a connection by the number of its calls, which was another before."""
        self._holding[before].pop(connection, None)
        if number := len(self._calls[connection]):
            self._holding[number][connection] = None
