"""Names of counters.

The only limit of a descriptor, if envoyproxy/ratelimit can express it, has upstream's name, byte for byte, so that
both services share counters during a migration. Upstream joins with ``_`` and escapes nothing, so distinct descriptors
may collide there (``policy.sharing`` finds which). Every other limit, and with ``safe`` every limit, has a name that
cannot collide. Which limits have upstream's names is decided when a policy is read: ``Limit.upstream``.
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from ratelimitd.policy import Entry, Limit

KEY_BYTES = 256
"""A longer name is hashed: memcached's bound of 250 is customary, and a Redis key costs memory on every node."""

HEADS = 1_024
"""Cached heads: limits of a domain with the same algorithm, window and item share one."""


class KeyHead:
    """What all names of a limit's counters begin with; ``key`` adds the entries that identify one.

    The name of a fixed window's counter ends with ``_``: the start of the window is appended to it.

    Attributes:
        head: the beginning.
        parts: of a name that cannot collide: domain and item, each prefixed with its length; None: upstream's form.
    """

    __slots__ = ("head", "parts")

    def __init__(self, head: bytes, parts: bytes | None) -> None:
        self.head = head
        self.parts = parts

    def key(self, entries: tuple[Entry, ...]) -> bytes:
        """Name the counter of these entries."""
        if self.parts is not None:
            return b"%b%b_" % (self.head, _joined(self.parts, entries))
        if len(entries) == 1:
            key, value = entries[0]
            return b"%b%b_%b_" % (self.head, key, value)
        return self.head + b"".join([b"%b_%b_" % (key, value) for key, value in entries])


KeyMaker = Callable[[bytes, Limit], KeyHead]


def key_maker(prefix: bytes, *, safe: bool) -> KeyMaker:
    """Return the function from (domain, limit) to the head of its counters' names; ``prefix`` is CACHE_KEY_PREFIX."""

    def head(domain: bytes, limit: Limit) -> KeyHead:
        if limit.upstream and not safe:
            return upstream_head(prefix, domain)
        return safe_head(prefix, domain, limit)

    return head


@lru_cache(HEADS)
def upstream_head(prefix: bytes, domain: bytes) -> KeyHead:
    """``prefix domain_``; then follow ``key_value_`` of each entry, as envoyproxy/ratelimit names it."""
    return KeyHead(b"%b%b_" % (prefix, domain), None)


def safe_head(prefix: bytes, domain: bytes, limit: Limit) -> KeyHead:
    """Name a counter by domain, entries, algorithm, window and item, each part prefixed with its length.

    The numbers of a limit are not part of the name, so a counter survives a change of them. A name that is long, or
    that contains ``{`` (with which a caller could choose a cluster's slot), is hashed.
    """
    rate = limit.rate
    if rate is None:
        raise ValueError("an unlimited limit has no counter")
    return _safe_head(prefix, domain, rate.algorithm, rate.window, limit.item)


@lru_cache(HEADS)
def _safe_head(prefix: bytes, domain: bytes, algorithm: str, window: int, item: str) -> KeyHead:
    return KeyHead(b"%brl1:%b:%d:" % (prefix, algorithm.encode(), window), _prefixed((domain, item.encode())))


def overflow_key(prefix: bytes, domain: bytes, place: bytes, algorithm: str, window: int, item: str) -> bytes:
    """Name the counter that new keys of a limit share when there are too many; ``place`` is ``place_of`` a path.

    No request can have this name, whatever its domain: all other keys end with ``_``, this one with ``:``, and a fixed
    window appends digits only.
    """
    name = _hashed(_prefixed((domain, item.encode(), place)))
    return b"%brl1:overflow:%b:%d:%b:" % (prefix, algorithm.encode(), window, name)


def is_overflow_key(key: bytes) -> bool:
    """Whether ``overflow_key`` made this name."""
    return key.endswith(b":")


def _joined(parts: bytes, entries: tuple[Entry, ...]) -> bytes:
    """Add entries to parts; a long name, or one with ``{``, is hashed."""
    if len(entries) == 1:
        key, value = entries[0]
        return _hashed(b"%b%b%b%b%b" % (parts, _length(key), key, _length(value), value))
    return _hashed(
        parts + b"".join([b"%b%b%b%b" % (_length(key), key, _length(value), value) for key, value in entries])
    )


def _prefixed(parts: tuple[bytes, ...]) -> bytes:
    return b"".join([b"%b%b" % (_length(part), part) for part in parts])


def _length(part: bytes) -> bytes:
    return _LENGTHS[len(part)] if len(part) < KEY_BYTES else b"%d:" % len(part)


_LENGTHS = tuple(b"%d:" % length for length in range(KEY_BYTES))


def _hashed(name: bytes) -> bytes:
    if len(name) > KEY_BYTES or name.find(b"{") >= 0:  # ``in`` makes and drops an exception for bytes
        return b"#" + blake2b(name, digest_size=32).hexdigest().encode()
    return name
