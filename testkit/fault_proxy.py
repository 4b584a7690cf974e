"""A TCP proxy whose faults are switched on and off while it runs.

It has its own thread and event loop, so that a stalled loop under test does not stall it, and other processes can use
it. It shares the interpreter with the test, so a busy test may delay it by milliseconds.
"""

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal, TypedDict, TypeVar, Unpack

CHUNK = 65_536
WAITING = 256
"""Maximum queued chunks in one direction of a connection; while the queue is full, the sender is not read."""
BACKLOG = 512
PATIENCE = 10.0
"""Timeout in seconds for the proxy's loop to execute a request of the test."""
RESET = struct.pack("ii", 1, 0)
"""Value of SO_LINGER that makes close send an RST."""

Connects = Literal["open", "silent", "unanswered", "reset"]
"""What happens to new connections.

open: forwarded. silent: accepted, but not forwarded until the fault ends. unanswered: the SYN is not answered; the
system retransmits it after 1 s, 3 s and 7 s. reset: accepted and reset.
"""


@dataclass(frozen=True)
class Way:
    """Faults of one direction; by default none."""

    delay: float = 0.0
    """Delay of all bytes in seconds; the throughput is unchanged."""
    jitter: float = 0.0
    """Maximum additional random delay in seconds; the order is kept."""
    hold: bool = False
    """Hold back bytes and the end of the connection until the fault ends."""
    drop: bool = False
    """Discard bytes; the connection stays open."""
    piece: int = 0
    """Forward pieces of this many bytes with 1 ms between them; 0: forward chunks as received."""
    cut: int | None = None
    """Forward this many more bytes of each connection, then discard the rest and close it."""


class Faults(TypedDict, total=False):
    """Arguments of ``set``: the faults of each direction and of new connections."""

    requests: Way
    replies: Way
    connects: Connects


class Side:
    """One direction of all connections: its faults, and the number of bytes forwarded."""

    def __init__(self, counts: Counter[str]) -> None:
        self.way = Way()
        self.bytes = 0
        self.counts = counts
        self._changed = asyncio.Event()

    def set(self, way: Way) -> None:
        """Change the faults, also for bytes that are being held back."""
        self.way = way
        self._changed.set()
        self._changed = asyncio.Event()

    async def unheld(self) -> None:
        """Wait until bytes are not held back."""
        self.counts["hold"] += self.way.hold
        while self.way.hold:
            await self._changed.wait()


class Flow:
    """One direction of one connection: from a socket, through a queue, to a socket."""

    def __init__(self, source: socket.socket, target: socket.socket, side: Side) -> None:
        self._source, self._target, self._side = source, target, side
        self._queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(WAITING)
        self.passed = 0

    async def read(self) -> None:
        """Queue each chunk with the time it is due; the last item is empty for an end, or None for a reset."""
        loop = asyncio.get_running_loop()
        data: bytes | None = b"-"
        while data:
            try:
                data = await loop.sock_recv(self._source, CHUNK)
            except OSError:
                data = None
            late = self._side.way.delay + random.uniform(0, self._side.way.jitter)
            self._side.counts["delay"] += late > 0
            await self._queue.put((loop.time() + late, data))

    async def write(self) -> bool:
        """Forward chunks when they are due until the end or a cut; return whether the connection was reset."""
        while True:
            due, data = await self._queue.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            await self._side.unheld()
            if not data:
                return data is None
            try:
                if not await self._send(data, self._side.way):
                    return False
            except OSError:
                return True

    async def _send(self, data: bytes, way: Way) -> bool:
        counts = self._side.counts
        if way.drop:
            counts["drop"] += 1
            return True
        most = len(data) if way.cut is None else max(0, min(way.cut - self.passed, len(data)))
        step = way.piece or CHUNK
        counts["piece"] += most > step
        for at in range(0, most, step):
            if at:
                await asyncio.sleep(0.001)
            await asyncio.get_running_loop().sock_sendall(self._target, data[at : min(at + step, most)])
        self.passed += most
        self._side.bytes += most
        counts["cut"] += most < len(data)
        return most == len(data)


@dataclass(eq=False)
class Link:
    """One connection."""

    client: socket.socket
    upstream: socket.socket | None = None
    flows: list[Flow] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    abrupt: bool = False

    def close(self) -> None:
        """Close both ends, with an RST if ``abrupt`` is set."""
        for end in filter(None, (self.client, self.upstream)):
            if self.abrupt:
                with suppress(OSError):  # the peer has already closed it
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.close()


Result = TypeVar("Result")


