"""What a client's connection is at, and what those of one server share."""

import asyncio
import socket
import struct
from collections.abc import Callable
from enum import Enum, auto
from math import inf
from typing import Protocol

from .exchange import Exchange
from .model import Peer, Refusal, Request
from .options import ServerOptions
from .responses import Render

Handler = Callable[[Request, Exchange], None]
"""Answers a request through its exchange, now or later; called on the loop and must not hold it."""


LINGER = 2.0
"""Seconds a client has to read an answer that ends its connection while it still sends; Apache's bound."""
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time


class Phase(Enum):
    """What a connection is at."""

    HEAD = auto()  # waits for a request, or reads its head
    BUSY = auto()  # a request is being answered, or the rest of its body read
    TUNNEL = auto()
    LINGER = auto()  # said all, and waits for the client to close
    CLOSING = auto()  # closes when all is sent


# looking a member up costs three times a global (CPython 3.11), and it is done twenty times a request
HEAD, BUSY, TUNNEL, LINGERING, CLOSING = Phase.HEAD, Phase.BUSY, Phase.TUNNEL, Phase.LINGER, Phase.CLOSING


class Owner(Protocol):
    """What the connections of one server share."""

    handler: Handler
    options: ServerOptions
    render: Render
    leaving: bool

    def admit(self, peer: Peer) -> str:
        """Say why a new connection cannot be taken in; nothing where it can."""

    def joined(self, member: "Member", peer: Peer) -> None:
        """A connection was taken in."""

    def lost(self, member: "Member", peer: Peer) -> None:
        """A connection that was taken in is gone."""

    def refused(self, refusal: Refusal, peer: Peer) -> None:
        """A request was refused before a handler saw it."""


class Member(Protocol):
    """A connection, as its server sees it."""

    deadline: float

    def expire(self, now: float) -> None:
        """Do what the deadline is for."""

    def leave(self) -> None:
        """Close now where idle; else the next answer is the last."""

    def abort(self) -> None:
        """End it now."""


def due(phase: Phase, options: ServerOptions, now: float, *, begun: bool, flowing: bool) -> float:
    """Give the deadline of a client that reads again: ``begun`` a head, or with a body that is ``flowing``."""
    if phase is HEAD:
        return now + (options.head_timeout if begun else options.idle_timeout)
    if phase is BUSY:
        return now + options.body_timeout if flowing else inf
    return inf if phase is TUNNEL else now + LINGER


def reset_on_close(transport: asyncio.Transport) -> None:
    """Make a connection end with a reset, where its end would be taken for the end of a body."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
