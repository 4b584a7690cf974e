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


def peers(trusted: Iterable[str] = ()) -> Callable[[object], Peer]:
    """Return a function from a socket address to its peer; addresses in the ``trusted`` networks are exempt."""
    networks = tuple(map(ip_network, trusted))

    @lru_cache(maxsize=REMEMBERED)
    def peer_of(host: str) -> Peer:
        ip = _plain(host)
        return Peer(_name(ip), exempt=any(ip in network for network in networks))

    return lambda address: peer_of(address[0]) if isinstance(address, tuple) else UNIX


def _plain(host: str) -> IPv4Address | IPv6Address:
    """Return an address; an IPv4 address as an IPv6 socket shows it is that IPv4 address."""
    ip = ip_address(host.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def _name(ip: IPv4Address | IPv6Address) -> str:
    return str(ip) if isinstance(ip, IPv4Address) else f"{IPv6Address(int(ip) >> 64 << 64)}/64"
