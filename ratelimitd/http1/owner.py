"""What the connections of one server's clients share, and what they tell the server."""

from collections.abc import Callable
from typing import Protocol

from .exchange import Exchange
from .model import ErrorResponse, Peer, Request
from .options import ServerOptions
from .responses import Render

Handler = Callable[[Request, Exchange], None]
"""Answers a request through its exchange, now or later; called on the loop and must not hold it."""


class Owner(Protocol):
    """The server of a connection.

    Attributes:
        handler: answers requests.
        options: bounds and timeouts; a connection keeps those it began with.
        render: makes headers and body of an error response.
        leaving: the next response of each connection is its last.
    """

    handler: Handler
    options: ServerOptions
    render: Render
    leaving: bool

    def joined(self, member: "Member") -> None:
        """Learn of a new connection, and look after its deadline. Called once, first."""

    def lost(self, member: "Member") -> None:
        """Learn that a connection is closed. Called once."""

    def refused(self, error: ErrorResponse, peer: Peer) -> None:
        """Learn that a request was rejected before the handler saw it, or that a connection was."""


class Member(Protocol):
    """A connection, as its server uses it.

    Attributes:
        deadline: time at which ``expire`` is due.
    """

    deadline: float

    @property
    def asked(self) -> bool:
        """Whether a request came on it."""

    @property
    def idle_since(self) -> float | None:
        """Time since which its client is waited for; None while it is not."""

    def expire(self, now: float) -> None:
        """Act on a deadline that passed. Called by the timer, at ``deadline`` or somewhat later."""

    def leave(self) -> None:
        """Close if idle, now or soon; the server is ``leaving``, so that the next response is the last otherwise.

        May be called for a connection that is not made yet, or closed already.
        """

    def abort(self) -> None:
        """Close at once; what is written and not sent is dropped."""
