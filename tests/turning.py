"""How often the event loop turns while something else runs."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Counts; set ``count`` to start anew."""

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def turning() -> Iterator[Turns]:
    """Count the turns of the running loop."""
    turns = Turns()

    async def turn() -> None:
        while True:
            turns.count += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(turn())
    try:
        yield turns
    finally:
        task.cancel()
