"""The last hour of a limit, as the live view keeps it, and the callers that stand for its keys in a replay."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import log
from typing import Final, NamedTuple

STEP: Final = 10
"""Seconds of a step of the kept rates."""

STEPS: Final = 360
"""Steps of an hour."""

BANDS: Final = (range(300), range(300, 354), range(354, STEPS))
"""Steps in which the share of a key is known by itself: those before the last ten minutes, before the last minute, and
in it."""

FINE: Final = 40
"""Hits of a key in a step up to which each is replayed by itself: of more, a batch has a fortieth at most."""

STEEPEST: Final = 8.0
"""Exponent of the steepest tail: the second of its keys has one part in 256 of the hits of the first."""

Shares = tuple[float, float, float]
"""Parts of a limit's hits, 0 to 1, one for each of ``BANDS``."""


class KeyHits(NamedTuple):
    """Hits of a listed key in the last minute, ten minutes and hour."""

    minute: int
    ten_minutes: int
    hour: int

    @property
    def bands(self) -> tuple[int, int, int]:
        """Hits in each of ``BANDS``; the numbers are estimates, and a shorter time may seem to have more."""
        return max(0, self.hour - self.ten_minutes), max(0, self.ten_minutes - self.minute), self.minute


class Hour(NamedTuple):
    """The last hour of a limit.

    Attributes:
        end: end of the last step, Unix seconds.
        allowed: hits that passed, by step, oldest first; ``STEPS`` of them.
        denied: hits that the limit denied, also in shadow mode, by step.
        keys: the listed keys.
        others: estimated number of keys that are not listed.
    """

    end: int
    allowed: Sequence[int]
    denied: Sequence[int]
    keys: Sequence[KeyHits]
    others: int

    @property
    def offered(self) -> list[int]:
        """Hits by step, whatever was decided."""
        return [passed + refused for passed, refused in zip(self.allowed, self.denied, strict=True)]


class Caller(NamedTuple):
    """A key that is replayed.

    Attributes:
        shares: its part of the limit's hits.
        stands_for: number of keys with about these hits that it is replayed for, itself included.
    """

    shares: Shares
    stands_for: float = 1.0

    def hits(self, totals: Sequence[int]) -> float:
        """Return its hits of the hour."""
        return sum(total * share for total, share in zip(totals, self.shares, strict=True))


class Replayed(NamedTuple):
    """Which keys are replayed: number of those known or estimated, and the callers that stand for them."""

    keys: int
    callers: Iterator[Caller]
    number: int


def callers(hour: Hour, slots: int, work: int) -> Replayed:
    """Return callers whose batches, at most ``slots`` in a step, are about ``work`` in all.

    Half of the work is for the busiest keys, one by one; the rest for groups of keys of similar hits, each replayed as
    one key with the mean of their hits.
    """
    offered = hour.offered
    totals = totals_of(offered)
    listed, rest = listed_shares(hour, totals)
    busy = sum(hits > 0 for hits in offered)

    def cost(shares: Shares) -> float:
        """Return the batches of a key, and what it costs to find them."""
        hits = sum(total * share for total, share in zip(totals, shares, strict=True))
        return 1 + (hits if hits <= FINE * busy else slots * busy)

    others = hour.others if max(rest) > 0 else 0
    single = sum(spent <= work / 2 for spent in accumulate(cost(shares) for shares in listed))
    single = max(single, min(1, len(listed)))
    grouped = listed[single:]
    mean = sum(map(cost, grouped)) / len(grouped) if grouped else 1.0
    groups = min(len(grouped), max(1, int(work / 4 / mean)))
    each: Shares = (rest[0] / max(others, 1), rest[1] / max(others, 1), rest[2] / max(others, 1))
    strata = min(others, max(1, int(work / 4 / cost(each))))

    def found() -> Iterator[Caller]:
        yield from map(Caller, listed[:single])
        for group in range(groups):
            low, high = len(grouped) * group // groups, len(grouped) * (group + 1) // groups
            yield Caller(_mean(grouped[low:high]), high - low)
        yield from _tail(rest, others, strata, _first(hour, rest, totals, others), len(listed))

    return Replayed(len(listed) + others, found(), single + groups + strata)


def totals_of(offered: Sequence[int]) -> list[int]:
    """Return the hits in each of ``BANDS``."""
    return [sum(offered[band.start : band.stop]) for band in BANDS]


def listed_shares(hour: Hour, totals: Sequence[int]) -> tuple[list[Shares], Shares]:
    """Return the shares of the listed keys, busiest first, and those of all other keys together."""
    keys = sorted((key for key in hour.keys if key.hour > 0 or key.minute > 0), key=lambda key: -key.hour)
    columns: list[list[float]] = []
    rest: list[float] = []
    for number, total in enumerate(totals):
        hits = [key.bands[number] for key in keys]
        if not sum(hits):
            hits = [key.hour for key in keys]  # nothing is known of this band: as in the hour
        if not keys:
            left, whole = 1.0, 1.0
        elif hour.others == 0 or sum(hits) >= total:
            left, whole = 0.0, float(sum(hits))
        else:
            left, whole = 1 - sum(hits) / total, float(total)
        columns.append([each / whole if whole else 0.0 for each in hits])
        rest.append(left)
    return list(zip(*columns, strict=True)), (rest[0], rest[1], rest[2])


def _mean(group: Sequence[Shares]) -> Shares:
    old, middle, new = (sum(column) / len(group) for column in zip(*group, strict=True))
    return old, middle, new


def _first(hour: Hour, rest: Shares, totals: Sequence[int], others: int) -> float:
    """Return how many times the hits of the least busy listed key all others have; ``others`` at most."""
    hits = sum(total * share for total, share in zip(totals, rest, strict=True))
    least = min((key.hour for key in hour.keys if key.hour), default=0)
    return min(hits / least, others) if least else others


def _tail(rest: Shares, others: int, strata: int, worth: float, listed: int) -> Iterator[Caller]:
    """Yield callers for the keys that are not listed.

    Their hits fall as a power of their rank from those of the least busy listed key on (Zipf's law), as steeply as
    makes their sum right: equal hits for all would hide the busiest of them.
    """
    steep = _steepness(others, worth, listed + 1)
    whole = _sum(others, listed + 1, steep) if others else 1.0
    for stratum in range(strata):
        low, high = others * stratum / strata, others * (stratum + 1) / strata
        part = (_sum(high, listed + 1, steep) - _sum(low, listed + 1, steep)) / whole / (high - low)
        yield Caller((rest[0] * part, rest[1] * part, rest[2] * part), high - low)


def _steepness(others: int, worth: float, first: int) -> float:
    """Return the exponent with which the hits of ``others`` keys add up to ``worth`` times those of the first."""
    low, high = 0.0, STEEPEST
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _sum(others, first, middle) > worth else (low, middle)
    return low


def _sum(keys: float, first: int, steep: float) -> float:
    """Return the sum of ``(rank / first) ** -steep`` over this many ranks from ``first`` on, as an integral."""
    ratio = (first + keys) / first
    flat = 1 - steep
    return first * log(ratio) if abs(flat) < 1e-9 else first * (ratio**flat - 1) / flat
