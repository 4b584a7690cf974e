"""Counters in this process, bounded in bytes.

An entry is a dict item of bytes to bytes, which the garbage collector never looks at, however many there are.
Entries lie in many small dicts, so that no growth of one and no look through one takes long. Two tiers hold
them: those that deny at this moment, and all others. Room is made among the others first, or a caller could lift
his own limit by flooding the store with keys.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

from ratelimitd.algorithms import ALGORITHMS, Decision, Log, Rate, counter_key
from ratelimitd.limiter import Ask, Charge, Done, Failure, FailureKind

MAX_BYTES: Final = 256 << 20
"""Default bound: a million counters and some, in a service whose container is usually given 512 MiB."""

ENTRY_BYTES: Final = 200
"""What an entry takes beside the bytes of its key: both bytes objects and its share of a dict.

Measured with tracemalloc: 136 to 155 as dicts fill, 182 after many evictions; and 16 for how malloc rounds up.
``tests/stores/test_memory.py`` measures it again.
"""

LOG_BYTES: Final = 88
"""What each charge in a sliding window's log takes: two int objects, and two places in lists that grow by 1/8."""

SHARD_BYTES: Final = 1 << 20
"""One dict for each of these: some 4,000 entries, which a resize copies in 0.2 ms."""

SWEEP_FROM: Final = 1 << 20
"""Below this, expired entries stay: there is nothing worth reclaiming."""

PROBES: Final = 4
"""Entries looked at for each new one: a sweep is over after a quarter of the entries came anew."""

SAMPLE: Final = 8
"""Entries of which the least worth goes; from 5 on, approximated LRU in Redis is close to the exact one."""

SHARES: Final = 1_000
"""Parts of a limit that ``worth`` tells apart."""

HASH_SHIFT: Final = 40
"""Which bits of a hash choose the shard. The low ones place a key within a dict: keys sharing those would collide."""

ROW: Final = Struct("=5q")
"""expiry, worth, and a state of three whole numbers; a state of one has -1 as the others."""

MISTYPED: Final = Failure(FailureKind.KEY, "the counter holds the state of another algorithm")

UNLIMITED: Final = Failure(FailureKind.PERMANENT, "an unlimited limit has no counter")


class Held(NamedTuple):
    """The row of a state that is more than three whole numbers: a log. ``bytes`` is what it was counted as."""

    expiry: int
    worth: int
    state: Log
    bytes: int


Row = bytes | Held


def row_of(expiry: int, worth: int, state: Any) -> Row:
    """Return the row for a state.

    ``expiry`` is when (µs) the state means nothing. ``worth`` is until when it denies, or else what part of the
    limit is used, of ``SHARES``.
    """
    if type(state) is tuple:
        return ROW.pack(expiry, worth, *state)
    if type(state) is int:
        return ROW.pack(expiry, worth, state, -1, -1)
    return Held(expiry, worth, state, LOG_BYTES * len(state.times))


def demoted(row: Row, now: int) -> Row:
    """Return the row of a limit that no longer denies: its use is taken to have fallen evenly since it did."""
    expiry, until = head_of(row)
    share = SHARES * (expiry - now) // max(expiry - until, 1)
    if isinstance(row, Held):
        return row._replace(worth=share)
    _, _, *state = ROW.unpack(row)
    return ROW.pack(expiry, share, *state)


def head_of(row: Row) -> tuple[int, int]:
    """Return expiry and worth."""
    expiry, worth, *_ = ROW.unpack(row) if type(row) is bytes else row
    return expiry, worth


def weight(key: bytes, row: Row) -> int:
    """Return the bytes an entry is counted as."""
    return ENTRY_BYTES + len(key) + (row.bytes if isinstance(row, Held) else 0)


