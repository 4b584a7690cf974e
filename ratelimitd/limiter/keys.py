"""Names of counters.

The only limit of a descriptor, if envoyproxy/ratelimit can express it, has upstream's name, byte for byte, so that
both services share counters during a migration. Upstream joins with ``_`` and escapes nothing, so distinct descriptors
may collide there (``policy.sharing`` finds which). Every other limit, and with ``safe`` every limit, has a name that
cannot collide. Which limits have upstream's names is decided when a policy is read: ``Limit.upstream``.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b

from ratelimitd.algorithms import CONCURRENT
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
        tagged: whether domain, item and entries are the hash tag, so that the names of a counter and of its holds are
            in one slot of a cluster, and stay there when the window ends.
    """

    __slots__ = ("head", "parts", "tagged")

    def __init__(self, head: bytes, parts: bytes | None, tagged: bool = False) -> None:
        self.head = head
        self.parts = parts
        self.tagged = tagged

    def key(self, entries: tuple[Entry, ...]) -> bytes:
        """Name the counter of these entries."""
        if self.parts is not None:
            name = _joined(self.parts, entries)
            return b"%b%b_" % (self.head, _tag(name) if self.tagged else name)
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
    # Places are found again after a change of their ttl, which is the window of their rate.
    window = 0 if rate.algorithm == CONCURRENT else rate.window
    return _safe_head(prefix, domain, rate.algorithm, window, limit.item, limit.reserve is not None)


@lru_cache(HEADS)
def _safe_head(prefix: bytes, domain: bytes, algorithm: str, window: int, item: str, tagged: bool) -> KeyHead:
    head = b"%brl1:%b:%d:" % (prefix, algorithm.encode(), window)
    return KeyHead(head, _prefixed((domain, item.encode())), tagged)


def overflow_key(
    prefix: bytes, domain: bytes, place: bytes, algorithm: str, window: int, item: str, tagged: bool = False
) -> bytes:
    """Name the counter that new keys of a limit share when there are too many; ``place`` is ``place_of`` a path.

    No request can have this name, whatever its domain: all other keys end with ``_``, this one with ``:``, and a fixed
    window appends digits only. ``tagged``: whether the limit has holds.
    """
    name = _hashed(_prefixed((domain, item.encode(), place)))
    window = 0 if algorithm == CONCURRENT else window
    return b"%brl1:overflow:%b:%d:%b:" % (prefix, algorithm.encode(), window, _tag(name) if tagged else name)


def holds_key(key: bytes) -> bytes:
    """Name the holds of a counter, or those that have none; in one slot with the counter, whatever its window.

    No counter has this name: those end with ``_``, ``:`` or a digit.
    """
    return key + b"holds"


def is_overflow_key(key: bytes) -> bool:
    """Whether ``overflow_key`` made this name."""
    return key.endswith(b":")


def _joined(parts: bytes, entries: tuple[Entry, ...]) -> bytes:
    """Add entries to parts; a long name, or one with ``{``, is hashed."""
    return _hashed(parts + _prefixed([part for entry in entries for part in entry]))


def _prefixed(parts: Sequence[bytes]) -> bytes:
    return b"".join([b"%b%b" % (_length(part), part) for part in parts])


def _length(part: bytes) -> bytes:
    return _LENGTHS[len(part)] if len(part) < KEY_BYTES else b"%d:" % len(part)


_LENGTHS = tuple(b"%d:" % length for length in range(KEY_BYTES))


def _hashed(name: bytes) -> bytes:
    if len(name) > KEY_BYTES or name.find(b"{") >= 0:  # ``in`` makes and drops an exception for bytes
        return _digest(name)
    return name


def _tag(name: bytes) -> bytes:
    """Return a name as a hash tag; one that would end it early is hashed."""
    return b"{%b}" % (_digest(name) if b"}" in name else name)


def _digest(name: bytes) -> bytes:
    return b"#" + blake2b(name, digest_size=32).hexdigest().encode()
