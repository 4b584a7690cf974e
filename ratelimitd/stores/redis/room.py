"""How many charges may be under way, and how many of one domain."""


class Room:
    """Room for charges, shared by domains.

    A domain may have as much in flight as is free beside it: so the first to flood leaves half to the others, two
    that flood leave a third, and so on; the dynamic thresholds by which switches share a buffer among ports
    (Choudhury and Hahne, 1998).

    Attributes:
        in_flight: charges under way.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[bytes, int] = {}
        self.in_flight = 0

    def refuses(self, domain: bytes, size: int) -> bool:
        """Whether so many more of this domain are too many. One ask alone never is, or it would be for good."""
        free = self._most - self.in_flight
        return self.in_flight > 0 and self._held.get(domain, 0) + size > free

    def take(self, domain: bytes, size: int) -> None:
        """Count charges that set out."""
        self.in_flight += size
        self._held[domain] = self._held.get(domain, 0) + size

    def release(self, domain: bytes, size: int) -> None:
        """Count charges that are done with."""
        self.in_flight -= size
        left = self._held[domain] - size
        if left:
            self._held[domain] = left
        else:
            del self._held[domain]
