"""Two connections joined after a 101: bytes both ways, each at the pace of who takes them."""

from collections.abc import Callable

from .circuit_breaker import Outcome
from .interfaces import ExchangeInterface
from .model import ErrorResponse, Headers
from .upstream_connection import UpstreamConnection


class Tunnel:
    """Lasts until both sides have said all, or one is gone. It is one exchange, of status 101."""

    __slots__ = ("_client_done", "_connection", "_exchange", "_settle", "_upstream_done")

    def __init__(
        self, exchange: ExchangeInterface, connection: UpstreamConnection, settle: Callable[[Outcome], None]
    ) -> None:
        """``settle`` records the outcome with the upstream."""
        self._exchange = exchange
        self._connection = connection
        self._settle = settle
        self._client_done = self._upstream_done = False

    # the client's side

    def body(self, piece: bytes) -> None:
        """Pass on what the client says."""
        self._connection.send(piece)

    def body_end(self, trailers: Headers) -> None:  # noqa: ARG002 -- a BodySink; tunnels have no trailers
        """The client has said all."""
        self._client_done = True
        self._connection.send_eof()
        self._finish_if_done()

    def cancel(self) -> None:
        """The client is gone."""
        self._connection.abort()
        self._settle(Outcome.GOOD)

    def pause_upstream(self, *, paused: bool) -> None:
        """Pause or resume reading from the upstream."""
        self._connection.pause(paused=paused)

    # the upstream's side

    def data(self, piece: bytes) -> None:
        """Pass on what the upstream says."""
        self._exchange.sent += len(piece)
        self._exchange.client.write(piece)

    def eof(self) -> None:
        """The upstream has said all."""
        self._upstream_done = True
        self._exchange.client.send_eof()
        self._finish_if_done()

    def writing_paused(self, *, paused: bool) -> None:
        """Pause or resume reading from the client."""
        self._exchange.client.pause_body(paused=paused)

    def lost(self, error: ErrorResponse, *, unheard: bool) -> None:  # noqa: ARG002 -- a 101 was heard
        """The upstream is gone, or both were silent for too long."""
        self._settle(Outcome.GOOD)
        self._exchange.error = error.reason
        self._exchange.break_off()

    def _finish_if_done(self) -> None:
        if self._client_done and self._upstream_done:
            self._connection.close()
            self._settle(Outcome.GOOD)
            self._exchange.finish()
