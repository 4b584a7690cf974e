"""The circuit breaker of a node: opens after a number of consecutive failures, closes when a probe passes."""


class Breaker:
    """Counts the results of calls to one node; pure.

    Attributes:
        open: whether only probes are sent to the node.
    """

    __slots__ = ("_after", "_failures", "open")

    def __init__(self, after: int) -> None:
        self._after = after
        self._failures = 0
        self.open = False

    def failed(self) -> bool:
        """Count a failure. Return whether it opened the breaker."""
        self._failures += 1
        if self.open or self._failures < self._after:
            return False
        self.open = True
        return True

    def passed(self) -> bool:
        """Count a call that succeeded in time. Return whether it closed the breaker."""
        self._failures = 0
        closed = self.open
        self.open = False
        return closed
