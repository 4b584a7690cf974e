"""A bounded queue of spans, and the thread that sends them.

The event loop appends to the queue and never waits. A span that does not fit, and one that the collector does not
take, is dropped and counted.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from ratelimitd.observe.logs import get_logger, masked
from ratelimitd.observe.metrics import Family, by_label, single

from .span import Span

log = get_logger(__name__)

QUEUE: Final = 2048
"""Spans that wait: the default of OpenTelemetry's SDKs; 2 to 3 MB."""

BATCH: Final = 100
"""Spans that are sent together, a fifth of the SDKs' default: protobuf copies a batch in one step, in which no other
thread runs, and 100 spans take it half a millisecond."""

INTERVAL: Final = 1.0
"""Seconds after which less than a batch is sent: a trial by hand shows its trace at once. The SDKs wait for 5 s."""

FULL, FAILED = "queue_full", "export_failed"

Send = Callable[[Sequence[Span], Callable[[float], object]], str]
"""Sends spans; returns why they were not taken, or an empty text. It may call its second argument with seconds to leave
Python to the event loop."""


class Exporter:
    """Collects spans and sends them from a thread of its own.

    Args:
        where: the collector, for logs.
        send: sends a batch; called in the thread.
        stop: makes ``send`` return as soon as it can.

    Attributes:
        where: as above.
        exported: spans that the collector took.
        dropped: spans that it did not get, by reason.
    """

    def __init__(self, where: str, send: Send, stop: Callable[[], None], interval: float = INTERVAL) -> None:
        self.exported = 0
        self.dropped = {FULL: 0, FAILED: 0}
        self.where = where
        self._send = send
        self._stop = stop
        self._interval = interval
        self._queue: deque[Span] = deque()
        self._due = threading.Event()
        self._ending = threading.Event()
        self._away = False
        # A daemon: a collector that hangs must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, span: Span) -> None:
        """Append a span, or drop it if the queue is full."""
        queue = self._queue
        waiting = len(queue)
        if waiting >= QUEUE:
            self.dropped[FULL] += 1
            return
        queue.append(span)
        if waiting + 1 == BATCH:
            self._due.set()

    async def close(self, grace: float) -> None:
        """Send what waits, for at most ``grace`` seconds; the rest is dropped."""
        self._ending.set()
        self._due.set()
        if self._thread.is_alive():
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join, grace)
        self._stop()
        lost = len(self._queue)
        self._queue.clear()
        self.dropped[FAILED] += lost
        if lost or self._thread.is_alive():
            log.warning("spans are lost: the collector did not take them before the end", spans=lost)

    def families(self) -> list[Family]:
        """Return the metrics of the exporter."""
        return [
            single("ratelimitd_spans_exported_total", "counter", "Spans that the collector took.", self._exported),
            by_label(
                "ratelimitd_spans_dropped_total", "counter",
                "Spans that the collector did not get: the queue was full, or an export failed.", "reason",
                self.dropped.items,
            ),
        ]  # fmt: skip

    def _exported(self) -> int:
        return self.exported

    def _run(self) -> None:
        while self._queue or not self._ending.is_set():
            if len(self._queue) < BATCH:
                self._due.wait(self._interval)
                if not self._ending.is_set():
                    self._due.clear()
            batch = self._take()
            if batch:
                self._export(batch)

    def _take(self) -> list[Span]:
        batch: list[Span] = []
        with suppress(IndexError):  # the queue is empty; ``close`` may be emptying it
            while len(batch) < BATCH:
                batch.append(self._queue.popleft())
        return batch

    def _export(self, batch: Sequence[Span]) -> None:
        try:
            reason = self._send(batch, self._ending.wait)
        except Exception as error:  # noqa: BLE001 -- the thread must go on after any error of a library
            reason = f"{type(error).__name__}: {error}"
        if reason:
            self.dropped[FAILED] += len(batch)
        else:
            self.exported += len(batch)
        if bool(reason) != self._away:
            self._away = bool(reason)
            self._tell(reason)

    def _tell(self, reason: str) -> None:
        if reason:
            note = "calls go on; ratelimitd_spans_dropped_total counts the spans that are lost"
            log.warning("spans cannot be exported", collector=self.where, reason=masked(reason), note=note)
        else:
            log.info("spans are exported again", collector=self.where)
