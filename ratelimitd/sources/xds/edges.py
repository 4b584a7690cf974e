"""Log lines about the connection to a control plane: one for each edge, then one a minute while it is lost."""

import math
from typing import Final

from ratelimitd.observe.logs import get_logger

log = get_logger(__name__)

MINUTE: Final = 60.0
"""Seconds between two lines of one outage, so that the recent log shows it and is not filled by it."""


class Edges:
    """The edges of one connection. Times are seconds of a monotonic clock.

    A control plane that accepts connections and ends them without a response is lost all the while.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._up: bool | None = None
        self._fruitless = False
        self._heard = False
        self._opened = self._told = -math.inf

    def opened(self, now: float) -> None:
        """Take a connection."""
        self._opened, self._heard = now, False
        if not self._fruitless:
            self._rise()

    def heard(self) -> None:
        """Take a response."""
        self._heard, self._fruitless = True, False
        self._rise()

    def lost(self, reason: str, now: float, *, connected: bool) -> None:
        """Take the end of a connection, or the failure to make one."""
        if connected:
            self._fruitless = not self._heard and now - self._opened < MINUTE
        if self._up is not False:
            self._up = False
            event = "control plane lost" if connected else "control plane cannot be reached"
        elif now - self._told >= MINUTE:
            event = "control plane still not reached"
        else:
            return
        self._told = now
        log.warning(event, server=self._server, reason=reason, note="the policy in force stays")

    def _rise(self) -> None:
        if not self._up:
            self._up = True
            log.info("control plane connected", server=self._server)
