"""HTTP/1.1 on both sides of a reverse proxy. A leaf: it knows no limits, policies or routes."""

from .balance import BalanceOptions
from .circuit_breaker import BreakerOptions, State
from .client import (
    ConnectError,
    Fetched,
    FetchError,
    FetchTimeoutError,
    Received,
    RemoteProtocolError,
    ResponseTooLargeError,
    fetch,
    receive,
)
from .collector import read_body
from .deadlines import Sweeper
from .exchange import Exchange
from .framing import SINGLE
from .headers import CLAIMS, PSEUDONYM, REMOVED, connection_listed, this_hop, to_upstream
from .heads import REQUEST_HEADS_BYTES, RESPONSE_HEADS_BYTES
from .model import Endpoint, ErrorResponse, Fields, Headers, Peer, Request, Summary
from .options import CONNECTION_BYTES, HIGH_WATER, READ_BYTES, ServerOptions, UpstreamOptions
from .owner import Handler
from .responses import lines_of
from .server import Server, ignore
from .streamed import stream
from .upstream import Upstream

__all__ = [
    "CLAIMS",
    "CONNECTION_BYTES",
    "HIGH_WATER",
    "PSEUDONYM",
    "READ_BYTES",
    "REMOVED",
    "REQUEST_HEADS_BYTES",
    "RESPONSE_HEADS_BYTES",
    "SINGLE",
    "BalanceOptions",
    "BreakerOptions",
    "ConnectError",
    "Endpoint",
    "ErrorResponse",
    "Exchange",
    "FetchError",
    "FetchTimeoutError",
    "Fetched",
    "Fields",
    "Handler",
    "Headers",
    "Peer",
    "Received",
    "RemoteProtocolError",
    "Request",
    "ResponseTooLargeError",
    "Server",
    "ServerOptions",
    "State",
    "Summary",
    "Sweeper",
    "Upstream",
    "UpstreamOptions",
    "connection_listed",
    "fetch",
    "ignore",
    "lines_of",
    "read_body",
    "receive",
    "stream",
    "this_hop",
    "to_upstream",
]
