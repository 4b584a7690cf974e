"""Server-sent events (WHATWG HTML, 9.2): what many readers see is rendered once for all of them.

A hub renders each topic that is read at an interval, and offers the frames to the readers. It has one task, and that
only while there are readers.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.loop import batches

from .sent import UNREAD_BYTES

log = get_logger(__name__)

EVENT_STREAM: Final = "text/event-stream"

EVERY: Final = 2.0
"""Seconds between two frames: a person sees a number change, and has time to read it."""

SOON: Final = 0.25
"""Seconds between two frames if a reader has joined whose topics were not rendered: it should see its page soon."""

SHARE: Final = 0.01
"""Of a core, for rendering: the interval is stretched to keep it."""

HEARTBEAT: Final = 15.0
"""Seconds without an event after which a comment is sent: a proxy between closes an idle connection after 60 s (nginx)
or 30 s (some load balancers)."""

LATE: Final = 10.0
"""Seconds for a reader to read what was sent, then it is dropped: five frames; one that reads again asks again."""

AT_ONCE: Final = 16
"""Readers that are woken in one turn of the event loop: each writes a frame, 20 to 50 µs."""

COMMENT: Final = b":\n\n"


class Topic(NamedTuple):
    """What a reader sees: the name of the event, whether keys are shown as they are, and the id of a limit or ""."""

    name: str
    plain: bool
    id: str = ""


class Rendered(NamedTuple):
    """The frame of a topic: for readers that have seen the frame before, and for all others."""

    news: bytes
    whole: bytes


Render = Callable[[Topic], Awaitable[Rendered]]
"""Renders a topic; called once each interval while the topic is read."""


def frame(event: str, document: Mapping[str, Any]) -> bytes:
    """Return an event: JSON has no line end outside its strings, and escapes those within."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), json.dumps(document, separators=(",", ":")).encode())


class Reader:
    """A client that reads events.

    Attributes:
        topics: what it sees, in the order of the frames.
        whole: it has not seen the frame before, or missed one.
        unread: bytes that were sent and are not read.
        since: when they were sent, or offered; seconds of the loop.
    """

    __slots__ = ("_came", "_frames", "since", "task", "topics", "unread", "whole")

    def __init__(self, topics: tuple[Topic, ...], task: "asyncio.Task[Any] | None") -> None:
        self.topics = topics
        self.task = task
        self.whole = True
        self.unread = 0
        self.since = 0.0
        self._frames = b""
        self._came = asyncio.Event()

    @property
    def waits(self) -> bool:
        """Whether it has read all that was sent."""
        return not self.unread

    def offer(self, data: bytes, now: float) -> None:
        """Send this when the reader waits."""
        self._frames += data
        self.unread += len(data)
        self.since = now
        self._came.set()

    async def next(self) -> bytes:
        """Wait for what is to be sent; the reader has read what was sent before."""
        self.unread = len(self._frames)
        await self._came.wait()
        self._came.clear()
        data, self._frames = self._frames, b""
        return data


