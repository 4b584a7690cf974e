"""When a connection is told to leave, and when it is ended: pure, times are arguments in seconds of one clock."""

from enum import Enum, auto
from math import inf
from typing import NamedTuple

PONG_WAIT = 1.0
"""Seconds for the PING of a drain to come back; a round trip takes longer on no network that serves rate limits."""
PREFACE_WAIT = 10.0
"""Seconds from connecting (or the end of a TLS handshake, which has as much) to the caller's first SETTINGS."""
IDLE_GRACE = 10.0
"""Seconds at most for an idle connection to end: it serves nothing, and rate limit calls have far less than this."""
LINGER = 1.0
"""Seconds for a caller to close after it has read all; a close while it still writes would cost it what it has not."""
DELIVERY = 60.0
"""Seconds at most to read what was written before our side closed; at 10 kB/s that is a full buffer."""


class Phase(Enum):
    """Where a connection is in its life."""

    SERVING = auto()
    NOTICED = auto()  # asked for no new calls, PING under way
    LEAVING = auto()  # last call named; those in flight finish
    CLOSING = auto()  # all said, our side closed


class Action(Enum):
    """What is due."""

    NOTHING = auto()
    NOTICE = auto()
    GOAWAY = auto()
    ABORT = auto()


class Limits(NamedTuple):
    """Seconds; infinite for never."""

    age: float
    grace: float
    idle: float
    stall: float


class Observed(NamedTuple):
    """What a connection shows of itself.

    Attributes:
        heard: when it last received anything.
        greeted: the caller said that it speaks HTTP/2.
        serving: its calls in flight; one whose request never ends is none.
        pong: the PING of the notice came back.
        blocked: something waits to be read by the caller.
        unread: what was written has not all arrived.
        progress: changes whenever the caller reads something.
    """

    heard: float
    greeted: bool
    serving: int
    pong: bool
    blocked: bool
    unread: bool
    progress: tuple[int, int]


class Lifetime:
    """One connection's phases. ``step`` says what is due; the connection does it."""

    __slots__ = ("_born", "_limits", "_moved", "_noticed", "_progress", "_until", "phase")

    def __init__(self, limits: Limits, now: float) -> None:
        self.phase = Phase.SERVING
        self._limits = limits
        self._born = now
        self._until = inf
        self._noticed = now
        self._moved = now
        self._progress = (0, 0)

    def leave(self, now: float, grace: float) -> Action:
        """Start to drain, or shorten the drain under way: calls in flight have ``grace`` seconds."""
        self._until = min(self._until, now + grace)
        if self.phase is not Phase.SERVING:
            return Action.NOTHING
        self.phase = Phase.NOTICED
        self._noticed = now
        return Action.NOTICE

    def close(self, now: float) -> None:
        """Everything was said; whoever reads it slowly may go on, within the grace of a drain under way."""
        self.phase = Phase.CLOSING
        self._until = min(self._until, now + DELIVERY)
        self._moved = now

    def step(self, seen: Observed, now: float) -> Action:
        """Return what is due now."""
        if now >= self._until or self._stalled(seen, now):
            return Action.ABORT
        if self.phase is Phase.SERVING:
            if now - self._born >= self._limits.age:
                return self.leave(now, self._limits.grace)
            if seen.serving == 0 and now - seen.heard >= self._limits.idle:
                return self.leave(now, min(self._limits.grace, IDLE_GRACE))
            if not seen.greeted and now - self._born >= PREFACE_WAIT:
                return Action.ABORT
        return self.turn(now, pong=seen.pong)

    def turn(self, now: float, *, pong: bool) -> Action:
        """Return GOAWAY when the notice has been read, or has had its time."""
        if self.phase is not Phase.NOTICED or not (pong or now - self._noticed >= PONG_WAIT):
            return Action.NOTHING
        self.phase = Phase.LEAVING
        return Action.GOAWAY

    def _stalled(self, seen: Observed, now: float) -> bool:
        closing = self.phase is Phase.CLOSING
        if not (seen.blocked or closing) or seen.progress != self._progress:
            self._progress = seen.progress
            self._moved = now
            return False
        return now - self._moved >= (LINGER if closing and not seen.unread else self._limits.stall)
