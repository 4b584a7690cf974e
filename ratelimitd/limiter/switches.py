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

LOOKED_AT: Final = 200
"""Switches that one look examines, in less than 0.1 ms: a policy may have 100,000 limits that are asked with 0."""

LOOKS: Final = SECOND
"""µs between two looks while there are more: of 100,000 each is examined every eight minutes."""


class Switch:
    """What requests have told about one limit.

    Attributes:
        name: the limit, as metrics name it.
        on: whether its costs come after the request.
        last: time of the last explicit 0, µs.
        told: whether the log has it.
    """

    __slots__ = ("_zeros", "last", "name", "on", "told")

    def __init__(self, name: str) -> None:
        self.name = name
        self.on = False
        self.last = LONG_AGO
        self.told = False
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


class Switches:
    """The switches that are on, which are examined in turn."""

    __slots__ = ("_hand", "on")

    def __init__(self) -> None:
        self.on: list[Switch] = []
        self._hand = 0

    def look(self, now: int) -> list[Switch]:
        """Take out those that fade, of the next ``LOOKED_AT``, and those of limits that are gone."""
        faded: list[Switch] = []
        for _ in range(min(LOOKED_AT, len(self.on))):
            if self._hand >= len(self.on):
                self._hand = 0
            switch = self.on[self._hand]
            fades = switch.fades(now)
            if fades:
                faded.append(switch)
            if not switch.on:
                self.on[self._hand] = self.on[-1]
                self.on.pop()
            else:
                self._hand += 1
        return faded

    def next_look(self, now: int) -> int:
        """Return when to look again, µs: when the first may fade, if one look examines all."""
        if len(self.on) > LOOKED_AT:
            return now + LOOKS
        return min([switch.last for switch in self.on]) + FADES
