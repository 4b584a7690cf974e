"""What a client says on an ADS stream, and when: no I/O and no clock.

The caller reports what happens (``opened``, ``received``, ``judged``, ``closed``) and does what ``next`` returns. Times
are seconds of a monotonic clock.

A control plane answers a NACK with the same policy again, at once and for ever, so repeated answers are held back. It
hears of no change until it is answered, so they are not held back for long.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

PACE: Final = 1.0
"""Seconds between two NACKs, and before an answer to a response that brought nothing new: a corrected policy waits as
long."""

RETRY: Final = 60.0
"""Seconds until a response that could not be loaded for want of memory or time is loaded again, if it is sent again."""

TEXT_MOST: Final = 64 << 10
"""Characters of a NACK's text: some 500 errors. Servers accept requests of up to 4 MiB."""


class Response(NamedTuple):
    """A response: its version and nonce, a digest of its resources in any order, and all of it as received."""

    version: str
    nonce: str
    digest: bytes
    body: bytes


class Request(NamedTuple):
    """A request: the first of a stream has no nonce; an ACK has its response's version; a NACK has an error."""

    version: str = ""
    nonce: str = ""
    error: str = ""


class Refusal(NamedTuple):
    """Why a response is not in force. ``lasting``: because of its content, so it would be refused again."""

    text: str
    lasting: bool = True


class Load(NamedTuple):
    """Load this response, and report with ``judged`` what became of it."""

    response: Response


class Send(NamedTuple):
    """Send this request, the answer to ``response``; the first request of a stream answers none."""

    request: Request
    response: Response | None = None


class Wait(NamedTuple):
    """Do nothing until this time, or until something else is reported."""

    until: float


class _Refused(NamedTuple):
    digest: bytes
    text: str
    until: float


class Protocol:
    """The client's side of one stream after the other."""

    def __init__(self) -> None:
        self._open = self._greeted = False
        self._newest: Response | None = None
        self._is_news = False
        self._accepted = ""
        self._in_force: bytes | None = None
        self._refused: _Refused | None = None
        self._nacked_at = self._answered_at = -math.inf

    def opened(self) -> None:
        """Begin with a new stream. Nonces belong to a stream, so nothing of an earlier one is answered."""
        self._open, self._greeted = True, False
        self._newest = None
        self._answered_at = -math.inf

    def closed(self) -> None:
        """End with a stream. What it brought last is still the policy that the control plane wants."""
        self._open = False

    def received(self, response: Response) -> None:
        """Take a response; the newest is the one to answer."""
        self._newest, self._is_news = response, False

    def judged(self, response: Response, refusal: Refusal | None, now: float) -> None:
        """Take what became of a response that was loaded; None: it is in force."""
        if response is self._newest:
            self._is_news = True
        if refusal is None:
            self._accepted, self._in_force, self._refused = response.version, response.digest, None
        else:
            until = math.inf if refusal.lasting else now + RETRY
            self._refused = _Refused(response.digest, refusal.text, until)

    def next(self, now: float) -> Load | Send | Wait:
        """Return what to do now."""
        if self._open and not self._greeted:
            self._greeted = True
            # Without the version of an earlier stream: a restarted control plane may count from 1 again, and would take
            # an equal number for its own policy.
            return Send(Request())
        return Wait(math.inf) if self._newest is None else self._answer(self._newest, now)

    def _answer(self, response: Response, now: float) -> Load | Send | Wait:
        accepted = response.digest == self._in_force
        refused = self._refused if not accepted and self._is_refused(response, now) else None
        if not accepted and refused is None:
            return Load(response)
        if not self._open:
            self._newest = None
            return Wait(math.inf)
        due = self._due(nack=refused is not None)
        if now < due:
            return Wait(due)
        self._newest = None
        self._answered_at = now
        if refused is not None:
            self._nacked_at = now
            return Send(Request(self._accepted, response.nonce, refused.text), response)
        self._accepted, self._refused = response.version, None  # what was refused is news again, if it comes back
        return Send(Request(response.version, response.nonce), response)

    def _is_refused(self, response: Response, now: float) -> bool:
        refused = self._refused
        return refused is not None and refused.digest == response.digest and now < refused.until

    def _due(self, *, nack: bool) -> float:
        """Return when the newest response may be answered."""
        if nack:
            return self._nacked_at + PACE
        return -math.inf if self._is_news else self._answered_at + PACE


def nack_text(errors: Sequence[object]) -> str:
    """Join the errors of a response to the text of a NACK; those that it has no room for are counted."""
    texts: list[str] = []
    room = TEXT_MOST
    for error in errors:
        text = str(error)
        room -= len(text)
        if room < 0 and texts:
            return "; ".join([*texts, f"and {len(errors) - len(texts)} more"])
        texts.append(text)
    return "; ".join(texts)[:TEXT_MOST]
