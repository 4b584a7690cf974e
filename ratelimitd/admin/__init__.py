"""HTTP for operators: a table of functions from a request to a response."""

from .http import Request, Route, Routes
from .routes import debug_routes, gateway_routes, metrics_routes, service_routes
from .server import Listener, bind, listen

__all__ = [
    "Listener",
    "Request",
    "Route",
    "Routes",
    "bind",
    "debug_routes",
    "gateway_routes",
    "listen",
    "metrics_routes",
    "service_routes",
]
