"""How a control plane is reached."""

import random
from collections.abc import Callable
from typing import Final, NamedTuple

MESSAGE_BYTES: Final = 4 << 20
"""gRPC's default for the largest message."""

CONNECT_SECONDS: Final = 20.0
"""Time for a connection to come about, and for what was sent to be acknowledged: gRPC's own defaults for both."""

PING_SECONDS: Final = 330.0
"""Time between two pings of an idle connection. gRPC servers close one that pings more than every 5 minutes."""


WAIT_LEAST: Final = 0.1
"""Seconds between two connections at least, whatever the settings say: a connection takes some milliseconds of work."""


class TlsFiles(NamedTuple):
    """TLS of the connection. The files are read at each connection.

    Attributes:
        ca: PEM file of CAs in addition to those of the system; "" for none.
        cert, key: PEM files of the client's certificate; "" for none.
        name: name that the server's certificate must have; "": the host of the address.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    name: str = ""


class Backoff(NamedTuple):
    """Times between connections, in seconds.

    Attributes:
        retry: while no connection comes about, ±50 %.
        first, most: after the loss of a connection, the first and the longest.
        factor: from one loss to the next.
        jitter: whether to wait between half of the time and all of it.
    """

    retry: float = 3.0
    first: float = 10.0
    most: float = 60.0
    factor: float = 0.5
    jitter: bool = True


class ControlPlane(NamedTuple):
    """A control plane, and who asks it.

    Attributes:
        server: target of gRPC.
        headers: metadata of the stream.
        tls: None for plain text.
        most: largest response in bytes.
        connect, ping: see CONNECT_SECONDS and PING_SECONDS.
    """

    server: str
    node_id: str = "default"
    node_metadata: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    tls: TlsFiles | None = None
    backoff: Backoff = Backoff()
    most: int = MESSAGE_BYTES
    connect: float = CONNECT_SECONDS
    ping: float = PING_SECONDS


class Pauses:
    """The waits between connections, one after the other."""

    def __init__(self, backoff: Backoff, drawn: Callable[[], float] = random.random) -> None:
        """``drawn`` returns a number from 0 to 1."""
        self._backoff = backoff
        self._drawn = drawn
        self._losses = 0

    def after_failure(self) -> float:
        """Return the wait after an attempt that made no connection."""
        return max(WAIT_LEAST, self._backoff.retry * (0.5 + self._drawn()))

    def after_loss(self) -> float:
        """Return the wait after the loss of a connection."""
        first, most, factor = self._backoff.first, self._backoff.most, self._backoff.factor
        wait = min(max(first, first * factor ** min(self._losses, 64)), max(first, most))
        self._losses += 1
        return max(WAIT_LEAST, wait * (0.5 + self._drawn() / 2) if self._backoff.jitter else wait)

    def accepted(self) -> None:
        """Begin anew: a response was accepted."""
        self._losses = 0
