"""The gateway file: upstreams, routes and rate limits, for the built-in reverse proxy and for Envoy."""

from .access_log import AccessLog, AccessRecord, RequestMetrics
from .access_text import access_line
from .client_address import trust
from .default import default_file
from .file import domain_of, read_gateway, upstream_at
from .from_flags import CallerLimits, file_of_flags, in_words
from .model import Admin, Backend, Gateway
from .proxy import MakeRequest, Proxy, render
from .queueing import Queueing
from .routing import Router, counted_headers
from .snapshot import Snapshot
from .ways import WAYS_BYTES

__all__ = [
    "WAYS_BYTES",
    "AccessLog",
    "AccessRecord",
    "Admin",
    "Backend",
    "CallerLimits",
    "Gateway",
    "MakeRequest",
    "Proxy",
    "Queueing",
    "RequestMetrics",
    "Router",
    "Snapshot",
    "access_line",
    "counted_headers",
    "default_file",
    "domain_of",
    "file_of_flags",
    "in_words",
    "read_gateway",
    "render",
    "trust",
    "upstream_at",
]
