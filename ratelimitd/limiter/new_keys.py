"""What stands before the store while a flood of new keys comes: past a cap, they share one counter of their limit.

Each new key is a new counter. Who can choose keys (addresses, header values) could fill the store with them, and push
out or slow down everybody else's. Keys that were asked for lately never meet the cap.

Which keys those are is one byte for each of 16 million places, and a key's place is its hash: nothing grows, is
copied or freed as keys come. Two keys in one place only mean that a new one may be taken for known. A hand goes round
the places and makes what is young old, and what is old unknown.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Final

from ratelimitd.algorithms import SECOND

from .keys import overflow_key
from .seam import Ask, Charge, Item, Plan

PLACES: Final = 1 << 24
"""16 MiB, a sixteenth of what counters in memory may take by default. A million clients take 6 % of the places, and
6 % of a flood are then taken for known. A flood at a cap of 10,000 a second that never ends takes 13 % itself."""

PARTS: Final = 256
"""The hand moves by this part of the places: 64 KiB, which takes 0.03 ms."""

ROUND: Final = 120 * SECOND
"""µs the hand takes to go round. A key stays known for 2 to 4 minutes, so a client that polls once a minute does."""

NAMES: Final = 1_024
"""Names of overflow counters that are remembered: one for each limit that new keys come to at a time."""

YOUNG: Final = 2
OLDER: Final = bytes((0, 0, 1)) + bytes(253)
"""How a mark ages: 2 is young, 1 is old, 0 is none."""


class NewKeys:
    """Sends new keys of a limit to one counter they share, for as long as too many of them come.

    The cap is for each limit and each second of this process. A key that was sent there is asked for anew the next
    time; nothing remembers it. Peeks and give-backs create no counter and go by. A limit in shadow mode is guarded too.

    Nothing is sent there before the hand has been round once: at the start every key is new, and whoever comes as
    often as he must to stay known has been seen by then. Give it to the engine before an ``OverLimitCache``, or that
    one would learn denials by keys it never asks for, and keep it over reloads.

    Args:
        per_second: NEW_KEYS_PER_SECOND.
        prefix: CACHE_KEY_PREFIX.
        places: how many places; a power of two, at least ``PARTS``.

    Attributes:
        redirected: charges that were sent to a shared counter.
    """

    def __init__(self, per_second: int, prefix: bytes, places: int = PLACES) -> None:
        self.redirected = 0
        self._per_second = per_second
        self._name = lru_cache(NAMES)(partial(overflow_key, prefix))
        # Zero pages take no memory before they are written: an idle process has none of the 16 MiB.
        self._marks = mmap(-1, places, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        self._mask = places - 1
        self._part = places // PARTS
        self._hand = 0
        self._turned = self._due = 0
        self._unproven = PARTS + 1
        self._second = 0
        self._met: dict[bytes, int] = {}

    def before(self, asks: Sequence[Ask], now: int) -> None:
        """Give each ask with new keys, past the cap, a plan of its own that has the shared counter in their place."""
        if not self._turned <= now < self._due:
            self._turn(now)
        marks, mask = self._marks, self._mask
        for ask in asks:
            for charge in ask.plan.charges:
                if marks[hash(charge.key) & mask] != YOUNG:
                    self._look(ask, now)
                    break

    def after(self, asks: Sequence[Ask], now: int) -> None:
        """Nothing: it learns from what is asked."""

    def _turn(self, now: int) -> None:
        """Move the hand by one part. A late one is not made up for, or a pause would let known keys be forgotten."""
        start = self._hand
        end = start + self._part
        marks = self._marks[start:end]
        aged = marks.translate(OLDER)
        if aged != marks:
            self._marks[start:end] = aged
        self._hand = end & self._mask
        self._turned, self._due = now, now + ROUND // PARTS
        self._unproven = max(0, self._unproven - 1)

    def _look(self, ask: Ask, now: int) -> None:
        plan, marks = ask.plan, self._marks
        charges = list(plan.charges)
        redirected = 0
        for item in plan.items:
            for index in range(item.first, item.last):
                charge = charges[index]
                place = hash(charge.key) & self._mask
                if ask.costs[index] <= 0 or marks[place] == YOUNG:
                    continue
                if marks[place]:
                    marks[place] = YOUNG
                    continue
                shared = self._shared(plan, item, charge, now)
                if shared is None:
                    marks[place] = YOUNG
                else:
                    charges[index] = Charge(charge.limit, shared, charge.binding)
                    redirected += 1
        if redirected:
            ask.plan = plan._replace(charges=tuple(charges))
            self.redirected += redirected

    def _shared(self, plan: Plan, item: Item, charge: Charge, now: int) -> bytes | None:
        """Count a new key of a limit; past the cap, name the counter that it shares."""
        limit, rate = charge.limit, charge.limit.rate
        if self._unproven or item.match is None or rate is None:
            return None
        second = now // SECOND
        if second != self._second:
            self._second, self._met = second, {}
        name = self._name(plan.request.domain, item.match.place, rate.algorithm, rate.window, limit.item)
        met = self._met.get(name, 0)
        if met >= self._per_second:
            return name
        self._met[name] = met + 1
        return None
