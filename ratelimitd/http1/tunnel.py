"""Two connections joined after a 101: bytes in both directions, each paused while its receiver does not read.

A direction that ends is closed, and the other one goes on. TLS has no half-close: with TLS on either side the tunnel
ends with the first direction that does; what was written is sent before.
"""

from collections.abc import Callable

from .interfaces import ExchangeInterface
from .model import ErrorResponse
from .upstream_connection import UpstreamConnection


class Tunnel:
    """The carrier of a granted upgrade, one exchange of status 101; ends when both sides closed, or one is lost."""

    __slots__ = ("_client_done", "_connection", "_exchange", "_half_closes", "_release", "_upstream_done")

    def __init__(
        self, exchange: ExchangeInterface, connection: UpstreamConnection, release: Callable[[], None]
    ) -> None:
        """``release`` ends the request in flight at the endpoint; its outcome was recorded with the 101."""
        self._exchange = exchange
        self._connection = connection
        self._release = release
        self._half_closes = exchange.client.half_closes and connection.half_closes
        self._client_done = self._upstream_done = False

    # the client's side

    def body(self, piece: bytes) -> None:
        """Forward bytes of the client."""
        self._connection.send(piece)

    def body_end(self) -> None:
        """Forward the end of the client's direction."""
        self._client_done = True
        if not self._finishes():
            self._connection.send_eof()

    def cancel(self) -> None:
        """Close the upstream connection, as the client left."""
        self._connection.abort()
        self._release()

    def pause_upstream(self, *, paused: bool) -> None:
        """Pause or resume reading from the upstream."""
        self._connection.pause(paused=paused)

    # the upstream's side

    def data(self, piece: bytes) -> None:
        """Forward bytes of the upstream."""
        self._exchange.sent += len(piece)
        self._exchange.client.write(piece)

    def eof(self) -> None:
        """Forward the end of the upstream's direction."""
        self._upstream_done = True
        if not self._finishes():
            self._exchange.client.send_eof()

    def writing_paused(self, *, paused: bool) -> None:
        """Pause or resume reading from the client."""
        self._exchange.client.pause_body(paused=paused)

    def lost(self, error: ErrorResponse, *, unheard: bool) -> None:  # noqa: ARG002 -- a 101 came
        """End the exchange: the upstream connection was lost, or both directions were idle for too long."""
        self._release()
        self._exchange.error = error.reason
        self._exchange.break_off()

    def _finishes(self) -> bool:
        """End the tunnel after the end of one direction, unless the other one goes on."""
        if self._half_closes and not (self._client_done and self._upstream_done):
            return False
        self._connection.close()
        self._release()
        self._exchange.finish()
        return True
