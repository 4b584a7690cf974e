"""Requests that a browser sends for a page of another site, and that are refused.

A browser reaches ports that the author of such a page may not: on its own host, and in its network. What it sends is of
two kinds. A cross-site request may change something, though the page cannot read the response; its headers say where it
comes from. After DNS rebinding the page reads responses too, as a name of its own site then leads to this host; Host
has that name. Other clients send neither.
"""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Final

from .guard import loopback
from .http import Access, PageRequest, PageResponse, as_json

SAME: Final = frozenset(("", "same-origin", "none"))
"""Values of Sec-Fetch-Site (W3C Fetch Metadata) that are accepted; ``none``: a user typed the address. A same-site page
may be that of any other port of this host."""

CROSS_SITE: Final = as_json(
    403,
    {
        "error": "a browser sent this for a page of another site: its Origin is not the host of this port, or its "
        "Sec-Fetch-Site is not same-origin; send it with a client that is no browser and sends neither header"
    },
)

MISDIRECTED: Final = as_json(
    421,
    {
        "error": "Host is not a name of this host, and the request came over loopback; send it to localhost or to an "
        "IP address, or add the name to HTTP_ALLOWED_HOSTS"
    },
)
"""421: RFC 9110 15.5.20."""


def refusal(access: Access, request: PageRequest, hosts: Collection[str]) -> PageResponse | None:
    """Return the error response to a request for a page with this access, or None; ``hosts`` are names of this host.

    Host is looked at only if the peer is on this host: a browser elsewhere that reaches the port by an address of it is
    stopped by network policy, and the names by which callers elsewhere know the service are unknown here.
    """
    if access is Access.OPEN:
        return None
    host = request.headers.get("Host", "").lower()
    if loopback(request.peer) and not names_this_host(host, hosts):
        return MISDIRECTED
    if access is Access.CHANGES and cross_site(request.headers, host):
        return CROSS_SITE
    return None


def names_this_host(host: str, hosts: Collection[str]) -> bool:
    """Whether a Host in lower case is one by which a client on this host, or a proxy before it, calls it.

    A missing one is (HTTP/1.0), and so is any IP address: only a name can be rebound.
    """
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0].removesuffix(".")
    return name in hosts or name == "" or name.rpartition(".")[2] == "localhost" or _is_address(name)


def cross_site(headers: Mapping[str, str], host: str) -> bool:
    """Whether a browser sent a request for a page of another origin than ``host``, the Host in lower case."""
    if headers.get("Sec-Fetch-Site", "").lower() not in SAME:
        return True
    origin = headers.get("Origin")
    return origin is not None and not (host and origin.lower().partition("://")[2] == host)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
