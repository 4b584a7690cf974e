"""Policies over xDS: a client of a control plane's aggregated discovery service (ADS), state of the world.

``protocol`` decides what is said and when, without I/O; ``stream`` says it over grpcio.
"""

from .client import AdsClient
from .options import MESSAGE_BYTES, Backoff, ControlPlane, TlsFiles
from .protocol import Refusal, Response, nack_text
from .state import PlaneState, Told
from .stream import StreamError, first_response

__all__ = [
    "MESSAGE_BYTES",
    "AdsClient",
    "Backoff",
    "ControlPlane",
    "PlaneState",
    "Refusal",
    "Response",
    "StreamError",
    "TlsFiles",
    "Told",
    "first_response",
    "nack_text",
]
