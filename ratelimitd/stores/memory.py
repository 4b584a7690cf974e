"""Store with counters in this process, limited in bytes.

There are two tables: entries that currently deny, and all others. Evictions start with the others; otherwise a client
could evict its own denial by flooding the store with keys.
"""

from collections.abc import Sequence
from typing import Any, Final

from ratelimitd.algorithms import (
    CONCURRENT,
    Decision,
    Hold,
    HoldDecision,
    Holds,
    Rate,
    charge_with_holds,
    counter_key,
    look,
    take_step,
)
from ratelimitd.limiter import Ask, Charge, Done, Failure, FailureKind, holds_key, in_order, is_independent

from .rows import (
    EVICTION_SAMPLE,
    ROW,
    USAGE_STEPS,
    LargeRow,
    ShardedTable,
    StoredRow,
    counted_bytes,
    demoted,
    expiry_and_priority,
    make_row,
)

MAX_BYTES: Final = 256 << 20
"""Default limit: more than a million counters; containers of the service are usually given 512 MiB."""

SHARD_BYTES: Final = 1 << 20
"""Store size per dict: about 4,000 entries, which a resize copies in 0.2 ms."""

SWEEP_FROM: Final = 1 << 20
"""Store size from which on expired entries are removed; below, there is too little to reclaim."""

PROBES_PER_INSERT: Final = 4
"""Entries probed per new entry, so that a sweep is complete once new entries amount to a quarter of all."""

HASH_SHIFT: Final = 40
"""Bits of the hash that select the shard. A dict uses the low bits: keys that share those would collide in it."""

MISTYPED: Final = Failure(FailureKind.KEY, "the counter holds the state of another algorithm")

UNLIMITED: Final = Failure(FailureKind.PERMANENT, "an unlimited limit has no counter")


