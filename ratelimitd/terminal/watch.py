"""``ratelimitd watch``: decisions as they are made, with a new connection when one ends."""

from asyncio import sleep
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final

from .asking import LiveError, Source, decisions
from .events import Event

BACKOFF: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before a new connection, the last again and again: a service restarts within a few seconds."""


async def watched(source: Source, query: Mapping[str, str], say: Callable[[str], None]) -> AsyncGenerator[Event, None]:
    """Yield events without an end.

    ``say`` is told when a connection ended, and when there is one again. Raises LiveError if there is none at first, or
    if another would not help.
    """
    begun, failures = False, 0
    while True:
        try:
            async with aclosing(decisions(source, query)) as events:
                async for event in events:
                    if event is None:
                        if failures:
                            say(f"connected to {source.endpoint} again")
                        begun, failures = True, 0
                    else:
                        yield event
        except LiveError as error:
            if not (begun and error.passing):
                raise
            seconds = BACKOFF[min(failures, len(BACKOFF) - 1)]
            failures += 1
            say(f"{error}; connecting again in {seconds:g} s")
        await sleep(seconds)
