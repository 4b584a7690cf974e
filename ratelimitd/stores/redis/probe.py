"""Probes of a node's health: a charge on a reserved key."""

from collections.abc import Sequence
from typing import Final

from ratelimitd.algorithms import SECOND, make_rate
from ratelimitd.limiter import Ask, Charge, Plan, Rule
from ratelimitd.policy import Limit

from .slots import key_in

PROBE: Final = object()
"""The tag of a probe's ask; its failures concern no request and are not counted."""

PROBED: Final = Rule(Limit(make_rate("token_bucket", 1_000_000, SECOND)), binding=False)
"""The limit that a probe charges: high enough that it is never denied, so a probe always writes."""


def probe_key(prefix: bytes, slots: Sequence[range] = ()) -> bytes:
    """Return the key that probes charge, prefixed with CACHE_KEY_PREFIX; for a cluster node, one in its first slot."""
    key = prefix + b"rl1:probe"
    return key_in(key, slots[0].start) if slots else key


def probe_of(key: bytes) -> Ask:
    """Return the ask of a probe."""
    return Ask(Plan((Charge(PROBED, key),)), [1], tag=PROBE)
