"""The model: what the engine's watcher sees, and what a tick makes of it. Time is an argument, wall-clock µs."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from ratelimitd.algorithms import SECOND, SETTLES, Decision
from ratelimitd.limiter import (
    ALWAYS,
    ENFORCED,
    Ask,
    Charge,
    Modes,
    Tallies,
    Tally,
    denied_by,
    is_overflow_key,
    is_vetoed,
    over_of,
)
from ratelimitd.policy import OVERRIDE, amount_in_words, is_override, path_of

from .budget import Budget
from .denials import DENIAL_BYTES, DENIALS_MOST, Denials, Place
from .history import NONE, RING_BYTES, STEPS, Counts, History, added, since
from .keys import HALF_LIFE, KEY_BYTES, KEYS_LEAST, KEYS_MOST, Key, short
from .pace import OF_ALL, Chance, Pace, weight
from .shown import Parts, derived, parts_of
from .tracked import LIMIT_BYTES, Tracked, counts_of
from .windows import STEP

DENIALS_PART: Final = 16
"""Part of the memory that denials have for themselves, else limits and keys would leave them none: 500 of 1 KiB by
default."""

ATTEMPTS: Final = 8
"""Limits that are trimmed at once to make room for another one: 0.1 ms. It has another chance with its next hit."""

SLICE: Final = 500
"""Limits or tallies of a slice of a tick: 1 ms interpreted."""

DRAWN: Final = 5_000
"""Tallies whose thresholds a tick draws again at most, if their gap has become less: 1 ms. So all of 100,000 have it
after twenty seconds; those of tracked limits at once."""

SUMMED: Final = 1_000
"""Tallies up to which each tick adds up their counts: 1 ms. With more, each step does."""

SCALED: Final = 256.0
"""Half-lives after which counts are scaled: 43 hours. A float has room for 1,023."""

OVERRIDES_MOST: Final = 64
"""Overrides, by their entry keys, that have a row of their own: a mesh has few, and a caller may send any."""

OVERRIDE_MOST: Final = 256
"""Bytes of the entry keys of an override with a row of its own: more than keys in a configuration of Envoy have."""

OTHERS: Final = OVERRIDE + path_of([b"(other overrides)"])
"""The path of the row of all other overrides of a domain."""

TYPICAL_KEY: Final = KEY_BYTES + 400
"""A key with its name and parts, for dividing the memory among limits."""

Decided = tuple[int, int, int]
"""Requests that passed, were over limit, or failed, since the start."""


class Live:
    """What happens now; a ``limiter.Watcher``.

    Args:
        max_bytes: LIVE_MAX_BYTES.
        secret: IDENTITY_SECRET, or a random text of the process.
        started: wall-clock µs.
        tallies: those of the engine.
        modes: SHADOW_MODE and QUOTA_MODE.

    Attributes:
        key: key of the hashes that are shown, see ``shown_descriptor``.
        step: number of the step that is now, from 0; it ends at ``ends``, in wall-clock µs.
        totals, last, history: counts of all limits together, as of the last tick: since the start, of the last step,
            and of the last hour.
        decided, decided_last: requests since the start, as of the last tick; those of the last step.
        denials: recent ones.
        budget: the memory that is used.
        fault: an error of what the engine shows, until its edge has taken it; None: there was none.
    """

    def __init__(self, max_bytes: int, secret: bytes, started: int, tallies: Tallies, modes: Modes = ENFORCED) -> None:
        self.key = derived(secret)
        self.started = started
        self.step = 0
        self.fault: Exception | None = None
        self.totals = self.last = NONE
        self.history = History()
        self.decided: Decided = (0, 0, 0)
        self.decided_last: Decided = (0, 0, 0)
        self.budget = Budget(max_bytes)
        part = max_bytes // DENIALS_PART
        self.budget.take(part)
        self.denials = Denials(max(1, min(DENIALS_MOST, part // DENIAL_BYTES)), Budget(part))
        self.budget.take(min(max_bytes - part, len(NONE) * RING_BYTES))
        self.limits: dict[Place, Tracked] = {}
        self.pace, self.denied_pace = Pace(OF_ALL), Pace(OF_ALL)
        self._tallies = tallies
        self.modes = modes
        self._chance = Chance(int.from_bytes(self.key[:4], "big"))
        self._overrides = 0
        self._hand: deque[Tracked] = deque()
        self._wall = started // STEP
        self._origin = started
        self._summed = self._totals_before = NONE
        self._decided_before: Decided = (0, 0, 0)
        self._drawn = 0

    @property
    def ends(self) -> int:
        """Wall-clock µs of the end of the last complete step."""
        return self._wall * STEP

    @property
    def keys(self) -> int:
        """Keys that are listed."""
        return sum([len(tracked.keys.listed) for tracked in self.limits.values()])

    # What the engine shows

    def hits(self, ask: Ask, index: int, now: int) -> None:
        """See a charge; see ``Watcher``."""
        charge, cost = ask.plan.charges[index], ask.costs[index]
        tally, second = charge.rule.tally, now // SECOND
        seen = weight(tally.total_hits, tally.hits_due, tally.hits_gap)
        self.pace.sampled(second)
        gap = self.pace.gap
        position = _position(ask, index)
        tracked = self._tracked(ask, position, charge, cost, now)
        if tracked is not None:
            tracked.hits.sampled(second)
            gap = max(gap, tracked.hits.gap)
            tracked.traffic = self.step
            tracked.seen(_counts(ask, index, seen))
            key = self._key(tracked, ask, position, charge, seen, now)
            if key is not None:
                key.windows.add(self.step, seen, 0)
                _decided(key, ask, index, now)
        tally.hits_gap = gap
        tally.hits_due = tally.total_hits + self._chance.distance(gap)

    def denied(self, ask: Ask, index: int, now: int) -> None:
        """See a denied charge, or a question that was denied; see ``Watcher``."""
        charge, cost = ask.plan.charges[index], ask.costs[index]
        tally, second = charge.rule.tally, now // SECOND
        counts = cost > 0
        self.denied_pace.sampled(second)
        position = _position(ask, index)
        tracked = self._tracked(ask, position, charge, cost, now)
        seen, gap = 0, self.denied_pace.gap
        if counts:
            seen = weight(tally.over_limit, tally.denied_due, tally.denied_gap)
        if tracked is not None:
            tracked.denied.sampled(second)
            gap = max(gap, tracked.denied.gap)
            tracked.traffic = self.step
            if counts:
                shadow = charge.rule.limit.shadow_mode or self.modes.shadow
                tracked.seen(Counts(shadowed=seen) if shadow else Counts(denied=seen))
                key = self._key(tracked, ask, position, charge, seen, now)
                if key is not None:
                    key.windows.add(self.step, 0, seen)
            if counts or gap == 1:
                self._keep(tracked, ask, index, position, seen, now)
        if counts:
            tally.denied_gap = gap
            tally.denied_due = tally.over_limit + self._chance.distance(gap)

    def failed(self, error: Exception) -> None:
        """Keep an error for the edge; see ``Watcher``."""
        self.fault = error

    def _tracked(self, ask: Ask, position: int, charge: Charge, cost: int, now: int) -> Tracked | None:
        """Return the limit of a charge; None of a settlement that waited, or without memory for another limit."""
        found = ask.plan.items[position].found if position >= 0 else None
        if found is None:
            return None
        rule = charge.rule
        place = self._place(ask.plan.request.domain, found.path, rule.limit.item)
        tracked = self.limits.get(place)
        if tracked is None:
            size = LIMIT_BYTES + 2 * len(place[1])
            if not self._room(size):
                return None
            shadow = self.modes.shadow
            tracked = Tracked(place, rule.limit, self.budget, self.step, now, size, shadow)
            self.limits[place] = tracked
            self._overrides += is_override(place[1])
            self._hand.append(tracked)
            if rule.tally.policy != ALWAYS:
                tracked.begin(rule.tally, cost)
        elif tracked.tally is not None and tracked.tally is not rule.tally:
            if rule.tally.policy == ALWAYS:
                tracked.sample()
            else:
                tracked.begin(rule.tally, cost)
        tracked.limit = rule.limit
        return tracked

    def _place(self, domain: bytes, path: bytes, item: str) -> Place:
        """Return the place of a limit: one for all overrides past their number, since a caller names their keys."""
        place = (domain, path, item)
        if not is_override(path) or place in self.limits:
            return place
        fits = self._overrides < OVERRIDES_MOST and len(path) <= OVERRIDE_MOST
        return place if fits else (domain, OTHERS, item)

    def _key(self, tracked: Tracked, ask: Ask, position: int, charge: Charge, seen: int, now: int) -> Key | None:
        """Count a key of a limit."""
        name, amount = short(charge.key), seen * self.growth(now)
        key = tracked.keys.add(name, amount, self.step)
        if key is None:
            parts = self._parts(ask, position, charge)
            key = tracked.keys.enter(name, parts, amount, self.step, self.places)
        if key is not None:
            key.seen = now
        return key

    def _parts(self, ask: Ask, position: int, charge: Charge) -> Parts:
        """Return what is shown of a key; nothing of the counter that new keys share."""
        return () if is_overflow_key(charge.key) else parts_of(self.key, ask.plan, position)

    def _keep(self, tracked: Tracked, ask: Ask, index: int, position: int, seen: int, now: int) -> None:
        """Keep a denial."""
        charge, cost, outcome = ask.plan.charges[index], ask.costs[index], ask.outcomes[index]
        if not isinstance(outcome, Decision) or outcome.allowed or charge.flags >= SETTLES:
            return  # a settlement past its limit was recorded
        name = short(charge.key)
        denial = self.denials.of(tracked.place, name, now // SECOND)
        if denial is None:
            parts = self._parts(ask, position, charge)
            reason = str(denied_by(ask, index, quota=self.modes.quota))
            denial = self.denials.add(name, tracked.place, parts, reason)
            if denial is None:
                return
            denial.shadow = charge.rule.limit.shadow_mode or self.modes.shadow
            denial.summary = amount_in_words(charge.rule.limit)
            rate = charge.rule.rate
            denial.burst = rate.burst if rate is not None and rate.burst != rate.quota else None
        over = over_of(charge, outcome, cost)
        denial.time, denial.cost, denial.used = now, cost, outcome.before
        denial.count += max(1, round(seen / over)) if over else 1
        denial.reset_after = outcome.retry_after

    # Memory

    @property
    def places(self) -> int:
        """Places that each limit has for keys, so that all limits have as many."""
        left = self.budget.most - len(self.limits) * (LIMIT_BYTES + RING_BYTES)
        return max(KEYS_LEAST, min(KEYS_MOST, left // TYPICAL_KEY // max(1, len(self.limits))))

    def growth(self, now: int) -> float:
        """Return how much a hit counts now, in units of one at the origin."""
        halves = (now - self._origin) / HALF_LIFE  # the clock may have stepped by years, and no tick has come yet
        return float(2.0 ** max(-SCALED, min(SCALED, halves)))

    def _room(self, size: int) -> bool:
        """Take memory for another limit, if need be that of keys past their share, or of limits without traffic."""
        for _ in range(min(ATTEMPTS, len(self._hand))):
            if self.budget.take(size):
                return True
            tracked = self._hand.popleft()
            if self._idle(tracked):
                self._drop(tracked)
            else:
                tracked.keys.trim(self.places, self.step)
                self._hand.append(tracked)
        return self.budget.take(size)

    def _idle(self, tracked: Tracked) -> bool:
        return self.step - tracked.traffic >= STEPS

    def _drop(self, tracked: Tracked) -> None:
        if self.limits.get(tracked.place) is tracked:  # else it made room for another between two slices of a tick
            del self.limits[tracked.place]
            self._overrides -= is_override(tracked.place[1])
            tracked.clear()

    # A tick

    def tick(self, now: int, decided: Decided) -> Iterator[None]:
        """Bring the model up to date, in slices; call it every second. ``decided``: the engine's, since the start."""
        second, wall = now // SECOND, now // STEP
        self.pace.ease(second)
        self.denied_pace.ease(second)
        yield from self._draw(second)
        self.decided = decided
        if wall > self._wall or self._tallies.places <= SUMMED:
            yield from self._sum()
        if wall > self._wall:
            yield from self._end(wall - self._wall)
        self._wall = wall  # also after a step back of the clock: the time of all steps is another one then
        if now - self._origin > SCALED * HALF_LIFE or now < self._origin:
            yield from self._scale(now)

    def _draw(self, second: int) -> Iterator[None]:
        """Draw thresholds again whose gap has become less, since the next hit that is seen may be far away."""
        for number, tracked in enumerate(list(self.limits.values()), 1):
            tracked.hits.ease(second)
            tracked.denied.ease(second)
            if tracked.tally is not None:
                hits, denied = tracked.hits.gap, tracked.denied.gap
                self._draw_one(tracked.tally, max(hits, self.pace.gap), max(denied, self.denied_pace.gap))
            if number % SLICE == 0:
                yield
        for tally in self._tallies.part(self._drawn, DRAWN):
            hits, denied = tally.hits_gap >> 1, tally.denied_gap >> 1
            self._draw_one(tally, max(hits, self.pace.gap), max(denied, self.denied_pace.gap))
        self._drawn = self._drawn + DRAWN if self._drawn + DRAWN < self._tallies.places else 0

    def _draw_one(self, tally: Tally, hits: int, denied: int) -> None:
        if tally.hits_gap > hits:
            tally.hits_gap = hits
            tally.hits_due = tally.total_hits + self._chance.distance(hits)
        if tally.denied_gap > denied:
            tally.denied_gap = denied
            tally.denied_due = tally.over_limit + self._chance.distance(denied)

    def _end(self, passed: int) -> Iterator[None]:
        """End the step that is now, and ``passed - 1`` after it."""
        for number, tracked in enumerate(list(self.limits.values()), 1):
            if self._idle(tracked):
                self._drop(tracked)
            else:
                tracked.close(self.step, passed)
            if number % SLICE == 0:
                yield
        self._hand = deque(self.limits.values())
        self.last, self._totals_before = since(self.totals, self._totals_before), self.totals
        self.history.close(self.step, passed, self.last)
        ok, over, failed = self._decided_before
        self.decided_last = (self.decided[0] - ok, self.decided[1] - over, self.decided[2] - failed)
        self._decided_before = self.decided
        if passed > 1:
            self.last, self.decided_last = NONE, (0, 0, 0)
        self.step += passed

    def _sum(self) -> Iterator[None]:
        """Add what all tallies have counted since the last time; those that were let go do not count backwards."""
        summed = NONE
        for first in range(0, self._tallies.places, SLICE):
            for tally in self._tallies.part(first, SLICE):
                if tally.total_hits:
                    summed = added(summed, counts_of(tally, shadow=self.modes.shadow))
            yield
        self.totals, self._summed = added(self.totals, since(summed, self._summed)), summed

    def _scale(self, now: int) -> Iterator[None]:
        factor = 1 / self.growth(now) if now > self._origin else 1.0
        self._origin = now
        for number, tracked in enumerate(list(self.limits.values()), 1):
            tracked.keys.scale(factor)
            if number % (SLICE // 10) == 0:
                yield


def _position(ask: Ask, index: int) -> int:
    """Return the position of the descriptor of a charge; -1 if its plan has none."""
    for position, item in enumerate(ask.plan.items):
        if item.first <= index < item.last:
            return position
    return -1


def _counts(ask: Ask, index: int, seen: int) -> Counts:
    """Return what the hits of a charge that passed count; those past a limit are counted as they are denied."""
    outcome = ask.outcomes[index]
    failed = seen if index in ask.failures else 0
    if not isinstance(outcome, Decision) or not outcome.allowed:
        return Counts(failed=failed)
    settles = ask.plan.charges[index].flags >= SETTLES
    return Counts(allowed=0 if is_vetoed(ask) and not settles else seen, failed=failed)


def _decided(key: Key, ask: Ask, index: int, now: int) -> None:
    """Note what the decision says of the counter of a key."""
    outcome = ask.outcomes[index]
    if isinstance(outcome, Decision) and index not in ask.failures:
        key.remaining = outcome.remaining
        key.reset_at = now + outcome.reset_after
