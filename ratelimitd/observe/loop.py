"""What holds the event loop: how late it runs, Python's cycle collector, and work cut into slices."""

import asyncio
import gc
import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeVar

T = TypeVar("T")

TICK: Final = 0.02
"""Seconds between two looks at the clock. A hold is seen for certain when it is longer than this, and a 5 ms
one each fourth time; fifty wake-ups a second cost less than a thousandth of a core."""

MEMORY: Final = 30.0
"""Seconds a longest lag is remembered for at least (twice that at most): twice Prometheus' usual interval of 15."""


class LoopLag:
    """How late a timer of the event loop fires. Reading it changes nothing, so many may scrape.

    Attributes:
        last: seconds the last tick was late.
    """

    __slots__ = ("_before", "_longest", "_since", "last")

    def __init__(self) -> None:
        self.last = 0.0
        self._longest = 0.0
        self._before = 0.0
        self._since = 0.0

    @property
    def longest(self) -> float:
        """Seconds the latest tick of the last ``MEMORY`` seconds or more was late."""
        return max(self._longest, self._before)

    def record(self, late: float, now: float) -> None:
        """Take in one tick that fired ``late`` seconds late at the monotonic time ``now``, seconds."""
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


THRESHOLDS: Final = (10_000, 2, 2)
"""Generation 0 at 10,000 new containers, which is far more than the requests of a turn have at once: at 1,000 they were
looked at again and again, for a twentieth of the proxy's time. Generation 1 after two of these, 2 after two again: so a
full collection looks at some 60,000 survivors at most before they are frozen, which takes 3 to 4 ms."""

LONG: Final = 0.001
"""Seconds of a full collection after which its survivors are frozen: a fifth of what may hold the loop."""


class _FreezeAfterLong:
    """A gc callback: what survived a long full collection is not looked at again."""

    __slots__ = ("_started",)

    def __init__(self) -> None:
        self._started = 0.0

    def __call__(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        if phase == "start":
            self._started = time.perf_counter()
        elif info["generation"] == 2 and time.perf_counter() - self._started > LONG:
            gc.freeze()


def tame_collector() -> None:
    """Make sure that no automatic collection of a large heap holds the loop; call once, when the start is done.

    A full collection visits every container that is alive: 1,000,000 counters take 60 to 210 ms. So all that
    lives after the start is frozen (never visited again, but freed as ever when its last reference goes), and
    so is all that survives a later full collection that took longer than ``LONG``. Each full collection then
    visits only what is new since the last one. Measured while 1,000,000 slotted objects in a dict grew to
    2,000,000 and were all replaced: longest pause 213 ms without, 2.4 ms with this.

    The price: a reference cycle that was alive at a freeze is not found when it dies later. Our own objects
    make none, and a freeze comes only when a hundred thousand containers or so were made and kept.

    A large table of plain numbers or of tuples of them must be a subclass of dict: the collector stops
    tracking a plain one and meets it again, as a whole, in its *youngest* generation at the next insertion
    (44 ms for 2,000,000 entries); a subclass is always tracked, so it stays frozen (0.1 ms).
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # of nothing: else the next full one waits for a quarter of what this one found
    gc.set_threshold(*THRESHOLDS)
    if not any(isinstance(callback, _FreezeAfterLong) for callback in gc.callbacks):
        gc.callbacks.append(_FreezeAfterLong())


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut work into lists of at most ``size``, so that a coroutine can give way between them."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
