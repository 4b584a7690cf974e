"""The address of a client behind trusted proxies."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

ADDRESSES_REMEMBERED: Final = 4_096
"""Addresses whose check is cached: more than the proxies in front of a gateway; a flood of others costs little."""

ADDRESS_MAX: Final = 64
"""Characters of an address with its port, at most. A longer text is none, and is not cached: headers have 32 KiB."""

IsTrusted = Callable[[str], bool]

_WITH_PORT: Final = re.compile(r"(?P<v4>[0-9.]+):[0-9]+|\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]+)?")


def trust(networks: Iterable[str]) -> IsTrusted:
    """Return a function that checks whether an address is in one of these networks (CIDRs)."""
    trusted = tuple(map(ip_network, networks))
    if not trusted:
        return lambda _: False

    @lru_cache(maxsize=ADDRESSES_REMEMBERED)
    def is_trusted(address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in trusted)

    return is_trusted


def client_address(peer: str, forwarded: Sequence[bytes], is_trusted: IsTrusted) -> str:
    """Walk X-Forwarded-For from right to left, starting at the peer, and return the first address that is not trusted.

    ``forwarded`` has the header's lines in order; they form one list (RFC 9110, 5.3). An item that is not an address
    ends the walk, and the last valid address is returned. ``peer`` may be empty, as on a Unix socket, and is then not
    trusted. The zone of a link-local address is removed.
    """
    peer = peer.partition("%")[0]
    client = canonical(peer) or peer
    if not forwarded or not is_trusted(client):
        return client
    for part in reversed(b",".join(forwarded).decode("latin-1").split(",")):
        item = part.strip(" \t")
        address = canonical(item) if len(item) <= ADDRESS_MAX else None
        if address is None:
            break
        client = address
        if not is_trusted(client):
            break
    return client


@lru_cache(maxsize=ADDRESSES_REMEMBERED)
def canonical(text: str) -> str | None:
    """Return an address without port in canonical form, IPv4-mapped IPv6 as IPv4; None if it is not an address."""
    parsed = _parsed(text)
    if parsed is None:
        found = _WITH_PORT.fullmatch(text)
        parsed = _parsed(found["v4"] or found["v6"]) if found else None
    return None if parsed is None else str(parsed)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    if "%" in text:  # a zone can be any text
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
