"""Without Envoy: one file that says who is asked and what is limited, for a reverse proxy and for Envoy alike."""

from .access_log import AccessLog, Account, Handled
from .client_address import trust
from .default import default_file
from .file import domain_of, read_gateway
from .model import Admin, Backend, Gateway
from .proxy import Live, Proxy, render
from .routing import Router, key_headers

__all__ = [
    "AccessLog",
    "Account",
    "Admin",
    "Backend",
    "Gateway",
    "Handled",
    "Live",
    "Proxy",
    "Router",
    "default_file",
    "domain_of",
    "key_headers",
    "read_gateway",
    "render",
    "trust",
]
