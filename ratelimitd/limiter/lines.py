"""Waiting lines: the requests that wait for a limit with a ``queue``, which of them is next, and when it asks again.

Each counter has a line of its own, so no key delays another. Within a line, requests with the same counters are served
in the order in which they came; those with others, say of other callers of a limit that all share, take turns. Only the
first of a line asks again, so a thousand waiting requests load the store no more than one. Pure; times are µs of any
one clock.
"""

from collections.abc import Iterator
from typing import Any, Final

from ratelimitd.algorithms import CONCURRENT, NEVER, SECOND, Decision, Rate, is_meter
from ratelimitd.policy import OnStoreFailure, Queue, is_concurrent

from .seam import TOGETHER_MAX, Ask
from .waiting_places import WaitingPlaces

SHARED_PAUSE: Final = 50_000
"""First pause before a place of a shared store is asked for again: other processes free places, and none tells."""

PAUSE_MOST: Final = SECOND
"""Longest such pause, and that for a store in this process, where a free place is told: some end by their ttl."""

SPREAD_MOST: Final = 100_000
"""By how much processes that share a store ask apart at most for the same free place."""

Flow = tuple[bytes, ...]
"""The counters of a request: requests with the same ones are served in their order."""


class Waiter:
    """A request that waits.

    Attributes:
        tag: opaque value of the edge.
        client: who takes the place, for the shares of clients.
        flow: its counters.
        line: where it waits; None before and after.
    """

    __slots__ = ("client", "flow", "line", "tag")

    def __init__(self, tag: Any, client: str, flow: Flow) -> None:
        self.tag = tag
        self.client = client
        self.flow = flow
        self.line: Line | None = None


class Line:
    """The requests that wait for one counter.

    Attributes:
        key: the counter.
        name: name of its limit in metrics.
        due: time from which the first may ask.
        asking: whether it is asking.
    """

    __slots__ = ("_began", "_flows", "_refusals", "_served", "_woken", "asking", "due", "key", "name", "places")

    def __init__(self, key: bytes, name: str, now: int) -> None:
        self.key = key
        self.name = name
        self.due = now
        self.asking = False
        self.places: WaitingPlaces[Waiter] = WaitingPlaces()
        self._flows: dict[Flow, dict[Waiter, None]] = {}
        self._began = now
        self._served = 0
        self._refusals = 0
        self._woken = False

    def __len__(self) -> int:
        return self.places.taken

    @property
    def first(self) -> Waiter:
        """The waiter whose turn it is."""
        return next(iter(next(iter(self._flows.values()))))

    def wake(self, now: int) -> None:
        """Let the first ask now; if it is asking, once more if it is denied."""
        self.due = min(self.due, now)
        self._woken = self.asking

    def passed(self, now: int) -> None:
        """Learn that the first one passed and left: the next flow has its turn, at once."""
        self.asking = False
        self.due = now
        self._served += 1
        self._refusals = 0

    def denied(self, now: int, wait: int, *, by_holds: bool, shared: bool, chance: float) -> None:
        """Learn that the first one was denied; see ``pause``."""
        self.asking = False
        self.due = (
            now if self._woken else now + pause(wait, self._refusals, by_holds=by_holds, shared=shared, chance=chance)
        )
        self._woken = False
        self._refusals += 1

    def add(self, waiter: Waiter) -> None:
        """Add a waiter at the end of its flow."""
        self._flows.setdefault(waiter.flow, {})[waiter] = None
        self.places.add(waiter.client, waiter)

    def remove(self, waiter: Waiter, *, turn: bool) -> None:
        """Remove a waiter; ``turn``: it was served, so its flow goes to the end."""
        waiters = self._flows[waiter.flow]
        del waiters[waiter]
        if turn or not waiters:
            del self._flows[waiter.flow]
            if waiters:
                self._flows[waiter.flow] = waiters
        self.places.remove(waiter.client, waiter)

    def expected(self, rate: Rate, cost: int, timeout: int, now: int) -> int:
        """Return the µs in which a request that comes now would pass if it waited, as far as is known.

        Of a rate: the wait of the first, and what those before it take. Of requests in progress: as fast as this
        line has moved since it began; ``timeout`` while it has not moved.
        """
        if rate.algorithm == CONCURRENT:
            return (now - self._began) * (len(self) + 1) // self._served if self._served else timeout
        return soonest(rate, cost * len(self), max(0, self.due - now))


