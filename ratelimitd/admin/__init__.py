"""HTTP for operators: a table of functions from a request to a response."""

from .http import Routes
from .routes import debug_routes, metrics_routes, service_routes
from .server import Listener, listen

__all__ = ["Listener", "Routes", "debug_routes", "listen", "metrics_routes", "service_routes"]