class MemoryStore:
    """A ``Store`` in this process; every ask is complete when ``charge`` returns.

    Attributes:
        bytes: estimated size of all entries.
        evictions: number of entries that were evicted for new ones before they expired.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        shards = 1 << max(4, (max_bytes // SHARD_BYTES).bit_length())
        self._mask = shards - 1
        self._passing = ShardedTable(shards)
        self._denying = ShardedTable(shards)
        self._max_bytes = max_bytes
        self._sweep_from = min(SWEEP_FROM, max_bytes // 2)
        self.bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return self._passing.count + self._denying.count

    def charge(self, asks: Sequence[Ask], now: int, done: Done) -> None:
        """Implement ``Store.charge``: charge one ask after the other; all asks of a call are one group."""
        for ask in asks:
            if ask.atomic:
                self._charge_atomically(ask, now)
                continue
            plan, outcomes = ask.plan, ask.outcomes
            if plan.mixed and len(outcomes) > 1:
                self._charge_each(ask, range(len(outcomes)), now)
                continue
            for index, charge in enumerate(plan.charges):
                if outcomes[index] is None:
                    outcomes[index] = self._charge_one(charge, ask.costs[index], now)
        done(asks)

    def _charge_each(self, ask: Ask, indices: Sequence[int], now: int) -> None:
        """Make the open ones of these charges, each by itself."""
        outcomes = ask.outcomes
        for index in in_order(ask, indices):
            if outcomes[index] is None:
                outcomes[index] = self._charge_one(ask.plan.charges[index], ask.costs[index], now)

    def _charge_one(self, charge: Charge, cost: int, now: int) -> Decision | Failure:
        rate = charge.rule.rate
        if rate is None:
            return UNLIMITED
        key = counter_key(charge.key, rate, now)
        shard = hash(key) >> HASH_SHIFT & self._mask
        state = self._load(shard, key)
        try:
            if charge.hold is None:
                state, decision = take_step(state, rate, cost, now, charge.flags)
            else:
                state, decision = self._step_held(charge, charge.hold, state, cost, now, charge.flags)
        except (TypeError, ValueError, AttributeError):
            return MISTYPED
        self._save(shard, key, state, decision, rate, now)
        return decision

    def _charge_atomically(self, ask: Ask, now: int) -> None:
        """Step all charges. Save the new states if no binding charge is denied, else peek for the allowed ones.

        Those that are made in any case come first, each by itself.
        """
        indices = range(len(ask.outcomes))
        if ask.plan.mixed:
            self._charge_each(ask, [index for index in indices if is_independent(ask, index)], now)
        running: Running = {}
        vetoed = any(vetoes(c, o) for c, o in zip(ask.plan.charges, ask.outcomes, strict=True))
        stepped: list[tuple[int, bytes, Rate]] = []
        for index in in_order(ask, indices):
            charge = ask.plan.charges[index]
            rate = charge.rule.rate
            if ask.outcomes[index] is not None or rate is None:
                continue
            name = counter_key(charge.key, rate, now)
            stepped_to = self._step(running, name, charge, ask.costs[index], now, charge.flags, charge.hold)
            ask.outcomes[index] = stepped_to
            vetoed = vetoed or vetoes(charge, stepped_to)
            stepped.append((index, name, rate))
        if not vetoed:
            for name, (state, rate, decision) in running.items():
                self._save(self._shard(name), name, state, decision, rate, now)
            return
        self._roll_back(ask, stepped, now)

    def _roll_back(self, ask: Ask, stepped: Sequence[tuple[int, bytes, Rate]], now: int) -> None:
        """Replace the outcome of charges that would have passed by that of a peek.

        A state moved after a step of the clock is saved anyway: otherwise a key with only vetoed asks would stay
        blocked. So are expired holds; those that were taken are released again.
        """
        for index, _, _ in stepped:
            self._release(ask.plan.charges[index], ask.outcomes[index], now)
        for index, name, rate in stepped:
            peeked: Running = {}
            charge = ask.plan.charges[index]
            hold = None if charge.hold is None else Hold(charge.hold.ttl)
            found = self._step(peeked, name, charge, 0, now, look(charge.flags), hold)
            outcome = ask.outcomes[index]
            if isinstance(outcome, Decision) and outcome.allowed:
                if isinstance(outcome, HoldDecision) and isinstance(found, HoldDecision):
                    found.expired = outcome.expired
                ask.outcomes[index] = found
            shard = self._shard(name)
            for state, _, decision in peeked.values():
                if state not in (None, self._load(shard, name)):
                    self._save(shard, name, state, decision, rate, now)

    def _step(
        self, running: "Running", name: bytes, charge: Charge, cost: int, now: int, flags: int, hold: Hold | None
    ) -> Decision | Failure:
        """Step from the state in ``running``, or else from the stored state; put the new state into ``running``."""
        rate = charge.rule.rate
        if rate is None:
            return UNLIMITED
        state = running[name][0] if name in running else self._load(self._shard(name), name)
        try:
            if hold is None:
                state, decision = take_step(state, rate, cost, now, flags)
            else:
                state, decision = self._step_held(charge, hold, state, cost, now, flags)
        except (TypeError, ValueError, AttributeError):
            return MISTYPED
        running[name] = state, rate, decision
        return decision

    def _step_held(
        self, charge: Charge, hold: Hold, state: Any, cost: int, now: int, flags: int
    ) -> tuple[Any, Decision]:
        """Step a counter with holds, which change and are stored at once."""
        key, rate = holds_key(charge.key), charge.rule.rate
        if rate is None:
            raise ValueError("an unlimited limit has no holds")
        holds = self._load(self._shard(key), key)
        if holds is None:
            holds = Holds()
        state, decision = charge_with_holds(state, holds, rate, cost, now, flags, hold)
        self._save_holds(key, holds, rate, now, denies=decision.remaining == 0 or not decision.allowed)
        return state, decision

    def _release(self, charge: Charge, outcome: object, now: int) -> None:
        """Release the hold that a charge has taken, unless a later charge of its ask has evicted it."""
        rate, hold, key = charge.rule.rate, charge.hold, holds_key(charge.key)
        if rate is None or hold is None or not isinstance(outcome, HoldDecision) or not outcome.moved:
            return
        holds = self._load(self._shard(key), key)
        if holds is not None:
            holds.release(hold.names)
            self._save_holds(key, holds, rate, now, denies=False)

    def _save_holds(self, key: bytes, holds: Holds, rate: Rate, now: int, *, denies: bool) -> None:
        """Store holds; among what denies, while they keep others from passing.

        So are all requests in progress, which nothing else remembers: a flood of keys evicts them last.
        """
        shard = self._shard(key)
        if not len(holds):
            if not self._remove(self._passing, shard, key):
                self._remove(self._denying, shard, key)
            return
        table, priority = self._passing, USAGE_STEPS * holds.held // max(rate.burst, 1)
        if denies:
            table, priority = self._denying, max(holds.first, now + 1)
        elif rate.algorithm == CONCURRENT:
            table, priority = self._denying, max(holds.last, now + 1)
        self._replace(table, shard, key, make_row(holds.last, priority, holds), now)

    def _shard(self, key: bytes) -> int:
        return hash(key) >> HASH_SHIFT & self._mask

    def _load(self, shard: int, key: bytes) -> Any:
        row = self._passing.shards[shard].get(key) or self._denying.shards[shard].get(key)
        if row is None:
            return None
        if isinstance(row, LargeRow):
            return row.state
        _, _, first, second, third = ROW.unpack(row)
        return first if third < 0 else (first, second, third)

    def _save(self, shard: int, key: bytes, state: Any, decision: Decision, rate: Rate, now: int) -> None:
        if state is None:
            if not self._remove(self._passing, shard, key):
                self._remove(self._denying, shard, key)
            return
        remaining, reset, retry = decision.remaining, decision.reset_after, decision.retry_after
        if retry > 0 or remaining == 0:
            table, priority = self._denying, now + (retry if retry > 0 else reset)
        else:
            table, priority = self._passing, USAGE_STEPS - remaining * USAGE_STEPS // rate.burst
        row = make_row(now + reset, priority, state)
        rows = table.shards[shard]
        if type(row) is bytes and type(rows.get(key)) is bytes:
            rows[key] = row
        else:
            self._replace(table, shard, key, row, now)

    def _replace(self, table: ShardedTable, shard: int, key: bytes, row: StoredRow, now: int) -> None:
        """Store a row that is new, has another size, or was in the other table."""
        known = self._remove(self._passing, shard, key) or self._remove(self._denying, shard, key)
        self._put(table, shard, key, row)
        if not known or self.bytes > self._max_bytes:
            self._reclaim(now)

    def _put(self, table: ShardedTable, shard: int, key: bytes, row: StoredRow) -> None:
        table.shards[shard][key] = row
        table.count += 1
        self.bytes += counted_bytes(key, row)

    def _remove(self, table: ShardedTable, shard: int, key: bytes) -> bool:
        row = table.shards[shard].pop(key, None)
        if row is None:
            return False
        self.bytes -= counted_bytes(key, row)
        table.count -= 1
        return True

    def _reclaim(self, now: int) -> None:
        """Probe a few entries of each table, then evict while the store is too large."""
        if self.bytes > self._sweep_from:
            for _ in range(PROBES_PER_INSERT):
                self._probe(self._passing, now)
                self._probe(self._denying, now)
        while self.bytes > self._max_bytes:
            self._evict(self._passing if self._passing.count else self._denying, now)

    def _probe(self, table: ShardedTable, now: int) -> tuple[int, bytes] | None:
        """Probe the next entry: drop it if expired, move it if it no longer denies, else return (priority, key)."""
        found = table.next()
        if found is None:
            return None
        key, row = found
        expiry, priority = expiry_and_priority(row)
        if expiry <= now:
            self._remove(table, self._shard(key), key)
        elif table is self._denying and priority <= now:
            self._remove(table, self._shard(key), key)
            self._put(self._passing, self._shard(key), key, demoted(row, now))
        else:
            return priority, key
        return None

    def _evict(self, table: ShardedTable, now: int) -> None:
        """Drop the expired ones of the next few entries; if there are none, drop the one of lowest priority."""
        before = self.bytes
        sample = [seen for seen in (self._probe(table, now) for _ in range(EVICTION_SAMPLE)) if seen is not None]
        if sample and self.bytes >= before:
            _, key = min(sample)
            self.evictions += self._remove(table, self._shard(key), key)


def vetoes(charge: Charge, outcome: object) -> bool:
    """Return whether this outcome vetoes the other charges of an atomic ask."""
    return charge.binding and isinstance(outcome, Decision) and not outcome.allowed


Running = dict[bytes, tuple[Any, Rate, Decision]]
"""The states of the counters of an atomic ask, before they are stored."""
