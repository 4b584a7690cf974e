"""Limits without ``charge``: whether their costs come after the request, as their requests tell.

An explicit 0 is the one sign on the wire: only what reports its cost afterwards asks with 0.
"""

from typing import Final

from ratelimitd.algorithms import SECOND

ZEROS: Final = 3
"""Requests with an explicit 0, within ``WITHIN``, that switch a limit: more than a peek by hand, and its repetition."""

WITHIN: Final = 60 * SECOND

FADES: Final = 3_600 * SECOND
"""µs after the last explicit 0 until a limit switches back: longer than most pauses of traffic."""

LONG_AGO: Final = -(1 << 61)


class Switch:
    """What requests have told about one limit.

    Attributes:
        name: the limit, as metrics name it.
        on: whether its costs come after the request.
        last: time of the last explicit 0, µs.
    """

    __slots__ = ("_zeros", "last", "name", "on")

    def __init__(self, name: str) -> None:
        self.name = name
        self.on = False
        self.last = LONG_AGO
        self._zeros = [LONG_AGO] * (ZEROS - 1)

    def asked(self, now: int) -> bool:
        """Take note of a request that asks with 0. Return whether it switches the limit."""
        switches = not self.on and now - self._zeros[0] <= WITHIN
        self._zeros = [*self._zeros[1:], now]
        self.last = now
        self.on = self.on or switches
        return switches

    def fades(self, now: int) -> bool:
        """Switch back if the last explicit 0 is long ago. Return whether that was so."""
        if not self.on or now - self.last < FADES:
            return False
        self.on = False
        self._zeros = [LONG_AGO] * (ZEROS - 1)
        return True

    def in_doubt(self, now: int) -> bool:
        """Whether a cost that is refused now may turn out to have been spent."""
        return self.on or now - self.last <= WITHIN
