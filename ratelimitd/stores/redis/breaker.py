"""Consecutive failures of a node: its circuit breaker, and whether it refuses every call; both pure."""

from typing import Final

REFUSED_FOR: Final = 1.0
"""Seconds in which every call must be refused before the node counts as refusing: under load, thousands of calls."""


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


class Refusals:
    """Counts calls in a row that failed by an error that the breaker does not count (``errors.refuses``); pure.

    Such a node is still asked, since its replies come at once and a denial needs no memory. Probes find the end.

    Attributes:
        reason: text of the last error once every call is refused; empty before that.
        calls: calls in a row.
    """

    __slots__ = ("_after", "_since", "_while_probing", "calls", "reason")

    def __init__(self, after: int) -> None:
        self._after = after
        self._since = 0.0
        self._while_probing = False
        self.calls = 0
        self.reason = ""

    def refused(self, why: str, now: float, *, probe: bool) -> bool:
        """Count a refused call. Return whether the node counts as refusing from now on."""
        if not self.calls:
            self._since = now
        self.calls += 1
        self._while_probing = self._while_probing or not probe
        began = not self.reason
        if self.calls < self._after or now - self._since < REFUSED_FOR:
            return False
        self.reason = why
        return began

    def passed(self, *, probe: bool) -> bool:
        """Count a charge that passed. Return whether that ended the refusals.

        A probe ends them only if no call was refused since the probe before it: a user may have the right to the
        probe's key alone.
        """
        if probe and self._while_probing:
            self._while_probing = False
            return False
        ended = bool(self.reason)
        self.calls, self.reason, self._while_probing = 0, "", False
        return ended
