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

    def admit(self, peer: Peer) -> str:
        """Return why a new connection is rejected; empty if it is accepted. Called once, first."""

    def joined(self, member: "Member", peer: Peer) -> None:
        """Learn of an accepted connection, and look after its deadline. Called once, after ``admit``."""

    def lost(self, member: "Member", peer: Peer) -> None:
        """Learn that an accepted connection is closed. Called once, before its exchange learns it."""

    def refused(self, error: ErrorResponse, peer: Peer) -> None:
        """Learn that a request was rejected before the handler saw it, or that a connection was."""


class Member(Protocol):
    """A connection, as its server uses it."""

    deadline: float

    def expire(self, now: float) -> None:
        """Act on a deadline that passed. Called by the timer, at ``deadline`` or somewhat later."""

    def leave(self) -> None:
        """Close if idle; the server is ``leaving``, so that the next response is the last otherwise."""

    def abort(self) -> None:
        """Close at once; what is written and not sent is dropped."""
