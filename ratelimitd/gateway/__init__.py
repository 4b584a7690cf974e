"""The gateway file: upstreams, routes and rate limits, for the built-in reverse proxy and for Envoy."""

from .access_log import AccessLog, AccessRecord, RequestMetrics
from .client_address import trust
from .default import default_file
from .file import domain_of, read_gateway, upstream_at
from .model import Admin, Backend, Gateway
from .proxy import Proxy, Snapshot, render
from .routing import Router, key_headers

__all__ = [
    "AccessLog",
    "AccessRecord",
    "Admin",
    "Backend",
    "Gateway",
    "Proxy",
    "RequestMetrics",
    "Router",
    "Snapshot",
    "default_file",
    "domain_of",
    "key_headers",
    "read_gateway",
    "render",
    "trust",
    "upstream_at",
]
