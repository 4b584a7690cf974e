"""HTTP/1.1 on the wire, both sides of a reverse proxy. A leaf: it knows no limits, policies or routes."""

from .balance import BalanceOptions
from .circuit_breaker import BreakerOptions, State
from .deadlines import Sweeper
from .exchange import Exchange
from .headers import to_upstream
from .model import Endpoint, ErrorResponse, Headers, Peer, Request, Summary
from .options import ServerOptions, UpstreamOptions
from .owner import Handler
from .server import Server
from .upstream import Upstream

__all__ = [
    "BalanceOptions",
    "BreakerOptions",
    "Endpoint",
    "ErrorResponse",
    "Exchange",
    "Handler",
    "Headers",
    "Peer",
    "Request",
    "Server",
    "ServerOptions",
    "State",
    "Summary",
    "Sweeper",
    "Upstream",
    "UpstreamOptions",
    "to_upstream",
]
