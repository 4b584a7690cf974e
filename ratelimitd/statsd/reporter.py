"""Flushes: the metrics go to a sink at intervals, in slices."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Final

from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.loop import joined
from ratelimitd.observe.metrics import SLICE, SLICE_BYTES, Counters, Family, LimitTallies, single

from .deltas import Deltas
from .names import Stat
from .sinks import Sink
from .wire import Write

log = get_logger(__name__)

RETRY: Final = 3.0
"""Seconds between two attempts to connect, as gostats waits; flushes may be more frequent."""

LAST: Final = 1.0
"""Seconds for the last flush, when a process ends."""


class Reporter:
    """Sends what has changed to a sink.

    While the sink cannot be reached, no line is made: the counters go on, and the next flush that can be sent has the
    differences since the last one.

    Args:
        stats: returns the metrics beside those of limits.

    Attributes:
        sent: lines handed to the sink.
        lost: lines that were made, and that the sink did not take.
        skipped: flushes that were left out because the sink could not be reached.
    """

    def __init__(
        self,
        sink: Sink,
        write: Write,
        tallies: LimitTallies,
        counters: Counters,
        stats: Callable[[], Iterable[Stat]],
        interval: float,
    ) -> None:
        self.sent = 0
        self.lost = 0
        self.skipped = 0
        self._sink = sink
        self._deltas = Deltas(write)
        self._tallies = tallies
        self._counters = counters
        self._stats = stats
        self._interval = interval
        self._away = False
        self._retry_at = 0.0
        counters.times = {}

    async def run(self) -> None:
        """Flush at intervals until cancelled."""
        clock = asyncio.get_running_loop().time
        due = clock() + self._interval
        while True:
            await asyncio.sleep(max(0.0, due - clock()))
            due = max(due + self._interval, clock())
            await self.flush()

    async def flush(self) -> None:
        """Send what has changed since the last flush; the loop turns after each chunk."""
        clock = asyncio.get_running_loop().time
        if clock() < self._retry_at:
            self.skipped += 1
            return
        try:
            there = await self._sink.open()
        except OSError as error:
            self.skipped += 1
            self._failed(error)
            return
        for chunk in joined(self._lines(), SLICE, SLICE_BYTES):
            lines = chunk.count(b"\n")
            try:
                if chunk:
                    await self._sink.send(chunk)
            except OSError as error:
                self.lost += lines
                self._failed(error)
                return
            self.sent += lines
            await asyncio.sleep(0)
        if self._away and there:
            self._away = False
            log.info("statsd is back", address=self._sink.where)

    def _lines(self) -> Iterator[bytes]:
        times = self._counters.times or {}
        return chain(
            self._deltas.stats(self._stats()),
            self._deltas.times(times),
            self._deltas.limits(self._tallies),
        )

    def _failed(self, error: OSError) -> None:
        self._sink.close()
        self._retry_at = asyncio.get_running_loop().time() + RETRY
        if not self._away:
            self._away = True
            note = "metrics go on counting, and are sent once it is back"
            log.warning("statsd is away", address=self._sink.where, reason=str(error) or "no answer in time", note=note)

    async def close(self) -> None:
        """Send the last differences, and close the sink."""
        with suppress(OSError):
            async with asyncio.timeout(LAST):
                await self.flush()
                await self._sink.finish()
        self._sink.close()

    def families(self) -> list[Family]:
        """Return the metrics of the reporter itself."""
        return [
            single("ratelimitd_statsd_lines_total", "counter", "Lines sent to statsd.", lambda: self.sent),
            single(
                "ratelimitd_statsd_lines_lost_total", "counter", "Lines that statsd did not take.", lambda: self.lost
            ),
            single(
                "ratelimitd_statsd_flushes_skipped_total", "counter",
                "Flushes left out, since statsd could not be reached; the next one has their counts.",
                lambda: self.skipped,
            ),
        ]  # fmt: skip
