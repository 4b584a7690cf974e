"""The time that a request body has: ``body_timeout``, and more for what came. Pure; seconds of one clock, and bytes.

A timeout between two bytes alone lets a client hold an upstream's connection for days with a small body.
"""

from math import inf
from typing import Final

from .model import ErrorResponse
from .options import ServerOptions

TOO_LONG: Final = "request body took too long"
TOO_SLOW: Final = "request body came too slowly"


class BodyPace:
    """The time by which more of a body must have come; that in which it is not read does not count.

    Attributes:
        due: the time; infinite without a least rate.
    """

    __slots__ = ("_paused", "_rate", "due")

    def __init__(self) -> None:
        self.due = inf
        self._rate = 0
        self._paused: float | None = None

    def start(self, options: ServerOptions, now: float) -> None:
        """Begin with another body, which is read from now on."""
        self._rate = options.min_body_rate
        self._paused = None
        self.due = now + options.body_timeout if self._rate else inf

    def came(self, size: int) -> None:
        """Count bytes that came."""
        if self._rate:
            self.due += size / self._rate

    def pause(self, now: float, *, paused: bool) -> None:
        """Stop the clock, as the body is not read, or let it go on."""
        if self._paused is not None:
            self.due += now - self._paused
        self._paused = now if paused else None

    def error(self, now: float) -> ErrorResponse:
        """Return the error response for a body that is late."""
        return ErrorResponse(408, TOO_SLOW if self.due <= now else TOO_LONG)
