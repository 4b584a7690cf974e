"""A response whose body is generated piece by piece, as fast as the client reads; a cut one is visibly incomplete."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from .bodies import chunk, last_chunk
from .exchange import Exchange
from .model import Headers
from .responses import CHUNKED_HEADER, date_header, has_body, head, persistence, reason_of


async def stream(
    exchange: Exchange,
    status: int,
    headers: Headers,
    pieces: AsyncGenerator[bytes, None],
    *,
    seconds: float | None,
    whole: bool = False,
) -> None:
    """Answer with a body in pieces. Date, Connection and Transfer-Encoding are added.

    The next piece is asked for after the loop has turned, when the client has read enough of the pieces before.
    ``pieces`` is closed in any case: at once for HEAD, and when the client leaves, also while a piece is awaited.

    Args:
        exchange: exchange that is not answered yet.
        status: status other than 204 and 304.
        headers: headers other than those that frame the message.
        pieces: pieces of the body. An exception of it closes the connection, so that the client sees that the body is
            incomplete, and is raised again.
        seconds: seconds for the complete body, then the connection is closed; None: no bound.
        whole: ask for the next piece when the client has read the pieces before, and not when it has read enough of
            them; so what it does not read is one piece, and the generator of the pieces can tell.
    """
    async with aclosing(pieces):
        if exchange.over:
            return
        streamed = Streamed(exchange)
        exchange.relay = streamed
        streamed.begin(status, headers)
        if has_body(exchange.request.method, status):
            await streamed.carry(pieces, seconds, whole=whole)
        if not exchange.over:
            exchange.finish()


class Streamed:
    """The carrier of a streamed response."""

    __slots__ = ("_bound", "_chunked", "_exchange", "_readable")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._chunked = exchange.request.version == b"1.1"
        self._bound: asyncio.Timeout | None = None
        self._readable = asyncio.Event()  # set while the client reads
        self._readable.set()

    # the exchange's side

    def cancel(self) -> None:
        """Stop waiting for pieces, as the client left."""
        if self._bound is not None and not self._bound.expired():
            self._bound.reschedule(asyncio.get_running_loop().time())

    def pause_upstream(self, *, paused: bool) -> None:
        """Pause or resume the generator of the body."""
        if paused:
            self._readable.clear()
        else:
            self._readable.set()

    # the response

    def begin(self, status: int, headers: Headers) -> None:
        """Send the head."""
        request, client = self._exchange.request, self._exchange.client
        self._exchange.status = status
        full = [*headers, date_header()]
        if self._chunked:
            full.append(CHUNKED_HEADER)
        full += persistence(request.version, keep=client.keeps(able=self._chunked))
        client.write(head(status, reason_of(status), full))

    async def carry(self, pieces: AsyncGenerator[bytes, None], seconds: float | None, *, whole: bool) -> None:
        """Send the body, or close the connection in the middle of it."""
        try:
            async with asyncio.timeout(seconds) as self._bound:
                async for piece in pieces:
                    self._send(piece)
                    await asyncio.sleep(0)
                    await self._readable.wait()
                    if whole:
                        await self._all_read()
        except BaseException as error:
            late = isinstance(error, TimeoutError) and self._bound is not None and self._bound.expired()
            self._cut("response took too long" if late else "response could not be made to its end")
            if not late:
                raise
        if self._chunked and not self._exchange.over:
            self._exchange.client.write(last_chunk([]))

    def _send(self, piece: bytes) -> None:
        if piece and not self._exchange.over:  # an empty chunk would be the last
            self._exchange.sent += len(piece)
            self._exchange.client.write(chunk(piece) if self._chunked else piece)

    async def _all_read(self) -> None:
        """Wait until nothing is left in the write buffer, or the client is gone."""
        read = asyncio.Event()
        self._exchange.client.when_sent(read.set)
        await read.wait()

    def _cut(self, reason: str) -> None:
        """Close the connection at once: a client that does not read would hold it, and later see no error."""
        exchange = self._exchange
        if not exchange.over:
            exchange.error, exchange.cut = reason, "gateway"
            exchange.break_off(reset=not self._chunked, flush=False)