class Lines:
    """All lines of a process.

    Attributes:
        most: requests that wait at most.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._lines: dict[bytes, Line] = {}
        self._all: WaitingPlaces[Waiter] = WaitingPlaces()

    def __len__(self) -> int:
        return self._all.taken

    def __iter__(self) -> Iterator[Line]:
        return iter(list(self._lines.values()))

    def at(self, key: bytes) -> Line | None:
        """Return the line of a counter, if any request waits for it."""
        return self._lines.get(key)

    def behind(self, ask: Ask) -> int | None:
        """Return the index of a charge of an ask whose counter others wait for: it goes to the end of their line."""
        if self._lines:
            for index, charge in enumerate(ask.plan.charges):
                if charge.limit.queue is not None and charge.binding and charge.key in self._lines:
                    return index
        return None

    def giving_way(self, client: str, key: bytes, queue: Queue) -> Waiter | None:
        """Return the waiter that leaves for one more of this client; see ``is_full`` and ``WaitingPlaces``."""
        line = self._lines.get(key)
        if line is not None and len(line) >= queue.length:
            return line.places.giving_way(client)
        return self._all.giving_way(client)

    def is_full(self, key: bytes, queue: Queue) -> bool:
        """Whether the line of a counter, or all lines together, have no place for one more."""
        line = self._lines.get(key)
        return len(self) >= self.most or (line is not None and len(line) >= queue.length)

    def join(self, waiter: Waiter, key: bytes, name: str, now: int) -> Line:
        """Put a waiter at the end of a line."""
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key, name, now)
        waiter.line = line
        line.add(waiter)
        self._all.add(waiter.client, waiter)
        return line

    def leave(self, waiter: Waiter, *, turn: bool = False) -> None:
        """Take a waiter out of its line; ``turn``: it was served."""
        line = waiter.line
        if line is None:
            return
        waiter.line = None
        line.remove(waiter, turn=turn)
        self._all.remove(waiter.client, waiter)
        if not len(line):
            del self._lines[line.key]


def can_wait(ask: Ask) -> bool:
    """Whether one of the limits of an ask has a queue, and all can be charged together when its turn comes."""
    charges = ask.plan.charges
    for charge in charges:
        if charge.rule.limit.queue is not None:
            return len(charges) <= TOGETHER_MAX
    return False


def blocking(ask: Ask) -> int | None:
    """Return the index of the charge that a denied ask waits for: the denial that lasts longest.

    None: it waits for nothing, since a limit without a queue denies it, no time makes it pass, or its store is away.
    """
    found, longest = None, -1
    for index, outcome in enumerate(ask.outcomes):
        charge = ask.plan.charges[index]
        if not isinstance(outcome, Decision) or outcome.allowed or not charge.binding:
            continue
        static = index in ask.failures and charge.limit.on_store_failure is OnStoreFailure.DENY
        if charge.limit.queue is None or outcome.retry_after == NEVER or static:
            return None
        if outcome.retry_after > longest:
            found, longest = index, outcome.retry_after
    return found


def is_too_late(ask: Ask, index: int, line: Line | None, left: int, now: int) -> bool:
    """Whether a denied request cannot pass within the time that it has left, however soon others do.

    Of requests in progress nothing is known beforehand.
    """
    charge, outcome = ask.plan.charges[index], ask.outcomes[index]
    rate = charge.rule.rate
    if rate is None or is_concurrent(charge.limit):
        return False
    if line is not None:
        return soonest(rate, len(line), max(0, line.due - now)) > left
    return isinstance(outcome, Decision) and outcome.retry_after > left


def soonest(rate: Rate, ahead: int, first: int) -> int:
    """Return the µs until a cost of 1 passes behind this much, of which the first 1 passes in ``first`` µs."""
    if is_meter(rate):
        return first + ahead * rate.window // rate.quota
    return first + ahead // rate.quota * rate.window


def pause(wait: int, refusals: int, *, by_holds: bool, shared: bool, chance: float) -> int:
    """Return the µs until the first of a line asks again.

    Args:
        wait: ``retry_after`` of its denial, which is exact unless others come first.
        refusals: times that it has asked in vain since the last one passed.
        by_holds: whether requests in progress deny it: nothing tells how long they take.
        shared: whether other processes use the store.
        chance: from 0 to 1, by which processes ask apart.
    """
    if by_holds:
        longest = min(PAUSE_MOST, SHARED_PAUSE << min(refusals, 8)) if shared else PAUSE_MOST
        return round(longest * (0.75 + chance / 4))
    if not shared or not refusals:
        return wait
    return wait + round(min(SPREAD_MOST, 1_000 << min(refusals, 8)) * chance)
