"""One question to another replica: its live view over HTTP, and in which way there is none."""

import asyncio
import ssl
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import urlencode

from ratelimitd.admin import HASHED, KEYS_HEADER
from ratelimitd.http1 import (
    ConnectError,
    Endpoint,
    FetchError,
    FetchTimeoutError,
    ResponseTooLargeError,
    fetch,
)

SECONDS: Final = 1.0
"""Time for an answer: a healthy replica takes some milliseconds, and a person waits for the slowest."""

DOCUMENTS: Final = 2
"""Connections to a replica at a time: one for each document that is asked for."""

UNAUTHORIZED: Final = frozenset((401, 403, 429))
"""Statuses of a request whose token is not that of the replica; 429: of too many of them."""

NOT_FOUND: Final = 404


HASHED_KEYS: Final = (KEYS_HEADER.encode(), HASHED.encode())


class State(StrEnum):
    """What came of asking a replica; but for ``ok`` the documents are without it."""

    OK = "ok"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    UNAUTHORIZED = "unauthorized"
    FAILED = "failed"


class NoAnswerError(Exception):
    """A replica that gave no answer that can be used."""

    def __init__(self, state: State, reason: str) -> None:
        super().__init__(reason)
        self.state = state


class Question(NamedTuple):
    """What is asked of every replica.

    Attributes:
        kind: the page below /live/.
        query: of the page.
        token: the admin token.
        tls: context of the connections; None: plain text.
        most: bytes of an answer.
        hashed: ask for hashed keys, though the token is sent.
    """

    kind: str
    query: Mapping[str, str]
    token: bytes
    tls: ssl.SSLContext | None
    most: int
    hashed: bool


class Answer(NamedTuple):
    """What a replica answered, as JSON; ``document`` is None if it does not have what was asked for: a limit."""

    overview: bytes
    document: bytes | None


async def ask(endpoint: Endpoint, question: Question) -> Answer:
    """Ask a replica for its overview, which tells which replica it is, and for one more document.

    Raises NoAnswerError.
    """
    if question.kind == "overview":
        overview = await _document(endpoint, question)
        return Answer(_there(overview), overview)
    first = question._replace(kind="overview", query={})
    overview, document = await asyncio.gather(_document(endpoint, first), _document(endpoint, question))
    return Answer(_there(overview), document)


def _there(overview: bytes | None) -> bytes:
    if overview is None:
        raise NoAnswerError(State.FAILED, "it has no live view: set LIVE_MAX_BYTES there")
    return overview


async def _document(endpoint: Endpoint, question: Question) -> bytes | None:
    """Return the body of a page, None if the replica does not have it."""
    query = f"?{urlencode(question.query, errors='surrogateescape')}" if question.query else ""
    headers = [(b"Authorization", b"Bearer " + question.token), *([HASHED_KEYS] if question.hashed else [])]
    try:
        status, _, body = await fetch(
            endpoint,
            b"GET",
            f"/live/{question.kind}{query}".encode(),
            seconds=SECONDS,
            max_body=question.most,
            headers=headers,
            tls=question.tls,
        )
    except FetchError as error:
        raise NoAnswerError(_state(error), _reason(error, question)) from error
    if status == NOT_FOUND:
        return None
    if status in UNAUTHORIZED:
        raise NoAnswerError(State.UNAUTHORIZED, f"it answered {status}: its admin token is another")
    if status != 200:
        raise NoAnswerError(State.FAILED, f"it answered {status}")
    return body


def _state(error: FetchError) -> State:
    if isinstance(error, FetchTimeoutError):
        return State.TIMEOUT
    refused = isinstance(error, ConnectError) and isinstance(error.__cause__, ConnectionRefusedError)
    return State.REFUSED if refused else State.FAILED


def _reason(error: FetchError, question: Question) -> str:
    too_large = isinstance(error, ResponseTooLargeError)
    return f"its answer is larger than {question.most >> 10} KiB" if too_large else str(error)
