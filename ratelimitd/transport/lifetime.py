"""State machine of a connection: age, idle time, drain and stall. Pure: times are arguments, seconds of one clock."""

from enum import Enum, auto
from math import inf
from typing import NamedTuple

PONG_WAIT = 1.0
"""Seconds to wait for the ACK of a drain's PING; the round trip of a network fit for rate limiting is far shorter."""
PREFACE_WAIT = 10.0
"""Seconds from the connect, or from the end of the TLS handshake (which has the same limit), to the first SETTINGS."""
IDLE_GRACE = 10.0
"""Maximum grace of an idle connection, in seconds: it serves no call, and rate-limit deadlines are far shorter."""
LINGER = 1.0
"""Seconds for the client to close after it has read everything.

If the socket were closed while the client still writes, the client would lose data that it has not read yet.
"""
DELIVERY_WAIT = 60.0
"""Maximum seconds for the client to read the data written before the half-close; a full buffer at 10 kB/s."""


class LifetimePhase(Enum):
    """Phase of a connection."""

    SERVING = auto()
    NOTICE_SENT = auto()  # shutdown notice and PING sent; new calls are still accepted
    GOAWAY_SENT = auto()  # final GOAWAY sent; only calls in flight are served
    CLOSING = auto()  # everything is written, and the write side is closed


class Action(Enum):
    """Action that the connection must take."""

    NOTHING = auto()
    NOTICE = auto()
    GOAWAY = auto()
    ABORT = auto()


class LifetimeLimits(NamedTuple):
    """Limits of a connection in seconds; ``inf`` disables one."""

    age: float
    grace: float
    idle: float
    stall: float


class Observed(NamedTuple):
    """Observed state of a connection.

    Attributes:
        last_received: time of the last received data.
        settings_received: whether the client has sent its SETTINGS, and so speaks HTTP/2.
        in_flight: calls in flight; a call with an incomplete request does not count.
        pong: whether the PING of the shutdown notice was acknowledged.
        blocked: whether data waits for the client to read.
        unread: whether written data was not yet acknowledged by the client's kernel.
        progress: changes whenever the client reads data.
    """

    last_received: float
    settings_received: bool
    in_flight: int
    pong: bool
    blocked: bool
    unread: bool
    progress: tuple[int, int]


class Lifetime:
    """Phases of one connection. ``step`` returns the action that is due; the connection performs it."""

    __slots__ = ("_abort_at", "_limits", "_notice_sent_at", "_opened_at", "_progress", "_progress_at", "phase")

    def __init__(self, limits: LifetimeLimits, now: float) -> None:
        self.phase = LifetimePhase.SERVING
        self._limits = limits
        self._opened_at = now
        self._abort_at = inf
        self._notice_sent_at = now
        self._progress_at = now
        self._progress = (0, 0)

    def drain(self, now: float, grace: float) -> Action:
        """Start to drain, or shorten the current drain: calls in flight have ``grace`` seconds to complete."""
        self._abort_at = min(self._abort_at, now + grace)
        if self.phase is not LifetimePhase.SERVING:
            return Action.NOTHING
        self.phase = LifetimePhase.NOTICE_SENT
        self._notice_sent_at = now
        return Action.NOTICE

    def close(self, now: float) -> None:
        """Enter the last phase: all data is written, and the client may still read it, within the drain's grace."""
        self.phase = LifetimePhase.CLOSING
        self._abort_at = min(self._abort_at, now + DELIVERY_WAIT)
        self._progress_at = now

    def step(self, seen: Observed, now: float) -> Action:
        """Return the action that is due at ``now``."""
        if now >= self._abort_at or self._stalled(seen, now):
            return Action.ABORT
        if self.phase is LifetimePhase.SERVING:
            if now - self._opened_at >= self._limits.age:
                return self.drain(now, self._limits.grace)
            if seen.in_flight == 0 and now - seen.last_received >= self._limits.idle:
                return self.drain(now, min(self._limits.grace, IDLE_GRACE))
            if not seen.settings_received and now - self._opened_at >= PREFACE_WAIT:
                return Action.ABORT
        return self.after_notice(now, pong=seen.pong)

    def after_notice(self, now: float, *, pong: bool) -> Action:
        """Return GOAWAY once the shutdown notice was acknowledged, or PONG_WAIT has passed."""
        if self.phase is not LifetimePhase.NOTICE_SENT or not (pong or now - self._notice_sent_at >= PONG_WAIT):
            return Action.NOTHING
        self.phase = LifetimePhase.GOAWAY_SENT
        return Action.GOAWAY

    def _stalled(self, seen: Observed, now: float) -> bool:
        closing = self.phase is LifetimePhase.CLOSING
        if not (seen.blocked or closing) or seen.progress != self._progress:
            self._progress = seen.progress
            self._progress_at = now
            return False
        return now - self._progress_at >= (LINGER if closing and not seen.unread else self._limits.stall)
