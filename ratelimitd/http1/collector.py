"""A request's body, read result: for handlers that answer by themselves."""

import asyncio

from .exchange import Exchange
from .model import ErrorResponse, Headers

TOO_LARGE = ErrorResponse(413, "request body is too large")
TOO_SLOW = ErrorResponse(408, "request body took too long")


async def read_body(exchange: Exchange, *, max_body: int, seconds: float) -> bytes | None:
    """Read the request's body to its end.

    Args:
        exchange: not yet answered.
        max_body: bytes; a larger body is refused with 413.
        seconds: for the whole body; a slower one is refused with 408, and the connection closed.

    Returns:
        the body, or None where the exchange ended instead: the request was refused, or its client is gone.
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
            exchange.client.keeps(able=False)  # or the rest of the body would be waited for once more
            exchange.reject(TOO_SLOW)
        return None


class Collector:
    """Gathers a body: the sink of its bytes and, until it is whole, the carrier of its exchange.

    Attributes:
        result: the body, or None where the exchange ended before it was whole.
    """

    __slots__ = ("_exchange", "_left", "_pieces", "result")

    def __init__(self, exchange: Exchange, max_body: int) -> None:
        self._exchange = exchange
        self._left = max_body
        self._pieces: list[bytes] = []
        self.result: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    def body(self, piece: bytes) -> None:
        """Take a piece, or refuse the request where it is one too many."""
        self._left -= len(piece)
        if self._left < 0:
            self._exchange.reject(TOO_LARGE)
        else:
            self._pieces.append(piece)

    def body_end(self, trailers: Headers) -> None:  # noqa: ARG002 -- a BodySink; trailers are of no use here
        """Hand the body on; the exchange is to be answered from now on."""
        self._exchange.relay = None
        self._settle(b"".join(self._pieces))

    def cancel(self) -> None:
        """Hand on that there will be no body."""
        self._settle(None)

    def pause_upstream(self, *, paused: bool) -> None:
        """Nothing is sent while a body is read."""

    def _settle(self, body: bytes | None) -> None:
        if not self.result.done():
            self.result.set_result(body)
