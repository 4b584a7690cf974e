"""What a server is asked with, to see whether it is well: a charge on a key of our own."""

from collections.abc import Sequence
from typing import Final

from ratelimitd.algorithms import SECOND, make_rate
from ratelimitd.limiter import Ask, Charge, Plan
from ratelimitd.policy import Limit

from .slots import key_in

PROBE: Final = object()
"""The tag of an ask of our own, whose failures are nobody's."""

PROBED: Final = Limit(make_rate("token_bucket", 1_000_000, SECOND))
"""What a probe charges: so much that it is never denied, and so always writes."""


def probe_key(prefix: bytes, slots: Sequence[range] = ()) -> bytes:
    """Return the key that probes charge, behind CACHE_KEY_PREFIX; of a cluster's server, one in its first slot."""
    key = prefix + b"rl1:probe"
    return key_in(key, slots[0].start) if slots else key


def probe_of(key: bytes) -> Ask:
    """Return what a probe asks."""
    return Ask(Plan((Charge(PROBED, key, binding=False),)), [1], tag=PROBE)
