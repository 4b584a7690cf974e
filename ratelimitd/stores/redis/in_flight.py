"""Bounds on the charges in flight: in total, and per domain."""


class InFlight:
    """Capacity for charges in flight, shared by domains.

    A domain may have as many charges in flight as are free in total. So one domain that floods leaves half of the
    capacity to the others, two leave a third, and so on. These are the dynamic thresholds by which switches share a
    buffer among ports (Choudhury and Hahne, 1998).

    Attributes:
        charges: charges in flight.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[bytes, int] = {}
        self.charges = 0

    def take(self, domain: bytes, size: int) -> bool:
        """Count charges about to be sent if the capacity allows. Return whether it does.

        An ask is always accepted while nothing is in flight; otherwise a large one could never be sent.
        """
        held = self._held.get(domain, 0) + size
        if held > self._most - self.charges and self.charges:
            return False
        self.charges += size
        self._held[domain] = held
        return True

    def count(self, domain: bytes, size: int) -> None:
        """Count charges about to be sent, regardless of the capacity."""
        self.charges += size
        self._held[domain] = self._held.get(domain, 0) + size

    def release(self, domain: bytes, size: int) -> None:
        """Release charges that are complete."""
        self.charges -= size
        left = self._held[domain] - size
        if left:
            self._held[domain] = left
        else:
            del self._held[domain]
