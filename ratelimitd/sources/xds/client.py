"""Keeps a stream to a control plane, and does what ``protocol`` decides."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from ratelimitd.observe.logs import get_logger

from .edges import Edges
from .options import ControlPlane, Pauses
from .protocol import Load, Protocol, Refusal, Response, Send
from .state import PlaneState, Told
from .stream import Stream, StreamError, open_stream

log = get_logger(__name__)

Apply = Callable[[Response], Awaitable[Refusal | None]]
"""Brings a response into force, or returns why not."""

WOKEN: Final = "connecting anew, as SIGHUP asks"
FAILED: Final = Refusal("the service failed to load the policy; its log has the reason", lasting=False)


class AdsClient:
    """The client of one control plane.

    Attributes:
        settled: set as soon as a first response was judged, or a first connection failed.
    """

    def __init__(self, plane: ControlPlane, state: PlaneState, apply: Apply, accepted: Callable[[str], None]) -> None:
        """Keep ``state`` up to date; ``accepted`` is called with the version of each ACK.

        That of a response that brought nothing new may differ from the one that was applied.
        """
        self.settled = asyncio.Event()
        self._state = state
        self._plane = plane
        self._apply = apply
        self._accepted = accepted
        self._protocol = Protocol()
        self._pauses = Pauses(plane.backoff)
        self._edges = Edges(plane.server)
        self._stream: Stream | None = None
        self._stirred = asyncio.Event()
        self._lasting: asyncio.Timeout | None = None

    def wake(self) -> None:
        """Connect anew at once (SIGHUP)."""
        if self._lasting is not None:
            with suppress(RuntimeError):  # it is doing so already
                self._lasting.reschedule(_now())

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer())
            while True:
                try:
                    async with asyncio.timeout(None) as self._lasting:
                        await asyncio.sleep(await self._one_stream())
                except TimeoutError:
                    self._closed(WOKEN, connected=self._state.connected)

    async def _one_stream(self) -> float:
        """Run one stream to its end; return the wait until the next."""
        try:
            async with open_stream(self._plane) as stream:
                self._opened(stream)
                while True:
                    self._protocol.received(await stream.receive())
                    self._edges.heard()
                    self._stirred.set()
        except StreamError as error:
            self._closed(str(error), connected=error.connected)
            return self._pauses.after_loss() if error.connected else self._pauses.after_failure()
        except Exception as error:  # noqa: BLE001 -- a fault that is not foreseen must not be the last attempt
            self._closed(f"{type(error).__name__}: {error}", connected=self._state.connected)
            return self._pauses.after_failure()

    def _opened(self, stream: Stream) -> None:
        self._stream = stream
        self._protocol.opened()
        self._stirred.set()
        state = self._state
        state.connected, state.since, state.reason = True, time.time(), ""
        state.connects += 1
        self._edges.opened(_now())

    def _closed(self, reason: str, *, connected: bool) -> None:
        self._stream = None
        self._protocol.closed()
        self._stirred.set()
        state = self._state
        if state.connected or not state.since:
            state.since = time.time()
        state.connected, state.reason = False, reason
        self._edges.lost(reason, _now(), connected=connected)
        self.settled.set()

    async def _answer(self) -> None:
        """Load and answer the newest response, again and again; a load outlives the stream that brought it."""
        while True:
            self._stirred.clear()
            step = self._protocol.next(_now())
            if isinstance(step, Load):
                refusal = await self._loaded(step.response)
                self._protocol.judged(step.response, refusal, _now())
                self._judged(step.response, refusal)
                self.settled.set()
            elif isinstance(step, Send):
                await self._send(step)
            else:
                await self._stirred_before(step.until)

    async def _loaded(self, response: Response) -> Refusal | None:
        try:
            return await self._apply(response)
        except Exception:
            log.exception("load failed; the active policy stays in effect")
            return FAILED

    def _judged(self, response: Response, refusal: Refusal | None) -> None:
        if refusal is not None:
            state = self._state
            state.nacks += 1
            state.nacked_at = time.time()
            state.nacked = Told(response.version, state.nacked_at, refusal.text)

    async def _send(self, step: Send) -> None:
        if step.response is not None and not step.request.error:
            self._acknowledging(step.response.version)
        if self._stream is not None:
            await self._stream.send(step.request)

    def _acknowledging(self, version: str) -> None:
        self._pauses.accepted()
        self._state.acks += 1
        self._state.acked, self._state.nacked = Told(version, time.time()), None
        self._accepted(version)

    async def _stirred_before(self, until: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(None if until == math.inf else until):
                await self._stirred.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
