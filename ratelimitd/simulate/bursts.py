"""How many hits of a key come together, measured by how much its hits vary from minute to minute."""

from collections.abc import Sequence
from math import log
from typing import Final, NamedTuple

from .hour import KeyHits

SURE: Final = 8
"""Listed keys from which on bursts are measured: the error of the result is about a half then."""

UNEQUAL: Final = 1.5
"""Ratio of the hits of two groups of keys from which on their bursts are compared."""

LEAST: Final = 2.5
"""Least measured burst that is one: what is below may come from the few keys that were measured."""

MOST: Final = 100_000
"""Maximum hits of a burst, within the precision of what is drawn."""


class Bursts(NamedTuple):
    """Bursts by the hits of a key: ``size`` at ``hits`` in an hour, else in proportion to a power of them."""

    size: float = 1.0
    hits: float = 1.0
    power: float = 0.0

    def of(self, hits: float) -> int:
        """Return how many hits come together of a key with this many in the hour."""
        size = self.size * (hits / self.hits) ** self.power if hits > 0 else 1.0
        return round(min(size, MOST)) if size >= LEAST else 1


def bursts_of(keys: Sequence[KeyHits]) -> Bursts:
    """Measure the bursts of listed keys; too few of them tell nothing, so hits come by themselves.

    Of hits that come by themselves, those of the last minute among those of the last ten differ from key to key as a
    binomial distribution does; in bursts of n, the variance is n times that (index of dispersion). The rates of busy
    keys also drift, which looks like bursts in proportion to them: the busier and the other half of the keys are
    measured apart, and tell the power.
    """
    known = sorted((key for key in keys if key.ten_minutes > 0), key=lambda key: key.ten_minutes)
    minute, ten = sum(min(key.minute, key.ten_minutes) for key in known), sum(key.ten_minutes for key in known)
    if len(known) < SURE or not 0 < minute < ten:
        return Bursts()
    part = minute / ten
    size = _dispersion(known, part) * len(known) / (len(known) - 1)
    if size < LEAST:
        return Bursts()
    few, many = known[: len(known) // 2], known[len(known) // 2 :]
    ratio, power = _mean(many) / _mean(few), 0.0
    if ratio > UNEQUAL:
        power = log(max(_dispersion(many, part), 1.0) / max(_dispersion(few, part), 1.0)) / log(ratio)
    return Bursts(size, sum(key.hour * key.ten_minutes for key in known) / ten, min(max(power, 0.0), 1.0))


def _dispersion(keys: Sequence[KeyHits], part: float) -> float:
    """Return the variance of the hits of the last minute, divided by that of a binomial distribution."""
    squares = sum((min(key.minute, key.ten_minutes) - key.ten_minutes * part) ** 2 for key in keys)
    return squares / (_mean(keys) * len(keys) * part * (1 - part))


def _mean(keys: Sequence[KeyHits]) -> float:
    return sum(key.ten_minutes for key in keys) / len(keys)
