"""A streaming call of the nghttp2 transport, as its handler sees it."""

import asyncio
from collections.abc import AsyncIterator

from ratelimitd.net.turns import Turns

from ._nghttp2 import StreamingCall
from .api import GrpcError, GrpcStatus, StreamHandler

SEND_AHEAD = 64 * 1024
"""Unsent bytes above which ``send`` blocks; HTTP/2's default window, so that a client that reads never waits."""


class ServerStream:
    """Iterate over the requests, ``send`` the responses.

    Attributes:
        metadata: request headers by lower-case name, ``-bin`` values decoded; empty unless the server keeps metadata.
    """

    def __init__(self, call: StreamingCall, turns: Turns) -> None:
        self._call = call
        self._turns = turns
        self.metadata = call.metadata
        self._event = asyncio.Event()
        call.owner = self

    def notify(self) -> bool:
        """Wake the handler after an event; return False if the call has ended."""
        self._event.set()
        return not self._call.closed

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Return the next message, when a turn of the event loop has room for it: a window may be full of messages."""
        while True:
            while not self._call.readable:
                if self._call.half_closed:
                    raise StopAsyncIteration
                await self._next_event()
            await self._turns.message()
            if (body := self._call.take()) is not None:
                return body

    async def send(self, body: bytes) -> None:
        """Send one message; block while more than SEND_AHEAD bytes are unsent."""
        self._call.send(body)
        while self._call.unsent > SEND_AHEAD and not self._call.closed:
            await self._next_event()

    async def _next_event(self) -> None:
        self._event.clear()
        await self._event.wait()

    async def serve(self, handler: StreamHandler) -> None:
        """Run the handler, then end the call with its status; re-raise any exception other than GrpcError."""
        status, message = GrpcStatus.INTERNAL, "internal error"
        try:
            await handler(self)
            status, message = GrpcStatus.OK, ""
        except GrpcError as error:
            status, message = error.status, error.message
        except asyncio.CancelledError:
            status, message = GrpcStatus.CANCELLED, "cancelled"
            raise
        finally:
            self.close(status, message)

    def close(self, status: GrpcStatus, message: str) -> None:
        """End the call, unless it has ended. Needed for a task that is cancelled before ``serve`` runs."""
        if self._call.owner is self:
            self._call.finish(status, message)
            self._call.owner = None  # breaks the reference cycle between the call and the stream
