"""Guards between planning and the store: the over-limit cache and the fallback."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from ratelimitd.algorithms import (
    CONCURRENT,
    NEVER,
    POST_PAID,
    SECOND,
    SETTLES,
    Decision,
    RateError,
    amount_bounds,
    concurrent_rate,
    is_by_holds,
    make_rate,
)
from ratelimitd.policy import Limit, OnStoreFailure

from .holding import resized
from .keys import is_overflow_key, safe_head
from .rules import Rule
from .seam import Ask, Charge, Failure, Plan, Remembered, Store

PART_BYTES: Final = 1 << 20
"""Size of a part of the over-limit cache: some 2,000 denials, which the resize of a dict copies in 0.2 ms."""

ENTRY_BYTES: Final = 470
"""Memory of one cached denial without its key, measured with tracemalloc; 140 of it only where the limit came with the
request."""

STATIC: Final = {OnStoreFailure.ALLOW: True, OnStoreFailure.DENY: False}
"""Failure policies that decide without a counter, and whether they allow."""

DENIED_FOR: Final = SECOND
"""Reset, µs, in a denial by ``on_store_failure: deny``: the shortest time that a status can show."""


ChargeFailed = Callable[[Ask, int, Failure, int], None]
"""Receives each failed charge: ask, index of the charge, failure, wall-clock µs."""


class Denial(NamedTuple):
    """A cached denial of this cost or more, valid from ``made`` until ``until`` (µs)."""

    limit: Limit
    cost: int
    made: int
    until: int
    reset: int


Refused = Callable[[Ask, Sequence[int], int], None]


def _ignore_refused(_ask: Ask, _indices: Sequence[int], _now: int) -> None:
    """Do nothing."""


class OverLimitCache:
    """Caches denials by counter, so that a flood over the limit does not load the store.

    A cached denial applies to the same cost or a larger one, until that cost could pass; a question asks for 1. Smaller
    costs, peeks, give-backs and settlements are passed to the store. Settlements leave a denial as it is, since usage
    only grew. A denial is dropped if the limit's numbers change, or if the clock steps back to before it was made.

    The denials are in parts by the hash of the key, since one dict of all would copy them in one step as it grows.

    Args:
        max_bytes: LOCAL_CACHE_SIZE_IN_BYTES; the oldest denials of a part are dropped first.
        refused: called with charges of an ask that a limit would have counted although it denies them: ask, indices,
            wall-clock µs.

    Attributes:
        lookups: charges that were looked for.
        hits: those that a cached denial decided.
        evicted: denials that made room for others.
    """

    def __init__(self, max_bytes: int, refused: Refused = _ignore_refused) -> None:
        self.lookups = 0
        self.hits = 0
        self.evicted = 0
        count = max(1, max_bytes // PART_BYTES)
        self._parts: list[OrderedDict[bytes, Denial]] = [OrderedDict() for _ in range(count)]
        self._bytes = [0] * count
        self._most = max_bytes // count
        self._refused = refused

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def before(self, asks: Sequence[Ask], now: int) -> None:
        """Deny charges that a cached denial covers."""
        for ask in asks:
            self.lookups += len(ask.plan.charges)
            for index, charge in enumerate(ask.plan.charges):
                denial = self._denial(charge.key)
                if denial is None or ask.outcomes[index] is not None:
                    continue
                cost, settles = ask.costs[index], charge.flags >= SETTLES
                if cost < 0 or (settles and cost == 0) or not _is_valid(denial, charge, now):
                    self._forget(charge.key)
                elif not settles and wanted(charge, cost) >= denial.cost:
                    self.hits += 1
                    ask.outcomes[index] = _remembered(denial, now)
                    charge.rule.tally.over_limit_with_local_cache += cost
                    if cost > 1 and charge.rule.upstreams:
                        self._refused(ask, (index,), now)

    def after(self, asks: Sequence[Ask], now: int) -> None:
        """Cache new denials."""
        for ask in asks:
            for index, outcome in enumerate(ask.outcomes):
                if isinstance(outcome, Decision) and not outcome.allowed and outcome.retry_after != NEVER:
                    if isinstance(outcome, Remembered):  # by this guard, or by a line of which no counter knows
                        continue
                    charge = ask.plan.charges[index]
                    if charge.hold is not None and _is_by_holds(charge, outcome, ask.costs[index]):
                        continue
                    if charge.flags < SETTLES and not (ask.atomic and _is_repeated(charge, ask.plan)):
                        self._remember(charge, wanted(charge, ask.costs[index]), outcome, now)

    def holds(self, charge: Charge, now: int) -> Denial | None:
        """Return the denial that ``before`` would apply, without any change to the cache."""
        denial = self._denial(charge.key)
        return denial if denial is not None and _is_valid(denial, charge, now) else None

    def forget(self, key: bytes) -> None:
        """Drop the cached denial of a counter, if there is one."""
        if self._denial(key) is not None:
            self._forget(key)

    def _denial(self, key: bytes) -> Denial | None:
        return self._parts[self._number(key)].get(key)

    def _number(self, key: bytes) -> int:
        """Return the number of the part that a key belongs to."""
        return hash(key) % len(self._parts)

    def _remember(self, charge: Charge, cost: int, decision: Decision, now: int) -> None:
        held = self._denial(charge.key)
        if held is not None:
            if held.until > now and held.cost <= cost and held.limit == charge.limit:
                return
            self._forget(charge.key)
        number = self._number(charge.key)
        part = self._parts[number]
        part[charge.key] = Denial(charge.limit, cost, now, now + decision.retry_after, now + decision.reset_after)
        self._bytes[number] += ENTRY_BYTES + len(charge.key)
        while self._bytes[number] > self._most:
            self._forget(next(iter(part)))
            self.evicted += 1

    def _forget(self, key: bytes) -> None:
        number = self._number(key)
        del self._parts[number][key]
        self._bytes[number] -= ENTRY_BYTES + len(key)


def wanted(charge: Charge, cost: int) -> int:
    """Return the cost that must fit for a charge to pass."""
    return cost if cost or charge.flags < POST_PAID else 1


def _is_by_holds(charge: Charge, decision: Decision, cost: int) -> bool:
    """Whether the holds of others alone refuse a charge: they turn over, and their sum does not tell when."""
    rate = charge.rule.rate
    return rate is not None and is_by_holds(rate, decision, wanted(charge, cost))


def _is_valid(denial: Denial, charge: Charge, now: int) -> bool:
    return denial.made <= now < denial.until and denial.limit == charge.limit


def _is_repeated(charge: Charge, plan: Plan) -> bool:
    """Whether an ask charges the counter twice: its denial may be due to its own charges, which were not applied."""
    return sum(other.key == charge.key for other in plan.charges) > 1


def _remembered(denial: Denial, now: int) -> Decision:
    rate = denial.limit.rate
    return Remembered(
        allowed=False,
        remaining=0,
        reset_after=denial.reset - now,
        retry_after=denial.until - now,
        before=0 if rate is None else rate.burst,
    )


def _forget_settlement(_ask: Ask, _index: int, _now: int) -> None:
    """Keep nothing."""


class Fallback:
    """Applies the limit's ``on_store_failure`` to a failure; no other code does.

    Args:
        local: store in this process, for ``local``.
        replicas: number of processes that share a limit; each enforces its share while the store is unavailable.
        failed: see ``ChargeFailed``; called for each failure, replaced or not.
        keep: called with each settlement that failed: ask, index, wall-clock µs.
    """

    def __init__(
        self,
        local: Store,
        replicas: int,
        failed: ChargeFailed,
        keep: Callable[[Ask, int, int], None] = _forget_settlement,
    ) -> None:
        self._local = local
        self._keep = keep
        self._replicas = replicas
        self._failed = failed

    def before(self, asks: Sequence[Ask], now: int) -> None:
        """Do nothing: this guard acts on failures only."""

    def after(self, asks: Sequence[Ask], now: int) -> None:
        """Replace each failure by a decision, unless its limit has ``on_store_failure: error``."""
        for ask in asks:
            failed = {index: outcome for index, outcome in enumerate(ask.outcomes) if isinstance(outcome, Failure)}
            if failed:
                ask.failures = failed
                local = [index for index, failure in failed.items() if not self._replaced(ask, index, failure, now)]
                if local:
                    self._charge_locally(ask, local, now)
                for index in failed:
                    charge = ask.plan.charges[index]
                    if charge.flags >= SETTLES and (ask.costs[index] > 0 or charge.hold is not None):
                        self._keep(ask, index, now)
            elif ask.failures:  # it releases holds that were taken here, while the store was away
                self._charge_locally(ask, list(ask.failures), now)

    def _replaced(self, ask: Ask, index: int, failure: Failure, now: int) -> bool:
        """Apply the limit's failure policy; return False if the local store must decide."""
        limit = ask.plan.charges[index].limit
        policy = limit.on_store_failure
        self._failed(ask, index, failure, now)
        if policy in STATIC:
            ask.outcomes[index] = _static_decision(limit, allowed=STATIC[policy])
        return policy is not OnStoreFailure.LOCAL

    def _charge_locally(self, ask: Ask, local: Sequence[int], now: int) -> None:
        """Charge this process's share of these limits, together if the ask is all or nothing."""
        again = Ask(Plan(shared(ask.plan, self._replicas)), ask.costs, atomic=ask.atomic)
        again.outcomes = [None if index in local else outcome for index, outcome in enumerate(ask.outcomes)]
        self._local.charge((again,), now, lambda _: None)
        ask.outcomes = again.outcomes


