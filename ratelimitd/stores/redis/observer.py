"""Whoever is told what happens with Redis."""


class Observer:
    """Is told what cannot be read off the store later; this one does not listen."""

    def round_trip(self, seconds: float, charges: int) -> None:
        """A script call with so many charges was answered."""

    def edge(self, name: str, up: bool, reason: str) -> None:  # noqa: FBT001 -- the edge's direction
        """A server, or a cluster as a whole, can be asked or no longer; at each change, and for the first attempt."""
