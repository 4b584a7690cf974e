"""The pages of the live view as JSON: /live/overview and its siblings.

What they show comes from a ``LiveView``. A caller with the admin token sees keys as they are, and all others see them
hashed. A wrong token is refused as by the admin API.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import closing
from typing import Any, Final, Protocol, TypeVar

from ratelimitd.live import LimitsQuery
from ratelimitd.observe.loop import batches
from ratelimitd.observe.metrics import SLICE_BYTES

from .events import COMMENT, EVENT_STREAM, HEARTBEAT, Hub, Topic, frame
from .guard import TokenGuard
from .http import JSON, UNSTORED, Access, Page, PageHandler, PageRequest, PageResponse, PageTable, Streaming, as_json
from .live_query import (
    Watched,
    decisions_query,
    denials_query,
    events_query,
    limit_query,
    limits_query,
    no_query,
    what_if_query,
)

T = TypeVar("T")

Document = dict[str, Any]
"""A JSON object, with ``version`` and ``time``."""

HELP: Final = {
    "/live/": "the pages of the live view",
    "/live/decisions": "decisions as they are made, as server-sent events",
    "/live/denials": "recent denials",
    "/live/events": "overview, limits and denials every 2 s, as server-sent events",
    "/live/history": "the hits of the last hour, in steps of 10 s",
    "/live/limit": "one limit: its hour, its keys and their state, its denials",
    "/live/limits": "the limits: numbers, rates, use",
    "/live/overview": "rates now, store, policy, health",
    "/live/replicas": "the replicas that PEERS names; ?all=1 of other pages merges what they show",
    "/live/what-if": "the last hour of a limit, replayed with other numbers",
}
"""The pages, each with a line of help."""

OFF: Final = "the live view is off, since LIVE_MAX_BYTES is 0: set LIVE_MAX_BYTES to a size, 8MiB for example"

NONE_VALID: Final = (
    "no token is valid, since neither ADMIN_TOKEN nor ADMIN_TOKEN_FILE is set: set one, or send no Authorization header"
)

SMALL: Final = 4 << 10
"""Bytes of a document that is sent at once, as other pages are; a larger one has a place among those being sent."""

ROWS: Final = 25
"""Rows that are written as JSON in one turn of the event loop: 1 to 2 ms."""

REPLAYING: Final = "another replay is in progress: try again later"

FLUSH: Final = 0.25
"""Seconds between two looks for new decisions: what a person takes for at once, at a cost of four wake-ups a second."""


class Feed(Protocol):
    """Decisions for one reader; it listens until it is closed."""

    def take(self) -> tuple[list[Document], int]:
        """Return the decisions since the last time, and the number of those that were left out."""

    def close(self) -> None:
        """Listen no more."""


class LiveView(Protocol):
    """What the pages show. ``plain``: keys as they are; else hashed."""

    async def overview(self, *, plain: bool) -> Document:
        """Rates, store, policy and health."""

    async def history(self) -> Document:
        """The hits of the last hour."""

    async def limits(self, query: LimitsQuery, *, plain: bool) -> Document:
        """The limits that a query asks for."""

    async def busiest(self, *, plain: bool) -> Document:
        """The numbers of the 100 limits with the most hits."""

    async def limit(self, limit_id: str, *, plain: bool) -> Document | None:
        """One limit; None: there is none with this id."""

    async def denials(self, limit_id: str, most: int, *, plain: bool) -> Document:
        """The last denials, of one limit or, with "", of all."""

    async def what_if(
        self,
        id: str,  # noqa: A002 -- as above
        changes: Mapping[str, str],
        *,
        plain: bool,
        of_all: Document | None = None,
    ) -> Generator[None, None, Document] | None:
        """Slices of a replay with changes, which return its document; None: there is no limit with this id.

        ``of_all``: what ``limit`` is of all replicas, if their hits are replayed.

        Raises ValueError for changes that cannot be enforced, and for a limit that cannot be replayed.
        """

    def decisions(self, watched: Watched, *, plain: bool) -> Feed:
        """Begin to listen to decisions."""


class LiveAccess:
    """Tells what a caller may see. ``guard`` is that of the admin API; None: there is no token."""

    def __init__(self, guard: TokenGuard | None) -> None:
        self._guard = guard

    def plain(self, request: PageRequest) -> bool | PageResponse:
        """Return whether keys are shown as they are: with the token; or the error response to a wrong one."""
        if "Authorization" not in request.headers:
            return False
        if self._guard is None:
            return as_json(401, {"error": NONE_VALID})
        return self._guard.refusal(request) or True


Answer = Callable[[str, bool], Awaitable[PageResponse]]
"""Answers a raw query of a caller that may see keys as they are, or not; raises ValueError for a mistake in it."""


def live_answers(view: LiveView, hub: Hub) -> dict[str, Answer]:
    """Return what answers each page of the live view that is of this replica alone."""
    return {
        "/live/": _contents,
        "/live/decisions": _decisions(view, hub),
        "/live/denials": _denials(view),
        "/live/events": _events(view, hub),
        "/live/history": _history(view),
        "/live/limit": _limit(view),
        "/live/limits": _limits(view),
        "/live/overview": _overview(view),
    }


def table_of(answers: Mapping[str, Answer], access: LiveAccess) -> PageTable:
    """Return a table of pages of the live view for callers with this access."""
    return {path: Page(_page(access, answer), HELP[path], Access.CHANGES) for path, answer in answers.items()}


def live_off() -> PageTable:
    """Return the table of a live view that is off: 404, and what to set."""

    async def handler(_: PageRequest) -> PageResponse:
        return as_json(404, {"error": OFF})

    return {path: Page(handler, text, Access.CHANGES) for path, text in HELP.items()}


def _page(access: LiveAccess, answer: Answer) -> PageHandler:
    """Make a handler of GET that is given what the caller may see."""

    async def handler(request: PageRequest) -> PageResponse:
        plain = access.plain(request)
        if isinstance(plain, PageResponse):
            return plain
        if request.method not in {"GET", "HEAD"}:
            error = f"method {request.method} is not allowed; use GET"
            return as_json(405, {"error": error}, {"Allow": "GET, HEAD"})
        try:
            return await answer(request.raw_query, plain)
        except ValueError as error:
            return as_json(400, {"error": str(error).encode(errors="backslashreplace").decode()})

    return handler


async def _contents(raw: str, plain: bool) -> PageResponse:  # noqa: ARG001 -- an ``Answer``
    no_query("/live/")(raw)
    return as_json(200, HELP)


def _overview(view: LiveView) -> Answer:
    async def answer(raw: str, plain: bool) -> PageResponse:
        no_query("/live/overview")(raw)
        return await document(await view.overview(plain=plain))

    return answer


def _history(view: LiveView) -> Answer:
    async def answer(raw: str, plain: bool) -> PageResponse:  # noqa: ARG001 -- an ``Answer``
        no_query("/live/history")(raw)
        return await document(await view.history())

    return answer


def _limits(view: LiveView) -> Answer:
    async def answer(raw: str, plain: bool) -> PageResponse:
        return await document(await view.limits(limits_query(raw), plain=plain))

    return answer


def _limit(view: LiveView) -> Answer:
    async def answer(raw: str, plain: bool) -> PageResponse:
        asked = limit_query(raw)
        found = await view.limit(asked, plain=plain)
        return unknown(asked) if found is None else await document(found)

    return answer


def _denials(view: LiveView) -> Answer:
    async def answer(raw: str, plain: bool) -> PageResponse:
        asked = denials_query(raw)
        if asked.id and await view.limit(asked.id, plain=plain) is None:
            return unknown(asked.id)
        return await document(await view.denials(asked.id, asked.limit, plain=plain))

    return answer


def what_if(view: LiveView, merged: Callable[[str, bool], Awaitable[Document | None]]) -> Answer:
    """Return what answers /live/what-if: one replay at a time, which ends when its client leaves.

    ``merged``: returns a limit as all replicas show it, None if none has it.
    """
    replaying = asyncio.Lock()

    async def replay(
        asked: str, changes: Mapping[str, str], plain: bool, *, of_all: bool
    ) -> Generator[None, None, Document] | None:
        if not of_all:
            return await view.what_if(asked, changes, plain=plain)
        shown = await merged(asked, plain)
        return None if shown is None else await view.what_if(asked, changes, plain=plain, of_all=shown)

    async def answer(raw: str, plain: bool) -> PageResponse:
        asked, changes, of_all = what_if_query(raw)
        slices = None if replaying.locked() else await replay(asked, changes, plain, of_all=of_all)
        if replaying.locked():
            return as_json(503, {"error": REPLAYING}, {"Retry-After": "1"})
        if slices is None:
            return unknown(asked)
        return PageResponse(200, _replayed(slices, replaying), JSON, UNSTORED, "document")

    return answer


async def _replayed(slices: Generator[None, None, Document], replaying: asyncio.Lock) -> AsyncGenerator[bytes, None]:
    """Yield the document of a replay; the event loop turns after each of its slices."""
    async with replaying:
        with closing(slices):
            made = await _complete(slices)
        data = await encoded(made)
    yield data


async def _complete(slices: Generator[None, None, Document]) -> Document:
    while True:
        try:
            next(slices)
        except StopIteration as end:
            made: Document = end.value
            return made
        await asyncio.sleep(0)


def _events(view: LiveView, hub: Hub) -> Answer:
    async def answer(raw: str, plain: bool) -> PageResponse:
        asked = events_query(raw)
        if asked and await view.limit(asked, plain=plain) is None:
            return unknown(asked)
        topics = [Topic(name, plain) for name in ("overview", "limits", "denials")]
        topics += [Topic("limit", plain, asked)] if asked else []
        return _stream(hub, lambda: hub.read(tuple(topics)), authorized=plain)

    return answer


def _decisions(view: LiveView, hub: Hub) -> Answer:
    async def answer(raw: str, plain: bool) -> PageResponse:
        watched = decisions_query(raw, plain=plain)
        return _stream(hub, lambda: _fed(view, watched, hub, plain=plain), authorized=plain, kind="decisions")

    return answer


async def _fed(view: LiveView, watched: Watched, hub: Hub, *, plain: bool) -> AsyncGenerator[bytes, None]:
    """Yield the decisions of a feed as events, until the hub closes."""
    feed, clock = view.decisions(watched, plain=plain), asyncio.get_running_loop().time
    try:
        yield COMMENT
        sent = clock()
        while not hub.closed:
            await hub.wait(FLUSH)
            taken, left_out = feed.take()
            events = [frame("decision", each) for each in taken]
            if left_out:
                events.append(frame("skipped", {"count": left_out}))
            if not events and clock() - sent >= HEARTBEAT:
                events = [COMMENT]
            if events:
                sent = clock()
                yield b"".join(events)
        yield hub.goodbye
    finally:
        feed.close()


def _stream(
    hub: Hub, start: Callable[[], AsyncGenerator[bytes, None]], *, authorized: bool, kind: Streaming = "events"
) -> PageResponse:
    if hub.closed:
        return as_json(503, {"error": "the process ends"}, {"Retry-After": "1"})
    return PageResponse(200, start(), EVENT_STREAM, UNSTORED, kind, authorized)


def unknown(asked: str) -> PageResponse:
    """Return the response to an id that no limit has."""
    error = (
        f"no limit has the id {asked}: /live/limits lists them; a limit whose place in the policy changes has another"
    )
    return as_json(404, {"error": error})


async def document(found: Mapping[str, Any]) -> PageResponse:
    """Return a document, which is streamed if it is large."""
    data = await encoded(found)
    if len(data) <= SMALL:
        return PageResponse(200, data, JSON, UNSTORED)
    return PageResponse(200, _pieces(data), JSON, UNSTORED, "document")


async def encoded(found: Mapping[str, Any]) -> bytes:
    """Write a document as JSON in one line, its lists of rows in slices."""
    members: list[str] = []
    for name, value in found.items():
        if isinstance(value, list) and len(value) > ROWS and isinstance(value[0], dict):
            rows: list[str] = []
            for some in batches(value, ROWS):
                rows.append(_compact(some)[1:-1])
                await asyncio.sleep(0)
            text = f"[{','.join(rows)}]"
        else:
            text = _compact(value)
        members.append(f"{_compact(name)}:{text}")
    return f"{{{','.join(members)}}}\n".encode()


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


async def _pieces(data: bytes) -> AsyncGenerator[bytes, None]:
    for at in range(0, len(data), SLICE_BYTES):
        yield data[at : at + SLICE_BYTES]
