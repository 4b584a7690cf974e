"""The new-key cap: past a rate of new keys, new keys of a limit share one counter, so a flood cannot fill the store.

Each new key is a new counter. A client that can choose keys (addresses, header values) could fill the store with
them, and evict or slow down the counters of other clients. Recently seen keys are never subject to the cap.

Recently seen keys are tracked in a 16 MiB table of 8-bit ages indexed by hash (CLOCK, second chance): nothing grows,
is copied or freed as keys arrive. A hash collision only means that a new key may be treated as known. A hand sweeps
the table every two minutes and ages young to old, and old to absent.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Final

from ratelimitd.algorithms import BINDING, OWN, POST_PAID, SECOND, SETTLES, SHARED
from ratelimitd.policy import in_one_unit

from .holding import origin, without
from .keys import overflow_key
from .rules import Rule
from .seam import Ask, Charge, Item, Plan

TABLE_SIZE: Final = 1 << 24
"""Entries of one byte: 16 MiB, a sixteenth of the default memory of counters. A million clients take 6 % of the
entries, so 6 % of a flood are treated as known. An endless flood at a cap of 10,000 per second takes 13 % itself."""

STEPS: Final = 256
"""Steps of a sweep: each covers 64 KiB and takes 0.03 ms."""

SWEEP: Final = 120 * SECOND
"""Duration of a sweep, µs. A key stays known for 2 to 4 minutes, enough for a client that polls once a minute. One of a
limit whose costs come afterwards stays so for 6 to 8: its settlement comes when the answer has ended, and twice the
longest usual one is 5 minutes (``Reserve.ttl``). An endless flood of such keys takes a quarter of the entries."""

NAMES: Final = 1_024
"""Cached names of overflow counters: one per limit that receives new keys at a time."""

YOUNG: Final = 2
LASTING: Final = 5
OLDER: Final = bytes((0, 0, 1, 1, 3, 4)) + bytes(250)
"""Translation table of a sweep: 2 (young) to 1 (old), 1 to 0 (absent). From 5 (lasting) on to 1, but not to 2: a key of
a limit whose costs come afterwards is made lasting again by each visit, and no visit looks twice at a young key."""


QUESTIONS: Final = (POST_PAID, POST_PAID | BINDING)
"""Flags of a cost of 0 that is a question; others are peeks and releases."""


class NewKeys:
    """Redirects new keys of a limit to one shared counter while too many of them arrive.

    The cap applies per limit and second in this process; all overrides of a domain are one limit, since a caller names
    their keys and windows. A redirected key is not recorded, so it is new again next time. Peeks and give-backs create
    no counter and are not redirected. A question creates none either, but what it lets pass is charged later: its key
    is recorded or redirected as a charge, so that the settlement meets the counter that was asked. A settlement or
    release whose lease names a hold goes to the counter that has it: such a lease proves that a question was accepted
    there. One without a lease goes by what is known of its key: it is no evidence of a question, since Envoy sends one
    for a denied request too, so it makes no more counters than a charge does. Limits in shadow mode are capped too.

    No key is redirected before the first sweep is complete: at startup every key is new, and by then each client that
    is frequent enough to stay known has been seen. Put this guard in front of an ``OverLimitCache``, which would
    otherwise cache denials under keys that it never looks up. Keep it across reloads.

    Args:
        per_second: NEW_KEYS_PER_SECOND.
        prefix: CACHE_KEY_PREFIX.
        size: entries of the table; a power of two, at least ``STEPS``.

    Attributes:
        redirected: charges that were redirected to a shared counter.
    """

    def __init__(self, per_second: int, prefix: bytes, size: int = TABLE_SIZE) -> None:
        self.redirected = 0
        self._per_second = per_second
        self._name = lru_cache(NAMES)(partial(overflow_key, prefix))
        # Zero pages take no memory until they are written: an idle process uses none of the 16 MiB.
        self._ages = mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        self._mask = size - 1
        self._step = size // STEPS
        self._hand = 0
        self._swept = self._due = 0
        self._warm_up = STEPS + 1
        self._second = 0
        self._new_keys: dict[tuple[bytes, bytes, str], int] = {}

    def before(self, asks: Sequence[Ask], now: int) -> None:
        """Past the cap, replace the plan of each ask with new keys by one that charges the shared counter instead."""
        if not self._swept <= now < self._due:
            self._sweep(now)
        ages, mask = self._ages, self._mask
        for ask in asks:
            for charge in ask.plan.charges:
                age = ages[hash(charge.key) & mask]
                if age != YOUNG and (age != LASTING or (charge.hold is not None and charge.flags >= SETTLES)):
                    self._redirect(ask, now)
                    break

    def after(self, asks: Sequence[Ask], now: int) -> None:
        """Do nothing: keys are recorded in ``before``."""

    def _sweep(self, now: int) -> None:
        """Sweep one step. A late step is not caught up, or a pause would make known keys absent."""
        start = self._hand
        end = start + self._step
        ages = self._ages[start:end]
        aged = ages.translate(OLDER)
        if aged != ages:
            self._ages[start:end] = aged
        self._hand = end & self._mask
        self._swept, self._due = now, now + SWEEP // STEPS
        self._warm_up = max(0, self._warm_up - 1)

    def _redirect(self, ask: Ask, now: int) -> None:
        plan, ages = ask.plan, self._ages
        charges = list(plan.charges)
        redirected = 0
        for number, item in enumerate(plan.items):
            for index in range(item.first, item.last):
                charge, cost = charges[index], ask.costs[index]
                position = hash(charge.key) & self._mask
                fresh = YOUNG if charge.flags < POST_PAID else LASTING
                where = origin(plan, number, charge)
                if where != SHARED:
                    if not _visits(charge, cost, where):
                        continue
                    if where == OWN or ages[position]:
                        ages[position] = max(fresh, ages[position])
                        continue
                shared = self._shared(plan, item, charge, now, held=where == SHARED)
                if shared is None:
                    ages[position] = fresh
                else:
                    hold = shared.hold if shared.flags >= SETTLES else None
                    if hold is not None and any(other.key == shared.key for other in charges[:index]):
                        shared.hold = without(hold)
                    charges[index] = shared
                    redirected += 1
        if redirected:
            ask.plan = plan._replace(charges=tuple(charges))
            self.redirected += redirected

    def _shared(self, plan: Plan, item: Item, charge: Charge, now: int, *, held: bool) -> Charge | None:
        """Count a new key of a limit; past the cap, or if its hold is there, return a charge on the shared counter."""
        limit, rate = charge.limit, charge.limit.rate
        if item.found is None or rate is None:
            return None
        domain, place = plan.request.domain, item.found.place
        if not held and (self._warm_up or self._accepts((domain, place, limit.item), now)):
            return None
        rule = charge.rule
        if limit.unit_multiplier != 1 and item.found.overridden:
            # The caller chose the window; with a counter for each, the overflow itself would fill the store.
            unit, rate = in_one_unit(rate)
            limit = limit._replace(rate=rate, unit=unit, unit_multiplier=1)
            rule = Rule(limit, rule.binding, rule.tally, rule.near, rule.head)
            rule.switch = charge.rule.switch
        name = self._name(domain, place, rate.algorithm, rate.window, limit.item, charge.hold is not None)
        return Charge(rule, name, charge.flags, charge.hold)

    def _accepts(self, limit: tuple[bytes, bytes, str], now: int) -> bool:
        """Count a new key of a limit, unless it is past the cap."""
        second = now // SECOND
        if second != self._second:
            self._second, self._new_keys = second, {}
        seen = self._new_keys.get(limit, 0)
        if seen >= self._per_second:
            return False
        self._new_keys[limit] = seen + 1
        return True


def _visits(charge: Charge, cost: int, where: bytes) -> bool:
    """Whether a charge may change its counter or the holds of it, now or when it is settled."""
    if cost:
        return cost > 0
    hold = charge.hold
    return charge.flags in QUESTIONS or (hold is not None and (hold.newest or len(where) > 0))
