"""Connections of all ports: their bounds, their metrics, and a warning while idle ones have to make room."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ratelimitd.admin import Clients
from ratelimitd.http1 import Sweeper
from ratelimitd.net.places import Places
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.metrics import Family, by_label

from .files import Division
from .refusals import HttpRefusals

log = get_logger(__name__)

Listening = dict[str, Places[Any]]
"""The connections of each port, by its name in metrics and logs."""

EVERY: Final = 60.0
"""Seconds between two warnings of a port."""

CHANGE: Final = (
    "look for clients that open connections without need; if all are needed, raise the limit of open files "
    "(docs/operations.md, Connections and files), or run more instances"
)


class Connections(NamedTuple):
    """What the ports of a process share.

    Attributes:
        division: places of each port.
        trusted: TRUSTED_PEERS.
        sweeper: enforces the deadlines of HTTP connections.
        refusals: of HTTP clients.
        listening: the ports that are open.
    """

    division: Division
    trusted: tuple[str, ...]
    sweeper: Sweeper
    refusals: HttpRefusals
    listening: Listening

    def clients(self, port: str) -> Clients:
        """Return the bounds of the clients of an HTTP port."""
        return Clients(self.division.http, self.trusted, self.refusals.of(port))

    def families(self) -> list[Family]:
        """Return the metrics of the ports, of those too that are opened later."""
        return [*connection_families(self.listening), self.refusals.family()]


def connection_families(listening: Listening) -> list[Family]:
    """Return the metrics of the ports; ``listening`` may grow."""
    return [
        by_label(
            "ratelimitd_connections", "gauge", "Open connections of a port.", "port",
            lambda: [(name, len(places)) for name, places in listening.items()],
        ),
        by_label(
            "ratelimitd_connection_places", "gauge", "Connections that a port may have.", "port",
            lambda: [(name, places.bounds.total) for name, places in listening.items()],
        ),
        by_label(
            "ratelimitd_connections_made_room_total", "counter",
            "Idle connections that were closed so that others have a place.", "port",
            lambda: [(name, places.made_room) for name, places in listening.items()],
        ),
    ]  # fmt: skip


async def warn_of_shortage(listening: Listening) -> None:
    """Warn each minute of the ports on which connections made room, until cancelled."""
    before: dict[str, int] = {}
    while True:
        await asyncio.sleep(EVERY)
        before = look(listening, before)


def look(listening: Listening, before: Mapping[str, int]) -> dict[str, int]:
    """Warn of the ports on which connections made room since ``before``; return the state of now."""
    for name, places in listening.items():
        made_room = places.made_room - before.get(name, 0)
        if made_room:
            log.warning(
                "idle connections made room for others",
                port=name,
                open=len(places),
                places=places.bounds.total,
                since_last_warning=made_room,
                change=CHANGE,
            )
    return {name: places.made_room for name, places in listening.items()}
