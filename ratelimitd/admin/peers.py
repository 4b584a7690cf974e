"""The live view of several replicas: ``?all=1`` for callers, and the pages that replicas read of one another."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlencode

from .events import Hub
from .guard import TokenGuard
from .http import PageRequest, PageResponse, PageTable, as_json
from .live import Answer, Document, LiveAccess, LiveView, document, live_answers, table_of, unknown, what_if
from .live_query import LIMITS_MOST, denials_query, limit_query, limits_query, no_query

READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "overview": no_query("/live/overview?all=1"),
    "history": no_query("/live/history?all=1"),
    "limits": limits_query,
    "limit": limit_query,
    "denials": denials_query,
}
"""The pages below /live/ that are merged, each with the reader of its query; these alone are on PEER_ADDR."""

KEYS_HEADER: Final = "Ratelimitd-Keys"
HASHED: Final = "hashed"
"""A header by which a replica asks for hashed keys, for a caller of its own without the token."""


class NotTogetherError(Exception):
    """The replicas cannot be merged for this caller; the text says why, and what to set."""


class AllReplicas(Protocol):
    """All replicas."""

    async def all_of(self, kind: str, query: Mapping[str, str], plain: bool) -> Document | None:
        """Return a page of all replicas; None if none has what is asked for. Raises NotTogetherError."""

    async def replicas(self) -> Document:
        """Return which replicas there are, and how each of them is."""


class PeerAccess(LiveAccess):
    """Tells what another replica may see: nothing without the token.

    ``guard``: of the admin token, for callers on other hosts.
    """

    def __init__(self, guard: TokenGuard) -> None:
        super().__init__(guard)
        self._token = guard

    def plain(self, request: PageRequest) -> bool | PageResponse:
        """Return whether keys are shown as they are, or the error response to a request without the token."""
        return self._token.refusal(request) or request.headers.get(KEYS_HEADER, "").lower() != HASHED


def live_pages(view: LiveView, access: LiveAccess, hub: Hub, replicas: AllReplicas) -> PageTable:
    """Return the table of the live view, of this replica and of all of them."""
    answers = live_answers(view, hub)
    of_all = {f"/live/{kind}": _of_all(kind, answers[f"/live/{kind}"], replicas) for kind in READERS}
    of_all["/live/what-if"] = _what_if(view, replicas)
    merging = {path: _together(answer) for path, answer in of_all.items()}
    return table_of({**answers, **merging, "/live/replicas": _replicas(replicas)}, access)


def peer_pages(view: LiveView, guard: TokenGuard, hub: Hub) -> PageTable:
    """Return the table of PEER_ADDR: the documents that another replica merges with its own."""
    answers = live_answers(view, hub)
    return table_of({f"/live/{kind}": answers[f"/live/{kind}"] for kind in READERS}, PeerAccess(guard))


async def page_of(view: LiveView, kind: str, query: Mapping[str, str], *, plain: bool) -> Document | None:
    """Return a page of one replica for a query that is valid; None if it does not have what is asked for."""
    read = READERS[kind](urlencode(query, errors="surrogateescape"))
    pages: Mapping[str, Callable[[], Awaitable[Document | None]]] = {
        "overview": lambda: view.overview(plain=plain),
        "history": view.history,
        "limits": lambda: view.limits(read, plain=plain),
        "limit": lambda: view.limit(read, plain=plain),
        "denials": lambda: view.denials(read.id, read.limit, plain=plain),
    }
    return await pages[kind]()


def _of_all(kind: str, one: Answer, replicas: AllReplicas) -> Answer:
    """Answer ``all=1`` with the merged page, and any other query with that of this replica."""

    async def answer(raw: str, plain: bool) -> PageResponse:
        given = parse_qsl(raw, keep_blank_values=True, errors="surrogateescape")
        if not any(name == "all" for name, _ in given):
            return await one(raw, plain)
        query = _query(kind, given)
        found = await replicas.all_of(kind, query, plain)
        return unknown(query["id"]) if found is None else await document(found)

    return answer


def _what_if(view: LiveView, replicas: AllReplicas) -> Answer:
    """Replay the hits of this replica, or with ``all=1`` those of all that share a counter."""

    async def merged(limit_id: str, plain: bool) -> Document | None:
        found = await replicas.all_of("limit", {"id": limit_id}, plain)
        if found is not None and found["counters"] != "shared":
            raise ValueError(
                "each replica has counters of its own in memory: replay the hits of one replica, without all=1"
            )
        return found

    return what_if(view, merged)


def _together(merging: Answer) -> Answer:
    """Answer 403 to a caller for which replicas cannot be merged."""

    async def answer(raw: str, plain: bool) -> PageResponse:
        try:
            return await merging(raw, plain)
        except NotTogetherError as error:
            return as_json(403, {"error": str(error)})

    return answer


def _query(kind: str, given: list[tuple[str, str]]) -> dict[str, str]:
    """Return the query without ``all``; raises ValueError."""
    if [value for name, value in given if name == "all"] != ["1"]:
        raise ValueError("all is 1, once: write ?all=1, or leave it out")
    rest = [(name, value) for name, value in given if name != "all"]
    read = READERS[kind](urlencode(rest, errors="surrogateescape"))
    if kind == "limits" and read.offset + read.limit > LIMITS_MOST:
        raise ValueError(
            f"with all=1 only the first {LIMITS_MOST} limits are merged: write offset and limit with a sum of at most "
            f"{LIMITS_MOST}, and search for others"
        )
    return dict(rest)


def _replicas(replicas: AllReplicas) -> Answer:
    async def answer(raw: str, plain: bool) -> PageResponse:  # noqa: ARG001 -- an ``Answer``
        no_query("/live/replicas")(raw)
        return await document(await replicas.replicas())

    return answer
