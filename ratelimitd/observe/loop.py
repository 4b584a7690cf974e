"""Event-loop latency: its measurement, Python's cycle collector, and work split into slices."""

import asyncio
import gc
import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeVar

T = TypeVar("T")

TICK: Final = 0.02
"""Seconds between two measurements. A longer hold is always detected, one of 5 ms in one of four cases; fifty
wake-ups per second cost less than a thousandth of a core."""

MEMORY: Final = 30.0
"""Seconds for which the largest lag is kept, up to twice that: twice Prometheus' usual interval of 15 s."""


class LoopLag:
    """Lag of the event loop: the delay of its timers. Reading does not change it, so several scrapers can read it.

    Attributes:
        last: delay of the last tick, seconds.
    """

    __slots__ = ("_before", "_longest", "_since", "last")

    def __init__(self) -> None:
        self.last = 0.0
        self._longest = 0.0
        self._before = 0.0
        self._since = 0.0

    @property
    def longest(self) -> float:
        """Largest delay of a tick in the last ``MEMORY`` to 2 * ``MEMORY`` seconds, in seconds."""
        return max(self._longest, self._before)

    def record(self, late: float, now: float) -> None:
        """Record one tick that fired ``late`` seconds late at the monotonic time ``now``, seconds."""
        if now - self._since >= MEMORY:
            self._before, self._longest, self._since = self._longest, 0.0, now
        self.last = max(0.0, late)
        self._longest = max(self._longest, self.last)

    async def run(self) -> None:
        """Tick until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + TICK
            await asyncio.sleep(TICK)
            now = clock()
            self.record(now - due, now)


SWITCH: Final = 0.0005
"""Seconds for which another thread may keep Python from the event loop: a tenth of the longest permitted hold. With
Python's 5 ms, a thread that reads a gateway file or the state of a source would hold it so long after each wait."""

THRESHOLDS: Final = (5_000, 1, 2)
"""Generation 0 at 5,000 new containers, more than the requests of one loop iteration allocate: at 1,000 they were
traversed repeatedly, which took a twentieth of the proxy's time. Generation 1 every second time, of some 10,000
survivors at most, what a loop iteration keeps: 2.4 to 5 ms on a slow machine."""

LONG: Final = 0.001
"""Seconds of a collection of generation 1 or 2 above which its survivors are frozen: a fifth of the longest permitted
hold. If generation 1 were left alone, many new survivors would make a full collection of 60 ms there."""

COLLECT: Final = 0.1
"""Seconds between two collections of what is new: a full table of sliding windows takes some 5,000 new ones meanwhile,
which are traversed in 1 ms. Of an idle service it takes 0.0001 of a core."""


class _FreezeAfterLong:
    """A gc callback that freezes the survivors of a collection of much CPU; on a busy machine any may take long."""

    __slots__ = ("_started",)

    def __init__(self) -> None:
        self._started = 0.0

    def __call__(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        if phase == "start":
            self._started = time.thread_time()
        elif info["generation"] > 0 and time.thread_time() - self._started > LONG:
            gc.freeze()


def tame_collector() -> None:
    """Prevent automatic collections of a large heap from blocking the event loop; call once, at the end of the start.

    A full collection traverses every live container: 1,000,000 counters take 60 to 210 ms. Therefore all objects
    alive after the start are frozen (never traversed again, but still freed with their last reference), and so are
    the survivors of a later collection that takes longer than ``LONG``, except of the youngest generation. Each then
    traverses only objects created since the last one. Measured while 1,000,000 slotted objects in a dict grew to
    2,000,000 and were all replaced: longest pause 213 ms without, 2.4 ms with this.

    The cost: a reference cycle that is alive at a freeze is not collected later. The service's own objects form no
    cycles, and a freeze happens only after about ten thousand containers were created and kept.

    A large table of plain numbers or of tuples of them must be a subclass of dict: the collector untracks a plain
    dict and traverses it as a whole in its *youngest* generation at the next insertion (44 ms for 2,000,000
    entries); a subclass is always tracked, so it stays frozen (0.1 ms).
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # resets the count of long-lived objects: else the next full one waits for a quarter of those above
    gc.set_threshold(*THRESHOLDS)
    if not any(isinstance(callback, _FreezeAfterLong) for callback in gc.callbacks):
        gc.callbacks.append(_FreezeAfterLong())


async def collect_regularly() -> None:
    """Collect what is new every ``COLLECT`` seconds, until cancelled; not while a load has the collector off.

    The thresholds count creations less deletions. Where each new object replaces an old one, as in a full table, they
    are never reached, and the youngest generation grows to the size of the table. The first collection then, at a
    reload or in a burst, would hold the loop: for 45 to 90 ms in a soak, where plans replaced others. What survives
    is collected once more when that much was traversed as takes ``LONG``, and is frozen then if it is large.
    """
    spent = 0.0
    while True:
        await asyncio.sleep(COLLECT)
        if gc.isenabled():
            began = time.thread_time()
            gc.collect(1)
            spent += time.thread_time() - began
        if spent > LONG:
            spent = 0.0
            gc.collect()


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Split work into lists of at most ``size`` items, so that a coroutine can yield between them."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def joined(pieces: Iterable[bytes], count: int, size: int) -> Iterator[bytes]:
    """Join pieces into chunks of ``count``, fewer where they have ``size`` bytes or more. Empty pieces count too."""
    held: list[bytes] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if len(held) >= count or length >= size:
            yield b"".join(held)
            held, length = [], 0
    if held:
        yield b"".join(held)
