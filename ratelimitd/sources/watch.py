"""Notices that policy files changed, by asking for their state now and then.

Polling works where notification does not: network file systems, ConfigMap flips, links that are swapped. A
``stat`` of some files once a second costs nothing beside serving.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from .files import Signature

log = logging.getLogger(__name__)

INTERVAL: Final = 1.0
"""Seconds between two looks; a ConfigMap itself takes up to a minute to arrive."""

SETTLE_LOOKS: Final = 10
"""Looks a change gets to come to rest before it is loaded all the same: a file that never rests is still read."""


class Watch:
    """Calls ``reload`` for each change of ``state``, once it has come to rest, and for each ``wake``.

    ``state`` runs in a thread and may block; it is also asked once when the watch is made, so make the watch
    before the first load and no change falls between. ``interval`` and the time to come to rest are seconds.
    """

    def __init__(
        self, state: Callable[[], Signature], reload: Callable[[], Awaitable[None]], *, interval: float = INTERVAL
    ) -> None:
        self._state = state
        self._reload = reload
        self._interval = interval
        self._woken = asyncio.Event()
        self._seen = state()

    def wake(self) -> None:
        """Reload now, changed or not (SIGHUP). Call it from the loop's thread."""
        self._woken.set()

    async def run(self) -> None:
        """Watch until cancelled; what a reload raises is logged, and the next change is another try."""
        while True:
            woken = await self._pause(self._interval)
            state = await asyncio.to_thread(self._state)
            if state == self._seen and not woken:
                continue
            self._seen = state if woken else await self._settled(state)
            try:
                await self._reload()
            except Exception:
                log.exception("reload failed; the active policy stays in effect")

    async def _settled(self, state: Signature) -> Signature:
        """Look until two looks agree: an editor or a copy may be halfway through."""
        for _ in range(SETTLE_LOOKS):
            if await self._pause(self._interval / 2):
                break
            before, state = state, await asyncio.to_thread(self._state)
            if state == before:
                break
        return state

    async def _pause(self, seconds: float) -> bool:
        """Wait, but not past a wake; True when there was one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        woken = self._woken.is_set()
        self._woken.clear()
        return woken
