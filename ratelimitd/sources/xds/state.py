"""What is known of a control plane, for probes, metrics and the admin API."""

from dataclasses import dataclass
from typing import NamedTuple


class Told(NamedTuple):
    """An answer to the control plane: the version, and the text of a NACK.

    ``at`` is seconds since the epoch.
    """

    version: str
    at: float
    text: str = ""


@dataclass
class PlaneState:
    """State of the connection, and the last answers.

    Attributes:
        connected: whether there is a connection.
        since: seconds since the epoch; 0 before the first attempt.
        reason: why there is no connection.
        connects: connections so far.
        acks: ACKs that were sent.
        nacks: responses that were refused; a repeated one counts once.
        acked: the last ACK.
        nacked: the last response that was refused, if nothing was accepted since.
        nacked_at: when one was refused last, seconds since the epoch; 0: never.
    """

    connected: bool = False
    since: float = 0.0
    reason: str = "not connected yet"
    connects: int = 0
    acks: int = 0
    nacks: int = 0
    acked: Told | None = None
    nacked: Told | None = None
    nacked_at: float = 0.0
