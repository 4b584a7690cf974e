"""The caller's identity: a known API key, otherwise the address.

Keys are stored as SHA-256, matched by their tier and counted by an HMAC, so nothing derived from a request shows a
key. An unknown key is dropped, so a client cannot get a new counter by inventing keys.
"""

import hmac
from hashlib import sha256
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network
from typing import Final

from ratelimitd.value import Value

from .model import Descriptor, Entry, Identity

UNSALTED: Final = (
    "IDENTITY_SECRET is not set: API keys are counted under their plain SHA-256, so a short key can be "
    "guessed from the names of counters; set it to a random text, the same on every replica"
)
"""Warning, logged once, when a policy has an identity and no secret is set."""


class Identified(Value):
    """A descriptor with its caller identified.

    Attributes:
        descriptor: descriptor for matching and for display: a key is replaced by its tier, an IPv6 address by its
            network.
        counted: its entries in the counter's name: a key is replaced by its HMAC.
    """

    __match_args__ = ("descriptor", "counted")
    __slots__ = __match_args__

    def __init__(self, descriptor: Descriptor, counted: tuple[Entry, ...]) -> None:
        self.descriptor = descriptor
        self.counted = counted


def identify(identity: Identity, secret: bytes, descriptor: Descriptor) -> Identified:
    """Replace a known key by its tier and drop the address, or drop an unknown key and keep the address.

    ``secret`` is IDENTITY_SECRET; if empty, unsalted SHA-256 is used. Both entries are optional; others are unchanged.
    """
    tiers = [_tier_of(identity, entry) for entry in descriptor.entries]
    known = any(tiers)
    matched: list[Entry] = []
    counted: list[Entry] = []
    for (key, value), tier in zip(descriptor.entries, tiers, strict=True):
        if key == identity.key:
            if tier:
                matched.append((key, tier))
                counted.append((key, _pseudonym(secret, value)))
        elif key != identity.otherwise:
            matched.append((key, value))
            counted.append((key, value))
        elif not known:
            entry = (key, network_of(value, identity.ipv6_prefix))
            matched.append(entry)
            counted.append(entry)
    return Identified(descriptor._replace(entries=tuple(matched)), tuple(counted))


def network_of(address: bytes, ipv6_prefix: int) -> bytes:
    """Return an IPv4 address unchanged, an IPv4-mapped IPv6 one as IPv4, an IPv6 one as its network, else the text."""
    if b":" not in address:
        return address
    try:
        parsed = IPv6Address(address.decode("ascii"))
    except (AddressValueError, UnicodeDecodeError):
        return address
    mapped: IPv4Address | None = parsed.ipv4_mapped
    if mapped is not None:
        return str(mapped).encode()
    if ipv6_prefix == parsed.max_prefixlen:
        return str(parsed).encode()
    return str(IPv6Network((int(parsed), ipv6_prefix), strict=False)).encode()


def _tier_of(identity: Identity, entry: Entry) -> bytes | None:
    key, value = entry
    return identity.tiers.get(sha256(value).digest()) if key == identity.key else None


def _pseudonym(secret: bytes, value: bytes) -> bytes:
    digest = hmac.digest(secret, value, "sha256") if secret else sha256(value).digest()
    return digest.hex().encode()
