"""Detects changes of policy files by polling their state.

Polling works where notification does not: network file systems, ConfigMap updates, replaced links. The cost of a
``stat`` of a few files per second is negligible.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from .files import Signature

log = logging.getLogger(__name__)

INTERVAL: Final = 1.0
"""Seconds between two polls. A ConfigMap update itself takes up to a minute to arrive."""

SETTLE_CHECKS: Final = 10
"""Polls to wait for a stable state before a reload is done anyway: a file that changes constantly is still loaded."""


class Watch:
    """Calls ``reload`` for each change of ``state``, once it is stable, and for each ``wake``.

    ``state`` runs in a thread and may block. It is also called once by the constructor: create the watch before the
    first load, so that no change is missed in between. ``interval`` is in seconds.
    """

    def __init__(
        self, state: Callable[[], Signature], reload: Callable[[], Awaitable[None]], *, interval: float = INTERVAL
    ) -> None:
        self._state = state
        self._reload = reload
        self._interval = interval
        self._woken = asyncio.Event()
        self._current = state()

    def wake(self) -> None:
        """Reload now, even without a change (SIGHUP). Call it from the thread of the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Watch until cancelled. An exception of a reload is logged; the next change causes another attempt."""
        while True:
            woken = await self._pause(self._interval)
            state = await asyncio.to_thread(self._state)
            if state == self._current and not woken:
                continue
            self._current = state if woken else await self._settled(state)
            try:
                await self._reload()
            except Exception:
                log.exception("reload failed; the active policy stays in effect")

    async def _settled(self, state: Signature) -> Signature:
        """Poll until two states are equal: an editor or a copy may not have finished."""
        for _ in range(SETTLE_CHECKS):
            if await self._pause(self._interval / 2):
                break
            before, state = state, await asyncio.to_thread(self._state)
            if state == before:
                break
        return state

    async def _pause(self, seconds: float) -> bool:
        """Wait for ``seconds`` or a wake. Returns True after a wake."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        woken = self._woken.is_set()
        self._woken.clear()
        return woken
