"""How often the event loop turns while something else runs."""

import asyncio
from contextlib import contextmanager


class Turns:
    """Counts; set ``count`` to start anew."""

    def __init__(self):
        self.count = 0


@contextmanager
def turning():
    """Count the turns of the running loop."""
    turns = Turns()

    async def turn():
        while True:
            turns.count += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(turn())
    try:
        yield turns
    finally:
        task.cancel()