class FaultProxy:
    """Forwards ``address`` to ``upstream``: ``host:port`` with a numeric host, or the path of a Unix socket.

    ``counts`` has the connections as ``accepted``, and the faults that occurred by their names in ``Way`` and
    ``Connects``; ``delay`` includes the jitter, ``unanswered`` counts activations, ``reset`` includes ``reset()``.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.counts: Counter[str] = Counter()
        self.requests, self.replies = Side(self.counts), Side(self.counts)
        self._connects: Connects = "open"
        self._opened = asyncio.Event()
        self._fillers: list[socket.socket] = []
        self._links: set[Link] = set()
        self._wrong: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy")
        self._thread.start()
        self._do(self._listen)

    @property
    def open(self) -> int:
        """Number of open connections."""
        return len(self._links)

    def set(self, **faults: Unpack[Faults]) -> None:
        """Change the given faults; the others stay as they are."""
        self._do(lambda: self._set(**faults))

    def heal(self) -> None:
        """End every fault."""
        self.set(requests=Way(), replies=Way(), connects="open")

    @contextmanager
    def fault(self, **faults: Unpack[Faults]) -> Iterator[None]:
        """Set these faults for the duration of the block, then end every fault."""
        self.set(**faults)
        try:
            yield
        finally:
            self.heal()

    def reset(self) -> int:
        """Reset every open connection; return their number."""
        return asyncio.run_coroutine_threadsafe(self._reset(), self._loop).result(PATIENCE)

    def close(self) -> None:
        """Close the proxy and its connections; raise the errors of its tasks."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._wrong:
            raise BaseExceptionGroup("in the fault proxy", self._wrong)

    def _do(self, what: Callable[[], Result]) -> Result:
        async def done() -> Result:
            return what()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(PATIENCE)

    def _set(self, requests: Way | None = None, replies: Way | None = None, connects: Connects | None = None) -> None:
        for side, way in ((self.requests, requests), (self.replies, replies)):
            if way is not None:
                side.set(way)
        for flow in (flow for link in self._links for flow in link.flows):
            flow.passed = 0
        if connects is not None and connects != self._connects:
            self._answer(connects)

    def _answer(self, connects: Connects) -> None:
        before, self._connects = self._connects, connects
        self._opened.set()
        self._opened = asyncio.Event()
        if connects == "unanswered":
            self._loop.remove_reader(self._listener)
            self._fill()
        elif before == "unanswered":
            self._empty()
            self._listen()

    def _fill(self) -> None:
        """Fill the accept queue with two connections, of which one waits, so that the system answers no other SYN."""
        self.counts["unanswered"] += 1
        self._listener.listen(0)
        for _ in range(2):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)

    def _empty(self) -> None:
        """Remove the filler connections from the accept queue."""
        ours = [each.getsockname() for each in self._fillers]
        while self._fillers:
            self._fillers.pop().close()
        self._accept(ours)

    def _listen(self) -> None:
        self._listener.listen(BACKLOG)
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self, ours: Container[object] = ()) -> None:
        with suppress(BlockingIOError):
            while True:
                client, peer = self._listener.accept()
                if peer in ours:
                    client.close()
                else:
                    self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        self.counts["accepted"] += 1
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(client)
        link.task = self._loop.create_task(self._serve(link))
        link.task.add_done_callback(lambda task: self._ended(link, task))
        self._links.add(link)

    def _ended(self, link: Link, task: asyncio.Task[None]) -> None:
        self._links.discard(link)
        link.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._wrong.append(error)

    async def _serve(self, link: Link) -> None:
        try:
            self.counts["silent"] += self._connects == "silent"
            while self._connects == "silent":
                await self._opened.wait()
            if self._connects == "reset":
                self.counts["reset"] += 1
                link.abrupt = True
                return
            link.upstream = await self._dial()
            await self._carry(link, link.upstream)
        except OSError:
            link.abrupt = True  # the upstream refused the connection

    async def _dial(self) -> socket.socket:
        host, _, port = self.upstream.rpartition(":")
        family, where = (socket.AF_INET, (host, int(port))) if port.isdigit() else (socket.AF_UNIX, self.upstream)
        upstream = socket.socket(family)
        upstream.setblocking(False)
        try:
            await self._loop.sock_connect(upstream, where)
            if family == socket.AF_INET:
                upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            upstream.close()
            raise
        return upstream

    async def _carry(self, link: Link, upstream: socket.socket) -> None:
        link.flows = [Flow(link.client, upstream, self.requests), Flow(upstream, link.client, self.replies)]
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(each.read()) for each in link.flows]
            writers = [group.create_task(each.write()) for each in link.flows]
            done, _ = await asyncio.wait(writers, return_when=asyncio.FIRST_COMPLETED)
            for each in (*readers, *writers):
                each.cancel()
        link.abrupt |= any(each.result() for each in done)

    async def _reset(self) -> int:
        links = list(self._links)
        for link in links:
            link.abrupt = True
        await self._end(*(link.task for link in links if link.task is not None))
        self.counts["reset"] += len(links)
        return len(links)

    async def _close(self) -> None:
        links = [link.task for link in self._links if link.task is not None]
        self._loop.remove_reader(self._listener)
        await self._end(*links)
        for each in (*self._fillers, self._listener):
            each.close()

    @staticmethod
    async def _end(*tasks: asyncio.Task[None]) -> None:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of this address."""
    proxy = FaultProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
