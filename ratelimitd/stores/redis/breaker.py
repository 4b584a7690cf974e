"""When to leave a server alone: after so many failures in a row, until a probe passes."""


class Breaker:
    """Counts what became of the calls to one server; pure.

    Attributes:
        open: the server is left alone.
    """

    __slots__ = ("_after", "_failures", "open")

    def __init__(self, after: int) -> None:
        self._after = after
        self._failures = 0
        self.open = False

    def failed(self) -> bool:
        """Count a failure; returns whether it opened the breaker."""
        self._failures += 1
        if self.open or self._failures < self._after:
            return False
        self.open = True
        return True

    def passed(self) -> bool:
        """Count a call that was answered well and in time; returns whether it closed the breaker."""
        self._failures = 0
        closed = self.open
        self.open = False
        return closed
