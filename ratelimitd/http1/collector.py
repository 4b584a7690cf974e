"""Reads a request body completely, for handlers that answer themselves."""

import asyncio

from .exchange import Exchange
from .model import ErrorResponse

TOO_LARGE = ErrorResponse(413, "request body is too large")
TOO_SLOW = ErrorResponse(408, "request body took too long")


async def read_body(exchange: Exchange, *, max_body: int, seconds: float) -> bytes | None:
    """Read the request's body to its end.

    Args:
        exchange: exchange that is not answered yet.
        max_body: bytes; a larger body is refused with 413.
        seconds: seconds for the complete body; a slower one is refused with 408, and the connection closes.

    Returns:
        the body, or None if the exchange ended instead: the request was refused, or its client left.
    """
    length = exchange.request.length
    if exchange.over:
        return None
    if length == 0:
        return b""
    if length > max_body:
        exchange.refuse(TOO_LARGE)
        return None
    collector = Collector(exchange, max_body)
    exchange.relay = collector
    exchange.client.start_body(collector)
    try:
        async with asyncio.timeout(seconds):
            return await collector.result
    except TimeoutError:
        if not exchange.over:
            exchange.client.keeps(able=False)  # else the rest of the body would have its time anew
            exchange.reject(TOO_SLOW)
        return None


class Collector:
    """Collects a body: the sink of its pieces and, until it is complete, the carrier of its exchange.

    Attributes:
        result: the body, or None if the exchange ended before it was complete.
    """

    __slots__ = ("_exchange", "_left", "_pieces", "result")

    def __init__(self, exchange: Exchange, max_body: int) -> None:
        self._exchange = exchange
        self._left = max_body
        self._pieces: list[bytes] = []
        self.result: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    def body(self, piece: bytes) -> None:
        """Take a piece, or reject the request if the body is too large."""
        self._left -= len(piece)
        if self._left < 0:
            self._exchange.reject(TOO_LARGE)
        else:
            self._pieces.append(piece)

    def body_end(self) -> None:
        """Return the body; the exchange has no carrier from now on, and is to be answered."""
        self._exchange.relay = None
        self._settle(b"".join(self._pieces))

    def cancel(self) -> None:
        """Return that there is no body."""
        self._settle(None)

    def pause_upstream(self, *, paused: bool) -> None:
        """Do nothing: no response is sent while the body is read."""

    def _settle(self, body: bytes | None) -> None:
        if not self.result.done():
            self.result.set_result(body)
