"""The rows of the tables of the service alone."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from bench.policy import KINDS, SIZES, SPREAD, kind_requests, policy, requests
from ratelimitd.algorithms import ALGORITHMS

LATER: Final = ("question", "settlement", "question that holds")
"""Kinds of requests of which Redis is asked too: their costs come afterwards."""

STORES: Final = {"memory": "memory", "redis": "Redis", "cluster": "Redis cluster of 3"}
"""Where counters are kept: by the name in ``--peer``, as in the tables."""


class Case(NamedTuple):
    """One row; the defaults are one descriptor of one hot key, one rule, counters in memory."""

    name: str
    store: str = "memory"
    descriptors: int = 1
    keys: int = 1
    rules: int = 1
    tls: bool = False
    algorithm: str = ""
    kind: str = ""

    @property
    def peers(self) -> bool:
        """Whether a peer with the policy of the bench can run this case."""
        return not (self.tls or self.algorithm or self.kind) and self.rules == 1

    def policy(self) -> str:
        """Return the policy of the case."""
        if self.kind:
            return KINDS[self.kind].policy(self.keys)
        return policy(self.rules, self.algorithm, self.descriptors)

    def requests(self) -> Iterator[bytes]:
        """Return the requests of the case; of one user among many rules, the one in the middle."""
        if self.kind:
            return kind_requests(KINDS[self.kind], self.keys)
        return requests(self.descriptors, self.keys, first=self.rules // 2 if self.keys == 1 else 0)


class Scale(NamedTuple):
    """How much to measure.

    Attributes:
        warm: seconds of load before each measurement.
        many: number of keys or rules of a large case.
        every: whether to measure each build; otherwise only the first one.
    """

    repeats: int = 3
    seconds: float = 3.0
    alone_seconds: float = 1.5
    warm: float = 0.5
    many: int = 100_000
    every: bool = True


QUICK: Final = Scale(repeats=1, seconds=0.5, alone_seconds=0.2, warm=0.2, many=2_000, every=False)


def main_rows(many: int) -> Sequence[Case]:
    """Return what users have: many keys, one to eight descriptors; and one hot key, the best that can be."""
    spread = [
        Case(f"{STORES[store]}, {_of(size, many)}", store=store, descriptors=size, keys=many)
        for store in ("memory", "redis")
        for size in SIZES
    ]
    hot = [Case(f"{STORES[store]}, one hot key", store=store) for store in ("memory", "redis")]
    return [
        *spread,
        *hot,
        Case(f"{STORES['cluster']}, {many:,} keys", store="cluster", keys=many),
        Case(f"memory, {many:,} rules, {many:,} keys", keys=many, rules=many),
        Case(f"memory, {many:,} rules, one hot key", rules=many),
    ]


def further_rows(many: int) -> Sequence[Case]:
    """Return rows that differ in one thing from "memory, 100,000 keys", and the algorithms.

    That one, and the same in Redis, are among them, for comparisons within a run.
    """
    return [
        Case(f"memory, {many:,} keys", keys=many),
        *(Case(f"memory, {many:,} keys, {kind}", keys=many, kind=kind) for kind in KINDS),
        Case(f"memory, {many:,} keys, TLS", keys=many, tls=True),
        Case(f"{STORES['cluster']}, {_of(3, many)}", store="cluster", descriptors=3, keys=many),
        Case(f"{STORES['cluster']}, one hot key", store="cluster"),
        Case(f"{STORES['redis']}, {many:,} keys", store="redis", keys=many),
        *(Case(f"{STORES['redis']}, {many:,} keys, {kind}", store="redis", keys=many, kind=kind) for kind in LATER),
        *(Case(f"memory, {SPREAD:,} keys, {name}", keys=SPREAD, algorithm=name) for name in ALGORITHMS),
    ]


def _of(descriptors: int, keys: int) -> str:
    return f"{keys:,} keys" if descriptors == 1 else f"{descriptors} descriptors, {keys:,} keys"
