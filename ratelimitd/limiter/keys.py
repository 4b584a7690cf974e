"""Names of counters.

The only limit of a descriptor, if envoyproxy/ratelimit can express it, has upstream's name, byte for byte, so that
both services share counters during a migration. Upstream joins with ``_`` and escapes nothing, so distinct descriptors
may collide there (``policy.sharing`` finds which). Every other limit, and with ``safe`` every limit, has a name that
cannot collide. Which limits have upstream's names is decided when a policy is read: ``Limit.upstream``.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

from ratelimitd.policy import Entry, Limit

KEY_BYTES = 256
"""A longer name is hashed: memcached's bound of 250 is customary, and a Redis key costs memory on every node."""

KeyMaker = Callable[[bytes, tuple[Entry, ...], Limit], bytes]


def key_maker(prefix: bytes, *, safe: bool) -> KeyMaker:
    """Return the function from (domain, identity, limit) to a key; ``prefix`` is CACHE_KEY_PREFIX.

    A fixed window's key ends with ``_``: the start of the window is appended to it.
    """

    def name(domain: bytes, identity: tuple[Entry, ...], limit: Limit) -> bytes:
        if limit.upstream and not safe:
            return upstream_key(prefix, domain, identity)
        return safe_key(prefix, domain, identity, limit)

    return name


def upstream_key(prefix: bytes, domain: bytes, identity: tuple[Entry, ...]) -> bytes:
    """``prefix domain_(key_value_)*``, as envoyproxy/ratelimit names it."""
    return prefix + domain + b"_" + b"".join(b"%b_%b_" % entry for entry in identity)


def safe_key(prefix: bytes, domain: bytes, identity: tuple[Entry, ...], limit: Limit) -> bytes:
    """Name a counter by domain, entries, algorithm, window and item, each part prefixed with its length.

    The numbers of a limit are not part of the name, so a counter survives a change of them. A name that is long, or
    that contains ``{`` (with which a caller could choose a cluster's slot), is hashed.
    """
    rate = limit.rate
    if rate is None:
        raise ValueError("an unlimited limit has no counter")
    parts = [domain, limit.item.encode()]
    for entry in identity:
        parts.extend(entry)
    return b"%brl1:%b:%d:%b_" % (prefix, rate.algorithm.encode(), rate.window, _joined(parts))


def overflow_key(prefix: bytes, domain: bytes, place: bytes, algorithm: str, window: int, item: str) -> bytes:
    """Name the counter that new keys of a limit share when there are too many; ``place`` is ``Match.place``.

    No request can have this name, whatever its domain: all other keys end with ``_``, this one with ``:``, and a fixed
    window appends digits only.
    """
    name = _joined([domain, item.encode(), place])
    return b"%brl1:overflow:%b:%d:%b:" % (prefix, algorithm.encode(), window, name)


def is_overflow_key(key: bytes) -> bool:
    """Whether ``overflow_key`` made this name."""
    return key.endswith(b":")


def _joined(parts: Sequence[bytes]) -> bytes:
    name = b"".join([b"%d:%b" % (len(part), part) for part in parts])
    if len(name) > KEY_BYTES or b"{" in name:
        return b"#" + blake2b(name, digest_size=32).hexdigest().encode()
    return name
