"""Peers: the addresses under which connections share places, and which of them are exempt."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple

REMEMBERED: Final = 4_096
"""Addresses whose peer is kept: an Envoy, or an attacker, comes from one again and again."""


class Peer(NamedTuple):
    """The peer of a connection.

    Attributes:
        name: address, of IPv6 the network of 64 bits, which a host has to itself; "" for a unix socket.
        exempt: whether it may have any part of the places: it stands for many, as a load balancer does.
    """

    name: str
    exempt: bool


UNIX: Final = Peer("", exempt=True)

MAPPED: Final = "::ffff:"
"""Begin of an IPv4 address in the form of IPv6, as the system shows it."""


def plain(host: str) -> str:
    """Return the address of a peer as text, without the zone of a link-local address.

    An IPv4 client of a socket that listens on both families comes as ``::ffff:192.0.2.1`` (RFC 4291 2.5.5.2), and is
    ``192.0.2.1`` in everything that compares, counts, logs or forwards addresses.
    """
    if ":" not in host:
        return host
    host = host.partition("%")[0]
    return host.removeprefix(MAPPED) if "." in host else host


def network_of(host: str) -> str:
    """Return what has one share of something, by its ``plain`` address: an IPv4 address, or an IPv6 network of 64 bits.

    Any other text stands for itself.
    """
    return _network_of(host) if ":" in host else host


def peers(trusted: Iterable[str] = ()) -> Callable[[object], Peer]:
    """Return a function from a socket address to its peer; addresses in the ``trusted`` networks are exempt."""
    networks = tuple(map(ip_network, trusted))

    @lru_cache(maxsize=REMEMBERED)
    def peer_of(host: str) -> Peer:
        ip = ip_address(plain(host))
        return Peer(_name(ip), exempt=any(ip in network for network in networks))

    return lambda address: peer_of(address[0]) if isinstance(address, tuple) else UNIX


@lru_cache(maxsize=REMEMBERED)
def _network_of(host: str) -> str:
    try:
        return _name(ip_address(host))
    except ValueError:
        return host


def _name(ip: IPv4Address | IPv6Address) -> str:
    return str(ip) if isinstance(ip, IPv4Address) else f"{IPv6Address(int(ip) >> 64 << 64)}/64"
