"""States of a connection, and the timeout that applies in each. Pure; seconds, infinite where nothing is waited for.

A connection asks for its timeout after every event, and restarts its deadline when the timeout is another one or when a
part of what it waits for came.
"""

from enum import Enum, auto
from math import inf

from .options import ServerOptions, UpstreamOptions

LINGER = 2.0
"""Seconds of silence of a client that has its last response and does not close: Apache's SECONDS_TO_LINGER."""

LINGER_AT_MOST = 30.0
"""Seconds to read over what such a client still sends, in all: Apache's MAX_SECS_TO_LINGER, nginx's lingering_time."""

LEAVE = 1.0
"""Seconds between two requests, or from a connection's start to its first, in which a client that is being left may ask
once more: many round trips. A client that is idle longer is left at once."""


class Phase(Enum):
    """Phases of a client's connection."""

    HEAD = auto()  # waits for a request, or for the rest of its head
    BUSY = auto()  # a request is being answered, or the rest of its body read
    TUNNEL = auto()
    LINGER = auto()  # the last response is written; waits for the client to close
    CLOSING = auto()  # closes when all is sent


# the lookup of a member costs three times that of a global (CPython 3.11), twenty times a request
HEAD, BUSY, TUNNEL, LINGERING, CLOSING = Phase.HEAD, Phase.BUSY, Phase.TUNNEL, Phase.LINGER, Phase.CLOSING


def client_timeout(
    options: ServerOptions,
    phase: Phase,
    blocked: bool,
    served: bool,
    begun: bool,
    receiving: bool,
    leaves: bool,
) -> float:
    """Return the time that a client has to go on.

    Args:
        options: of its server.
        phase: of its connection.
        blocked: the client does not read, and the write buffer is full.
        served: a request came before.
        begun: a part of a head was read.
        receiving: a body is delivered to a sink that takes more.
        leaves: the server leaves its clients.
    """
    if blocked or phase is CLOSING:
        return options.send_timeout
    if phase is HEAD and leaves and not begun:
        return LEAVE
    if phase is HEAD:
        return options.head_timeout if begun or not served else options.idle_timeout
    if phase is BUSY:
        return options.body_timeout if receiving else inf
    return LINGER if phase is LINGERING else inf


def upstream_timeout(
    options: UpstreamOptions,
    response: float,
    idle: bool,
    paused: bool,
    tunnel: bool,
    receiving: bool,
    uploading: bool,
) -> float:
    """Return the time that an upstream has to go on.

    Args:
        options: of the upstream.
        response: until the head of the response; the upstream's ``response_timeout``, unless the request has its own.
        idle: the connection carries no request.
        paused: nothing is read, as the client does not read.
        tunnel: the connection is a tunnel.
        receiving: the head of the response was read.
        uploading: the client is waited for: the request is not complete, and the upstream takes what there is of it.
    """
    if idle:
        return options.idle_timeout
    if paused:
        return inf
    if tunnel:
        return options.tunnel_timeout
    if receiving:
        return options.read_timeout
    return inf if uploading else response