class Hub:
    """The readers of events, and the task that renders for them.

    Args:
        render: see ``Render``.
        every: seconds between two frames.

    Attributes:
        goodbye: the last event of each reader.
    """

    def __init__(self, render: Render, every: float = EVERY) -> None:
        self._render = render
        self._every = every
        self._clock = asyncio.get_running_loop().time
        self._failed = False
        self._readers: dict[Reader, None] = {}
        self._rendered: dict[Topic, Rendered] = {}
        self._turns: dict[Topic, int] = {}
        self._ticks = 0
        self._task: asyncio.Task[None] | None = None
        self._joined = asyncio.Event()
        self._closing = asyncio.Event()
        self.goodbye = COMMENT

    def __len__(self) -> int:
        return len(self._readers)

    @property
    def closed(self) -> bool:
        """Whether the process ends, so that nothing is read any more."""
        return self._closing.is_set()

    async def wait(self, seconds: float) -> None:
        """Wait for some seconds, or for the end of the hub."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def read(self, topics: tuple[Topic, ...]) -> AsyncGenerator[bytes, None]:
        """Yield frames until the hub closes: what was rendered last at once, then what comes."""
        reader = Reader(topics, asyncio.current_task())
        self._join(reader)
        try:
            while not self.closed:
                yield await reader.next()
            yield self.goodbye
        finally:
            self._leave(reader)

    def close(self, goodbye: bytes) -> None:
        """Send this to all readers, and end them."""
        self.goodbye = goodbye
        self._closing.set()
        for reader in self._readers:
            reader.offer(b"", self._clock())
        self._stop()

    def _join(self, reader: Reader) -> None:
        self._readers[reader] = None
        if self.closed:
            reader.offer(b"", self._clock())
            return
        if all(topic in self._rendered for topic in reader.topics):
            self._offer(reader)
            self._drop_the_slowest()
        else:
            self._joined.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def _leave(self, reader: Reader) -> None:
        self._readers.pop(reader, None)
        if not self._readers:
            self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._rendered.clear()

    async def _run(self) -> None:
        """Render and offer until there are no readers."""
        while True:
            spent = await self._tick()
            await self._pause(max(self._every, spent / SHARE), max(SOON, spent / SHARE))

    async def _pause(self, usual: float, soon: float) -> None:
        """Wait for the next interval, or less for a reader that sees nothing yet."""
        ends, heartbeat = self._clock() + usual, self._clock() + HEARTBEAT
        await asyncio.sleep(min(soon, usual))
        while (left := ends - self._clock()) > 0 and not self._joined.is_set():
            try:
                async with asyncio.timeout(min(left, max(0.0, heartbeat - self._clock()))):
                    await self._joined.wait()
            except TimeoutError:
                if self._clock() >= heartbeat:
                    heartbeat = self._clock() + HEARTBEAT
                    self._beat()

    def _beat(self) -> None:
        for reader in self._readers:
            if reader.waits:
                reader.offer(COMMENT, self._clock())

    async def _tick(self) -> float:
        """Render each topic that is read, and offer the frames; returns the processor time of rendering, seconds."""
        self._joined.clear()
        spent = 0.0
        wanted = dict.fromkeys(topic for reader in self._readers for topic in reader.topics)
        self._rendered = {topic: made for topic, made in self._rendered.items() if topic in wanted}
        self._turns = {topic: self._turns.get(topic, 0) for topic in wanted}
        self._ticks += 1
        of_limits = 0.0
        for topic in sorted(wanted, key=self._turn):
            if topic.id and of_limits >= self._every * SHARE:
                break
            timed = Timed(self._made(topic))
            self._rendered[topic] = await timed
            self._turns[topic] = self._ticks
            spent += timed.spent
            of_limits += timed.spent if topic.id else 0.0
            await asyncio.sleep(0)
        for some in batches(tuple(self._readers), AT_ONCE):
            for reader in some:
                if reader in self._readers and all(topic.id or topic in self._rendered for topic in reader.topics):
                    self._offer(reader)
            await asyncio.sleep(0)
        self._drop_the_slowest()
        return spent

    def _turn(self, topic: Topic) -> tuple[bool, int, bool]:
        """Order topics: those of a limit last, and in turn, so that readers of many limits keep no other waiting."""
        return bool(topic.id), self._turns[topic], not topic.plain

    async def _made(self, topic: Topic) -> Rendered:
        """Render a topic. One that fails is empty, and told once; others are seen."""
        try:
            return await self._render(topic)
        except Exception:
            if not self._failed:
                self._failed = True
                log.exception("an event of the live view cannot be rendered", topic=topic.name)
            return Rendered(b"", b"")

    def _offer(self, reader: Reader) -> None:
        """Offer what was rendered. A reader that has not read the last frame gets whole ones later, or is dropped."""
        now = self._clock()
        if not reader.waits:
            reader.whole = True
            if now - reader.since >= LATE:
                self._cut(reader)
            return
        topics = [topic for topic in reader.topics if topic in self._rendered]
        if not reader.whole:
            topics = [topic for topic in topics if self._turns[topic] == self._ticks]
        frames = [self._rendered[topic] for topic in topics]
        reader.offer(b"".join([each.whole if reader.whole else each.news for each in frames]) or COMMENT, now)
        reader.whole = False

    def _drop_the_slowest(self) -> None:
        """Keep what readers do not read within its bound."""
        unread = sum(reader.unread for reader in self._readers)
        for reader in sorted(self._readers, key=lambda reader: reader.since):
            if unread <= UNREAD_BYTES:
                return
            if reader.unread:
                unread -= reader.unread
                self._cut(reader)

    def _cut(self, reader: Reader) -> None:
        """Drop a reader; its connection is closed in the middle of the response."""
        self._readers.pop(reader, None)
        if reader.task is not None:
            reader.task.cancel()


class Timed:
    """Awaits something, and measures the processor time of its own steps, and not that of others in between.

    Attributes:
        spent: seconds.
    """

    def __init__(self, awaited: Awaitable[Rendered]) -> None:
        self._awaited = awaited
        self.spent = 0.0

    def __await__(self) -> Generator[Any, Any, Rendered]:
        """Step through it."""
        steps = self._awaited.__await__()
        thrown: BaseException | None = None
        while True:
            began = time.thread_time()
            try:
                yielded = next(steps) if thrown is None else _throw(steps, thrown)
            except StopIteration as end:
                made: Rendered = end.value
                return made
            finally:
                self.spent += time.thread_time() - began
            thrown = None
            try:
                yield yielded
            except BaseException as error:  # noqa: BLE001 -- it is passed on
                thrown = error


def _throw(steps: Generator[Any, Any, Rendered], error: BaseException) -> Any:
    return steps.throw(error)