class Tier:
    """Entries in shards, and a hand that goes round all of them."""

    def __init__(self, shards: int) -> None:
        self.shards: list[dict[bytes, Row]] = [{} for _ in range(shards)]
        self.count = 0
        self._shard = self.shards[0]
        self._place = 0
        self._ahead: list[bytes] = []

    def next(self) -> tuple[bytes, Row] | None:
        """Return the entry under the hand and move on; None when the tier is empty."""
        while self.count:
            while self._ahead:
                key = self._ahead.pop()
                row = self._shard.get(key)
                if row is not None:
                    return key, row
            self._place = (self._place + 1) % len(self.shards)
            self._shard = self.shards[self._place]
            self._ahead = spread(list(self._shard))
        return None


def spread(keys: list[bytes]) -> list[bytes]:
    """Return the keys in an order in which any ``SAMPLE`` neighbours came at very different times."""
    stride = max(1, len(keys) // SAMPLE)
    return [key for start in range(stride) for key in keys[start::stride]]


class MemoryStore:
    """A ``Store`` in this process; every ask is done before ``charge`` returns.

    Attributes:
        bytes: what the entries take, estimated.
        evictions: entries that still meant something and had to go for new ones.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        shards = 1 << max(4, (max_bytes // SHARD_BYTES).bit_length())
        self._mask = shards - 1
        self._open = Tier(shards)
        self._denying = Tier(shards)
        self._max_bytes = max_bytes
        self._sweep_from = min(SWEEP_FROM, max_bytes // 2)
        self.bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return self._open.count + self._denying.count

    def charge(self, asks: Sequence[Ask], now: int, done: Done) -> None:
        """See ``Store``: ask by ask, the asks of a call are one group."""
        for ask in asks:
            if ask.atomic:
                self._charge_together(ask, now)
                continue
            outcomes = ask.outcomes
            for index, charge in enumerate(ask.plan.charges):
                if outcomes[index] is None:
                    outcomes[index] = self._charge_alone(charge, ask.costs[index], now)
        done(asks)

    def _charge_alone(self, charge: Charge, cost: int, now: int) -> Decision | Failure:
        rate = charge.limit.rate
        if rate is None:
            return UNLIMITED
        key = counter_key(charge.key, rate, now)
        place = hash(key) >> HASH_SHIFT & self._mask
        state = self._load(place, key)
        try:
            state, decision = ALGORITHMS[rate.algorithm].step(state, rate, cost, now)
        except (TypeError, ValueError, AttributeError):
            return MISTYPED
        self._save(place, key, state, decision, rate, now)
        return decision

    def _charge_together(self, ask: Ask, now: int) -> None:
        """Step all charges; keep the new states if no binding one is denied, else peek where they were allowed."""
        running: dict[bytes, tuple[Any, Rate, Decision]] = {}
        vetoed = any(veto(c, o) for c, o in zip(ask.plan.charges, ask.outcomes, strict=True))
        stepped: list[tuple[int, bytes, Rate]] = []
        for index, charge in enumerate(ask.plan.charges):
            rate = charge.limit.rate
            if ask.outcomes[index] is not None or rate is None:
                continue
            name = counter_key(charge.key, rate, now)
            stepped_to = self._step_on(running, name, rate, ask.costs[index], now)
            ask.outcomes[index] = stepped_to
            vetoed = vetoed or veto(charge, stepped_to)
            stepped.append((index, name, rate))
        if not vetoed:
            for name, (state, rate, decision) in running.items():
                self._save(self._place(name), name, state, decision, rate, now)
            return
        self._take_back(ask, stepped, now)

    def _take_back(self, ask: Ask, stepped: Sequence[tuple[int, bytes, Rate]], now: int) -> None:
        """Answer charges that would have passed by a peek.

        What a step of the clock moved stays moved, or a key that is asked in vain would stay shut.
        """
        for index, name, rate in stepped:
            peeked: dict[bytes, tuple[Any, Rate, Decision]] = {}
            found = self._step_on(peeked, name, rate, 0, now)
            outcome = ask.outcomes[index]
            if isinstance(outcome, Decision) and outcome.allowed:
                ask.outcomes[index] = found
            place = self._place(name)
            for state, _, decision in peeked.values():
                if state not in (None, self._load(place, name)):
                    self._save(place, name, state, decision, rate, now)

    def _step_on(
        self, running: dict[bytes, tuple[Any, Rate, Decision]], name: bytes, rate: Rate, cost: int, now: int
    ) -> Decision | Failure:
        """Step from the running state of an ask, else from the stored one, and leave the new one in ``running``."""
        state = running[name][0] if name in running else self._load(self._place(name), name)
        try:
            state, decision = ALGORITHMS[rate.algorithm].step(state, rate, cost, now)
        except (TypeError, ValueError, AttributeError):
            return MISTYPED
        running[name] = state, rate, decision
        return decision

    def _place(self, key: bytes) -> int:
        return hash(key) >> HASH_SHIFT & self._mask

    def _load(self, place: int, key: bytes) -> Any:
        row = self._open.shards[place].get(key) or self._denying.shards[place].get(key)
        if row is None:
            return None
        if isinstance(row, Held):
            return row.state
        _, _, first, second, third = ROW.unpack(row)
        return first if third < 0 else (first, second, third)

    def _save(self, place: int, key: bytes, state: Any, decision: Decision, rate: Rate, now: int) -> None:
        if state is None:
            if not self._forget(self._open, place, key):
                self._forget(self._denying, place, key)
            return
        _, remaining, reset, retry, _ = decision
        if retry > 0 or remaining == 0:
            tier, worth = self._denying, now + (retry if retry > 0 else reset)
        else:
            tier, worth = self._open, SHARES - remaining * SHARES // rate.burst
        row = row_of(now + reset, worth, state)
        shard = tier.shards[place]
        if type(row) is bytes and type(shard.get(key)) is bytes:
            shard[key] = row
        else:
            self._replace(tier, place, key, row, now)

    def _replace(self, tier: Tier, place: int, key: bytes, row: Row, now: int) -> None:
        """Put a row that is new, of another size, or in the other tier."""
        known = self._forget(self._open, place, key) or self._forget(self._denying, place, key)
        self._put(tier, place, key, row)
        if not known or self.bytes > self._max_bytes:
            self._make_room(now)

    def _put(self, tier: Tier, place: int, key: bytes, row: Row) -> None:
        tier.shards[place][key] = row
        tier.count += 1
        self.bytes += weight(key, row)

    def _forget(self, tier: Tier, place: int, key: bytes) -> bool:
        row = tier.shards[place].pop(key, None)
        if row is None:
            return False
        self.bytes -= weight(key, row)
        tier.count -= 1
        return True

    def _make_room(self, now: int) -> None:
        """Take a few steps round each tier, then evict while there is too much."""
        if self.bytes > self._sweep_from:
            for _ in range(PROBES):
                self._probe(self._open, now)
                self._probe(self._denying, now)
        while self.bytes > self._max_bytes:
            self._evict(self._open if self._open.count else self._denying, now)

    def _probe(self, tier: Tier, now: int) -> tuple[int, bytes] | None:
        """Look at the next entry: drop it if expired, move it if it denies no more, else return (worth, key)."""
        found = tier.next()
        if found is None:
            return None
        key, row = found
        expiry, worth = head_of(row)
        if expiry <= now:
            self._forget(tier, self._place(key), key)
        elif tier is self._denying and worth <= now:
            self._forget(tier, self._place(key), key)
            self._put(self._open, self._place(key), key, demoted(row, now))
        else:
            return worth, key
        return None

    def _evict(self, tier: Tier, now: int) -> None:
        """Drop what is expired of the next few entries; if nothing is, drop the one of least worth."""
        before = self.bytes
        sample = [seen for seen in (self._probe(tier, now) for _ in range(SAMPLE)) if seen is not None]
        if sample and self.bytes >= before:
            _, key = min(sample)
            self.evictions += self._forget(tier, self._place(key), key)


def veto(charge: Charge, outcome: object) -> bool:
    """Return whether this outcome vetoes the other charges of an atomic ask."""
    return charge.binding and isinstance(outcome, Decision) and not outcome.allowed
