"""Whose request it is, when trusted proxies stand in between."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

ADDRESSES_REMEMBERED: Final = 4_096
"""Addresses whose trust is remembered: more than proxies stand before a gateway, and a flood of others costs little."""

Trusts = Callable[[str], bool]

_WITH_PORT: Final = re.compile(r"(?P<v4>[0-9.]+):[0-9]+|\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]+)?")


def trust(networks: Iterable[str]) -> Trusts:
    """Return what tells whether an address is in one of these networks (CIDRs)."""
    trusted = tuple(map(ip_network, networks))
    if not trusted:
        return lambda _: False

    @lru_cache(maxsize=ADDRESSES_REMEMBERED)
    def trusts(address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in trusted)

    return trusts


def client_address(peer: str, forwarded: Sequence[bytes], trusts: Trusts) -> str:
    """Walk from the peer to the left through X-Forwarded-For: the first address that is not trusted is the client.

    ``forwarded`` holds the header's lines in their order, which are one list (RFC 9110, 5.3). What is no address
    ends the walk at the last one that was. ``peer`` may be empty, as on a unix socket, and is then not trusted;
    the zone of a link-local one is left out.
    """
    peer = peer.partition("%")[0]
    client = canonical(peer) or peer
    if not forwarded or not trusts(client):
        return client
    for item in reversed(b",".join(forwarded).decode("latin-1").split(",")):
        address = canonical(item.strip(" \t"))
        if address is None:
            break
        client = address
        if not trusts(client):
            break
    return client


@lru_cache(maxsize=ADDRESSES_REMEMBERED)
def canonical(text: str) -> str | None:
    """Return an address, with or without a port, in its one form, an IPv4 one out of IPv6; None: it is none."""
    parsed = _parsed(text)
    if parsed is None:
        found = _WITH_PORT.fullmatch(text)
        parsed = _parsed(found["v4"] or found["v6"]) if found else None
    return None if parsed is None else str(parsed)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    if "%" in text:  # a zone could be any text
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
