"""Places of waiting requests, a bounded number, and which of them gives way when there is none left."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class WaitingPlaces(Generic[T]):
    """Taken places, in the order in which each client took its own. Every operation takes the same short time."""

    def __init__(self) -> None:
        self.taken = 0
        self._of: dict[str, dict[T, None]] = {}
        self._with: dict[int, dict[str, None]] = {}
        """Clients by the number of their places."""
        self._most = 0

    def add(self, client: str, place: T) -> None:
        """Give a client one more place."""
        places = self._of.setdefault(client, {})
        places[place] = None
        self.taken += 1
        self._moved(client, len(places) - 1, len(places))

    def remove(self, client: str, place: T) -> None:
        """Take a place back."""
        places = self._of[client]
        del places[place]
        self.taken -= 1
        self._moved(client, len(places) + 1, len(places))
        if not places:
            del self._of[client]

    def giving_way(self, client: str) -> T | None:
        """Return the newest place of the client with most places, if it still has no fewer than this one afterwards.

        So one client can fill what others do not use, and keeps none of it from them.
        """
        if self._most < len(self._of.get(client, ())) + 2:
            return None
        largest = next(iter(self._with[self._most]))
        return next(reversed(self._of[largest]))

    def _moved(self, client: str, before: int, after: int) -> None:
        clients = self._with.get(before)
        if clients is not None:
            clients.pop(client, None)
            if not clients:
                del self._with[before]
        if after:
            self._with.setdefault(after, {})[client] = None
        if after > self._most or self._most not in self._with:
            self._most = after
