"""A text that is rendered for all that ask for it within a moment, for a port that every client reaches."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from math import inf
from typing import Final

from ratelimitd.observe.loop import joined
from ratelimitd.observe.metrics import SLICE_BYTES

from .pages import Stream

REUSE_SECONDS: Final = 0.1
"""Age up to which a text is sent again: to render 30 KiB of metrics takes 0.7 ms, so at most a hundredth of a core."""

REUSE_BYTES: Final = 1 << 20
"""A longer text is rendered for each request: it is not kept."""


class Reused:
    """A ``Stream`` of what another one renders, at most once each ``REUSE_SECONDS``."""

    __slots__ = ("_clock", "_made", "_rendering", "_start", "_text")

    def __init__(self, start: Stream, clock: Callable[[], float] = time.monotonic) -> None:
        self._start = start
        self._clock = clock
        self._rendering = asyncio.Lock()
        self._made = -inf
        self._text: list[bytes] = []

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        """Send the text that is kept, or render it."""
        async with aclosing(self._start()) as rendered:
            async with self._rendering:
                text, whole = await self._current(rendered)
            for piece in text:
                yield piece
            if not whole:
                async for piece in rendered:
                    yield piece

    async def _current(self, rendered: AsyncGenerator[bytes, None]) -> tuple[list[bytes], bool]:
        """Return the text and True, or the beginning of one that is too long to be kept."""
        if self._clock() - self._made < REUSE_SECONDS:
            return self._text, True
        pieces: list[bytes] = []
        size, began = 0, self._clock()
        async for piece in rendered:
            pieces.append(piece)
            size += len(piece)
            if size > REUSE_BYTES:
                return pieces, False
            await asyncio.sleep(0)
        self._text, self._made = list(joined(pieces, len(pieces), SLICE_BYTES)), began
        return self._text, True
