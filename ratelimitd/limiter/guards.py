"""What stands between planning and the store: the over-limit cache and the fallback."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from ratelimitd.algorithms import NEVER, SECOND, Decision, RateError, make_rate
from ratelimitd.policy import Limit, OnStoreFailure

from .seam import Ask, Charge, Failure, Plan, Store

ENTRY_BYTES: Final = 350
"""What one remembered denial takes beside its key, measured with sys.getsizeof."""

MADE_UP: Final = {OnStoreFailure.ALLOW: True, OnStoreFailure.DENY: False}
"""Policies that decide without a counter, and whether they allow."""

DENIED_FOR: Final = SECOND
"""µs a caller is told to wait when ``on_store_failure: deny`` denies: the least that a status can show."""


class Denial(NamedTuple):
    """A denial that is remembered: of this cost or more, from ``made`` until ``until`` (µs)."""

    limit: Limit
    cost: int
    made: int
    until: int
    reset: int


class OverLimitCache:
    """Remembers which counters denied what, so that a flood over the limit costs the store nothing.

    A remembered denial holds for the same cost or a larger one, and until that cost could pass; smaller costs, peeks
    and give-backs go by it. It is forgotten when the limit's numbers change or the clock steps back before it.

    Args:
        max_bytes: LOCAL_CACHE_SIZE_IN_BYTES; the oldest make room.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._denials: OrderedDict[bytes, Denial] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._denials)

    def before(self, asks: Sequence[Ask], now: int) -> None:
        """Settle charges that a remembered denial covers."""
        denials = self._denials
        if not denials:
            return
        for ask in asks:
            for index, charge in enumerate(ask.plan.charges):
                denial = denials.get(charge.key)
                if denial is None or ask.outcomes[index] is not None:
                    continue
                cost = ask.costs[index]
                if cost < 0 or not _stands(denial, charge, now):
                    self._forget(charge.key)
                elif cost >= denial.cost:
                    ask.outcomes[index] = _remembered(denial, now)
                    ask.plan.tallies[index].over_limit_with_local_cache += cost

    def after(self, asks: Sequence[Ask], now: int) -> None:
        """Remember new denials."""
        for ask in asks:
            for index, outcome in enumerate(ask.outcomes):
                if isinstance(outcome, Decision) and not outcome.allowed and outcome.retry_after != NEVER:
                    charge = ask.plan.charges[index]
                    if not (ask.atomic and _repeated(charge, ask.plan)):
                        self._remember(charge, ask.costs[index], outcome, now)

    def holds(self, charge: Charge, now: int) -> Denial | None:
        """Return the denial that ``before`` would go by, and change nothing."""
        denial = self._denials.get(charge.key)
        return denial if denial is not None and _stands(denial, charge, now) else None

    def forget(self, key: bytes) -> None:
        """Forget what is remembered of a counter, if anything is."""
        if key in self._denials:
            self._forget(key)

    def _remember(self, charge: Charge, cost: int, decision: Decision, now: int) -> None:
        held = self._denials.get(charge.key)
        if held is not None:
            if held.until > now and held.cost <= cost and held.limit == charge.limit:
                return
            self._forget(charge.key)
        self._denials[charge.key] = Denial(
            charge.limit, cost, now, now + decision.retry_after, now + decision.reset_after
        )
        self._bytes += ENTRY_BYTES + len(charge.key)
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._denials)))

    def _forget(self, key: bytes) -> None:
        del self._denials[key]
        self._bytes -= ENTRY_BYTES + len(key)


def _stands(denial: Denial, charge: Charge, now: int) -> bool:
    return denial.made <= now < denial.until and denial.limit == charge.limit


def _repeated(charge: Charge, plan: Plan) -> bool:
    """Whether an atomic ask names the counter twice: then a denial may come of its own charges, which were not kept."""
    return sum(other.key == charge.key for other in plan.charges) > 1


def _remembered(denial: Denial, now: int) -> Decision:
    rate = denial.limit.rate
    return Decision(
        allowed=False,
        remaining=0,
        reset_after=denial.reset - now,
        retry_after=denial.until - now,
        before=0 if rate is None else rate.burst,
    )


class Fallback:
    """Turns a failure into what the limit's ``on_store_failure`` says; the only place that does.

    Args:
        local: a store in this process, for ``local``.
        replicas: how many processes share a limit; each takes its part of it while the store is away.
        count: told the name of the policy for each failure it replaced or left.
    """

    def __init__(self, local: Store, replicas: int, count: Callable[[OnStoreFailure], None]) -> None:
        self._local = local
        self._replicas = replicas
        self._count = count

    def before(self, asks: Sequence[Ask], now: int) -> None:
        """Nothing: only failures concern it."""

    def after(self, asks: Sequence[Ask], now: int) -> None:
        """Replace each failure by a decision, unless its limit says ``error``."""
        for ask in asks:
            failed = [index for index, outcome in enumerate(ask.outcomes) if isinstance(outcome, Failure)]
            local = [index for index in failed if not self._replaced(ask, index)]
            if local:
                self._charge_locally(ask, local, now)

    def _replaced(self, ask: Ask, index: int) -> bool:
        """Settle a failure by what its limit says; False when the local store is to decide."""
        limit = ask.plan.charges[index].limit
        policy = limit.on_store_failure
        self._count(policy)
        if policy in MADE_UP:
            ask.outcomes[index] = _made_up(limit, allowed=MADE_UP[policy])
        return policy is not OnStoreFailure.LOCAL

    def _charge_locally(self, ask: Ask, local: Sequence[int], now: int) -> None:
        """Charge this process's share of these limits, together where the ask is all or nothing."""
        shares = [charge._replace(limit=_share(charge.limit, self._replicas)) for charge in ask.plan.charges]
        again = Ask(Plan(tuple(shares)), ask.costs, atomic=ask.atomic)
        again.outcomes = [None if index in local else outcome for index, outcome in enumerate(ask.outcomes)]
        self._local.charge((again,), now, lambda _: None)
        ask.outcomes = again.outcomes


def _made_up(limit: Limit, *, allowed: bool) -> Decision:
    rate = limit.rate
    capacity = 0 if rate is None else rate.burst
    if allowed:
        return Decision(allowed=True, remaining=capacity, reset_after=0, retry_after=0, before=0)
    return Decision(allowed=False, remaining=0, reset_after=DENIED_FOR, retry_after=DENIED_FOR, before=capacity)


@lru_cache(maxsize=4096)
def _share(limit: Limit, replicas: int) -> Limit:
    """Give this process its part of a limit, at least 1 of what is not 0."""
    rate = limit.rate
    if rate is None or replicas <= 1 or rate.quota == 0:
        return limit
    quota = max(1, rate.quota // replicas)
    burst = max(1, rate.burst // replicas) if rate.burst != rate.quota else None
    try:
        share = make_rate(rate.algorithm, quota, rate.window, burst, rate.count_rejected)
    except RateError:  # the share would refill its burst too slowly to be counted exactly, so it has none
        share = make_rate(rate.algorithm, quota, rate.window)
    return limit._replace(rate=share)
