"""HTTP for operators: a table of functions from a request to a response."""

from .control import Control, key_page, policy_page, reset_page
from .guard import Guard, Token, TokenError, TokenFile, guarded
from .http import Request, Route, Routes
from .routes import debug_routes, gateway_routes, metrics_routes, service_routes
from .server import Listener, Pages, listen
from .stats import statsd_text

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
    "key_page",
    "listen",
    "metrics_routes",
    "policy_page",
    "reset_page",
    "service_routes",
    "statsd_text",
]
