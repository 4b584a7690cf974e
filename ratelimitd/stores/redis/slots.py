"""The slots of a cluster: the slot of a key, and the slots of a node (the Redis cluster specification)."""

from binascii import crc_hqx
from collections.abc import Sequence
from functools import cache
from itertools import product
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


Ranges = dict[RedisAddress, list[range]]
"""The slots of each master."""


def ranges(reply: Any, asked: RedisAddress) -> Ranges:
    """Parse the reply to CLUSTER SLOTS; an empty host stands for ``asked``. Raises ValueError."""
    found: Ranges = {}
    try:
        for first, last, (host, port, *about), *_ in reply:
            where = RedisAddress(_host(host, about) or asked.host, port)
            found.setdefault(where, []).append(_slots(first, last))
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"malformed reply to CLUSTER SLOTS: {error}") from error
    return found


def _host(host: bytes | None, about: Sequence[Any]) -> str:
    """Return the host of a master; if its preferred name is unknown, the IP address in the metadata next to it."""
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
    for pair in product(sorted(set(range(256)) - set(b"{}")), repeat=2):
        found[slot_of(bytes(pair))] = bytes(pair)
    return found


def key_in(prefix: bytes, slot: int) -> bytes:
    """Return a key with this prefix in the slot. If the prefix contains braces, all its keys share one slot.

    CRC16 is linear: two bytes after a prefix change the sum as they would after any other. The first call takes 30 ms.
    """
    return prefix + _suffixes()[slot ^ crc_hqx(b"\0\0", crc_hqx(prefix, 0)) % SLOTS]
