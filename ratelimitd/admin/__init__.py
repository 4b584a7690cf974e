"""HTTP for operators: a table of functions from a request to a response."""

from .control import Control
from .guard import Guard, Token, TokenError, TokenFile, guarded
from .http import Request, Route, Routes
from .routes import debug_routes, gateway_routes, metrics_routes, service_routes
from .server import Listener, Pages, listen

__all__ = [
    "Control",
    "Guard",
    "Listener",
    "Pages",
    "Request",
    "Route",
    "Routes",
    "Token",
    "TokenError",
    "TokenFile",
    "debug_routes",
    "gateway_routes",
    "guarded",
    "listen",
    "metrics_routes",
    "service_routes",
]
