"""A streaming call of the fast transport, as the coroutine that serves it sees it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from .api import GrpcError, Status, StreamHandler

SEND_AHEAD = 64 * 1024
"""Bytes a handler may be ahead of its caller; HTTP/2's default window, so that a reading caller never waits."""


class Pipe(Protocol):
    """What the session offers for a streaming call."""

    owner: object

    @property
    def metadata(self) -> dict[str, list[bytes]]:
        """The caller's headers, where the server keeps them."""

    @property
    def ended(self) -> bool:
        """The caller sends no more than what ``take`` still returns."""

    @property
    def over(self) -> bool:
        """Nothing can be sent any more."""

    @property
    def unsent(self) -> int:
        """Bytes sent that wait for the caller to read."""

    def take(self) -> bytes | None:
        """Return the next request message, None when there is none yet."""

    def send(self, body: bytes) -> None:
        """Queue a response message."""

    def finish(self, status: int, message: str) -> None:
        """End the call."""


class ServerStream:
    """Iterate over the requests, ``send`` the responses.

    Attributes:
        metadata: the caller's headers by lower-case name, ``-bin`` ones decoded; empty unless the server keeps them.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.metadata = pipe.metadata
        self._news = asyncio.Event()
        pipe.owner = self

    def touch(self) -> bool:
        """Look again; returns False when the caller has left."""
        self._news.set()
        return not self._pipe.over

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while (body := self._pipe.take()) is None:
            if self._pipe.ended:
                raise StopAsyncIteration
            await self._change()
        return body

    async def send(self, body: bytes) -> None:
        """Send one message; waits while the caller is more than SEND_AHEAD bytes behind."""
        self._pipe.send(body)
        while self._pipe.unsent > SEND_AHEAD and not self._pipe.over:
            await self._change()

    async def _change(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def serve(self, handler: StreamHandler) -> None:
        """Run the handler to its end, and end the call with its status; raises what is no GrpcError."""
        status, message = Status.INTERNAL, "internal error"
        try:
            await handler(self)
            status, message = Status.OK, ""
        except GrpcError as error:
            status, message = error.status, error.message
        except asyncio.CancelledError:
            status, message = Status.CANCELLED, "cancelled"
            raise
        finally:
            self.close(status, message)

    def close(self, status: Status, message: str) -> None:
        """End the call; nothing when it was ended. A task cancelled before its first step leaves it to others."""
        if self._pipe.owner is self:
            self._pipe.finish(status, message)
            self._pipe.owner = None  # the pipe holds the stream, and the stream the pipe
