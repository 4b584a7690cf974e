"""The slots of a cluster: the slot of a key, and the slots of a node (the Redis cluster specification)."""

import itertools
from binascii import crc_hqx
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

from ratelimitd.config.redis_address import RedisAddress

SLOTS: Final = 16_384


def slot_of(key: bytes) -> int:
    """Return the slot of a key: the CRC16 of the text in its first braces, of the whole key if that is empty."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


MASTERS: Final = 1000
"""Masters at most; the Redis cluster specification recommends no more nodes."""

PART: Final = 100
"""Ranges, or servers, that are worked on between two turns of the event loop."""

REPLICAS: Final = 16
"""Replicas of a master that are looked at; clusters have one or two."""

UNMET: Final = frozenset(("handshake", "noaddr"))
"""Flags of servers that the cluster does not know yet, or not any more."""

PORTS: Final = 1 << 16

Ranges = dict[RedisAddress, list[range]]
"""The slots of each master."""


def ranges(reply: Any, asked: RedisAddress) -> Ranges:
    """Parse the reply to CLUSTER SLOTS; an empty host stands for ``asked``. Raises ValueError."""
    found: Ranges = {}
    for part in parts(reply):
        add_ranges(found, part, asked)
    return found


def parts(reply: Any) -> Iterator[list[Any]]:
    """Yield the reply to CLUSTER SLOTS in parts that take a millisecond each. Raises ValueError."""
    if type(reply) is not list or len(reply) > SLOTS:
        raise ValueError(f"malformed reply to CLUSTER SLOTS: no list of up to {SLOTS:,} ranges")
    for at in range(0, len(reply), PART):
        yield reply[at : at + PART]


def add_ranges(found: Ranges, reply: Any, asked: RedisAddress) -> None:
    """Add the ranges of a part of the reply. Raises ValueError."""
    try:
        for first, last, (host, port, *about), *_ in reply:
            found.setdefault(_address(host, port, about, asked), []).append(_slots(first, last))
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"malformed reply to CLUSTER SLOTS: {error}") from error
    if sum(map(len, itertools.chain.from_iterable(found.values()))) > SLOTS:
        raise ValueError("reply to CLUSTER SLOTS names a slot twice")
    if len(found) > MASTERS:
        raise ValueError(f"reply to CLUSTER SLOTS has more than {MASTERS:,} masters")


def replicas(reply: Any, asked: RedisAddress) -> set[RedisAddress]:
    """Return the replicas in a part of the reply to CLUSTER SLOTS; each may become a master. Raises ValueError."""
    try:
        return {
            _address(host, port, about, asked) for _, _, _, *others in reply for host, port, *about in others[:REPLICAS]
        }
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"malformed reply to CLUSTER SLOTS: {error}") from error


def listed(reply: Any, asked: RedisAddress) -> set[RedisAddress]:
    """Return the servers in the reply to CLUSTER NODES, also those without slots; no host stands for ``asked``.

    A line is ``<id> <ip>:<port>@<bus port>[,<host name>…] <flags> …``. Raises ValueError.
    """
    found: set[RedisAddress] = set()
    try:
        for line in reply.decode().splitlines()[: MASTERS * (1 + REPLICAS)]:
            _, where, flags, *_ = line.split(" ")
            if not UNMET.isdisjoint(flags.split(",")):
                continue
            address, *names = where.split(",")
            ip, _, ports = address.rpartition(":")
            port = int(ports.partition("@")[0])
            hosts = (ip, asked.host, *[name for name in names[:1] if name])
            found |= {RedisAddress(host, port) for host in hosts if host}
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"malformed reply to CLUSTER NODES: {error}") from error
    return found


def _address(host: bytes | None, port: int, about: Sequence[Any], asked: RedisAddress) -> RedisAddress:
    """Return the address of a server. Port 0, of one that does not serve TLS or plain text, leads to none."""
    if type(port) is not int or not 0 <= port < PORTS:
        raise ValueError(f"invalid port {port}")
    return RedisAddress(_host(host, about) or asked.host, port)


def _host(host: bytes | None, about: Sequence[Any]) -> str:
    """Return the host of a server; if its preferred name is unknown, the IP address in the metadata next to it."""
    if host and host != b"?":
        return host.decode()
    fields = about[1] if len(about) > 1 else []
    return dict(zip(fields[::2], fields[1::2], strict=False)).get(b"ip", b"").decode() if host else ""


def _slots(first: int, last: int) -> range:
    if not 0 <= first <= last < SLOTS:
        raise ValueError(f"invalid slot range {first} to {last}")
    return range(first, last + 1)


@cache
def _suffixes() -> Sequence[bytes]:
    """Return, for each slot, two bytes that as a key are in that slot."""
    found = [b""] * SLOTS
    for pair in itertools.product(sorted(set(range(256)) - set(b"{}")), repeat=2):
        found[slot_of(bytes(pair))] = bytes(pair)
    return found


def key_in(prefix: bytes, slot: int) -> bytes:
    """Return a key with this prefix in the slot. If the prefix contains braces, all its keys share one slot.

    CRC16 is linear: two bytes after a prefix change the sum as they would after any other. The first call takes 30 ms.
    """
    return prefix + _suffixes()[slot ^ crc_hqx(b"\0\0", crc_hqx(prefix, 0)) % SLOTS]
