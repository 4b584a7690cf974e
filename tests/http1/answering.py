"""Handlers that answer in a task of their own."""

import asyncio


class Answering:
    """A handler out of a coroutine function of an exchange; what the tasks raised is kept for the test to look at."""

    def __init__(self, answer):
        self.errors = []
        self.tasks = []
        self._answer = answer

    def __call__(self, request, exchange):
        self.tasks.append(asyncio.ensure_future(self._run(exchange)))

    async def _run(self, exchange):
        try:
            await self._answer(exchange)
        except Exception as error:
            self.errors.append(error)
            raise

    async def ended(self):
        """Wait until all tasks are over."""
        await asyncio.gather(*self.tasks, return_exceptions=True)