def _static_decision(limit: Limit, *, allowed: bool) -> Decision:
    rate = limit.rate
    capacity = 0 if rate is None else rate.burst
    if allowed:
        return Decision(allowed=True, remaining=capacity, reset_after=0, retry_after=0, before=0)
    return Decision(allowed=False, remaining=0, reset_after=DENIED_FOR, retry_after=DENIED_FOR, before=capacity)


def shared(plan: Plan, replicas: int) -> tuple[Charge, ...]:
    """Return the charges of a plan with this process's share of their limits, as the local store counts them.

    Their keys are safe, whatever they are in Redis: no other service shares the memory of this one.
    """
    keys = [charge.key for charge in plan.charges]
    for item in plan.items:
        for index in range(item.first, item.last):
            limit = plan.charges[index].limit
            if limit.upstream and not is_overflow_key(keys[index]):
                keys[index] = safe_head(b"", plan.request.domain, limit).key(item.entries)
    return tuple([_share_of(charge, key, plan.call, replicas) for charge, key in zip(plan.charges, keys, strict=True)])


def _share_of(charge: Charge, key: bytes, call: bytes, replicas: int) -> Charge:
    rule, hold = Rule(_share(charge.limit, replicas), charge.binding), charge.hold
    if hold is not None and rule.rate is not None:
        hold = resized(hold, call, amount_bounds(rule.rate.burst)[1])
    return Charge(rule, key, charge.flags, hold)


@lru_cache(maxsize=4096)
def _share(limit: Limit, replicas: int) -> Limit:
    """Return this process's share of a limit: at least 1, unless the limit is 0."""
    rate = limit.rate
    if rate is None or replicas <= 1 or rate.quota == 0:
        return limit
    quota = max(1, rate.quota // replicas)
    if rate.algorithm == CONCURRENT:
        return limit._replace(rate=concurrent_rate(quota, rate.window))
    burst = max(1, rate.burst // replicas) if rate.burst != rate.quota else None
    try:
        share = make_rate(rate.algorithm, quota, rate.window, burst, rate.count_rejected)
    except RateError:  # the share refills its burst too slowly to be counted exactly, so it has no burst
        share = make_rate(rate.algorithm, quota, rate.window)
    return limit._replace(rate=share)
