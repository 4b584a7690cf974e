"""How many charges may be under way, and how many of one domain."""


class InFlight:
    """Room for charges, shared by domains.

    A domain may have as much in flight as is free beside it: so the first to flood leaves half to the others, two
    that flood leave a third, and so on; the dynamic thresholds by which switches share a buffer among ports
    (Choudhury and Hahne, 1998).

    Attributes:
        charges: those under way.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[bytes, int] = {}
        self.charges = 0

    def take(self, domain: bytes, size: int) -> bool:
        """Count charges that set out, unless there is no room for them; returns whether there was.

        A single ask never is too large by itself, or it would be for good.
        """
        held = self._held.get(domain, 0) + size
        if held > self._most - self.charges and self.charges:
            return False
        self.charges += size
        self._held[domain] = held
        return True

    def count(self, domain: bytes, size: int) -> None:
        """Count charges that set out whether there is room or not."""
        self.charges += size
        self._held[domain] = self._held.get(domain, 0) + size

    def release(self, domain: bytes, size: int) -> None:
        """Count charges that are done with."""
        self.charges -= size
        left = self._held[domain] - size
        if left:
            self._held[domain] = left
        else:
            del self._held[domain]
