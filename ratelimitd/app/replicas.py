"""The live view of all replicas: PEERS are asked for theirs, and the documents are merged with this one's."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, Final, NamedTuple

from ratelimitd.admin import NotTogetherError, Token, TokenError
from ratelimitd.config.values import PeerName
from ratelimitd.http1 import Endpoint
from ratelimitd.live import arranged, fault, merged
from ratelimitd.net.connect import resolve

from .asking import SECONDS, Answer, NoAnswerError, Question, State, ask
from .json_pieces import decoded
from .peer_tls import PeerTls

Document = dict[str, Any]

Own = Callable[[str, Mapping[str, str], bool], Awaitable[Document | None]]
"""Returns the document of this replica: the page below /live/, its query, and whether values are shown as they are;
None if there is none, such as of a limit that this replica does not have."""

PORT: Final = 6071
"""Default port of other replicas: next to that of the debug port."""

MOST: Final = 64
"""Replicas that are asked: ten times what the manifests run."""

ANSWER_BYTES: Final = 1 << 20
"""Largest answer of a replica: 500 limits with their charts are some 650 KiB."""

TOGETHER_BYTES: Final = 8 << 20
"""Largest sum of the answers to one question: with more than 8 replicas, each may answer less."""

QUESTION_BYTES: Final = 2 * TOGETHER_BYTES
"""Memory of a question, of which there is one at a time: the answers, and what is decoded of one and merged."""

ROW_BYTES: Final = 2 << 10
"""Bytes of a limit to allow for in an answer: 1,350 with its charts, and a long path."""

LIMITS_MOST: Final = 200
"""Rows of a replica's limits that are merged: the most of one document."""

RESOLVED_SECONDS: Final = 5.0
"""Time for which addresses are used again, and a replica that did not answer is not asked: Envoy's STRICT_DNS asks as
often."""

CLOCK_SECONDS: Final = 15.0
"""Difference of clocks that is told: histories of such a replica do not fit those of others."""


NOT_TOGETHER: Final = (
    "each replica hashes keys with a secret of its own, so they can be merged only with the admin token; send it, or "
    "set the same IDENTITY_SECRET for all replicas"
)


class Asked(NamedTuple):
    """A replica that was asked at an address, and its answer or the reason that there is none."""

    address: str
    answer: Answer | NoAnswerError


class Addresses(NamedTuple):
    """The addresses of other replicas, and the names that have none."""

    endpoints: tuple[Endpoint, ...]
    lacking: tuple[Asked, ...]


class Replicas:
    """Asks the replicas that PEERS names, and merges what they answer.

    Args:
        peers: PEERS.
        port: of those that have none.
        own: returns a document of this replica.
        token: returns the admin token, by which replicas are asked.
        tls: of the connections; None: plain text.
        same_hashes: whether the hashes of all replicas agree, as they have the same IDENTITY_SECRET.
    """

    def __init__(
        self,
        peers: Sequence[PeerName],
        port: int,
        own: Own,
        token: Token,
        tls: PeerTls | None,
        *,
        same_hashes: bool,
    ) -> None:
        self._peers = peers
        self._port = port
        self._own = own
        self._token = token
        self._tls = tls
        self._same_hashes = same_hashes
        self._turn = asyncio.Lock()
        self._late: dict[Endpoint, Asked] = {}
        self._found = Addresses((), ())
        self._found_at = -inf

    async def replicas(self) -> Document:
        """Return which replicas there are, and how each of them is."""
        overview = await self._overview(plain=False)
        async with self._turn:
            asked = await self._ask_all("overview", {}, plain=False)
            made = await asyncio.to_thread(_merged, "overview", overview, overview, asked, {})
        told = {"configured": bool(self._peers), "replicas": made.rows}
        return {"version": overview["version"], "time": overview["time"], **told}

    async def all_of(self, kind: str, query: Mapping[str, str], plain: bool) -> Document | None:
        """Return a document of all replicas, with a row of each; None if none has what is asked for.

        Raises NotTogetherError for a caller without the token if hashes of replicas differ.
        """
        if not plain and self._peers and not self._same_hashes:
            raise NotTogetherError(NOT_TOGETHER)
        query = {name: value for name, value in query.items() if name != "all"}
        async with self._turn:
            wide = self._wide(kind, query, await self._addresses())
            overview, own = await self._overview(plain=plain), await self._own(kind, wide, plain)
            asked = await self._ask_all(kind, wide, plain=plain)
            made = await asyncio.to_thread(_merged, kind, overview, own, asked, query)
        if made.document is None:
            return None
        counters = "shared" if overview["store"]["kind"] == "redis" else "each"
        return {**made.document, "counters": counters, "replicas": made.rows}

    async def _overview(self, *, plain: bool) -> Document:
        overview = await self._own("overview", {}, plain)
        if overview is None:
            raise RuntimeError("every replica has an overview")
        return overview

    def _wide(self, kind: str, query: Mapping[str, str], found: Addresses) -> Mapping[str, str]:
        """Return the query for each replica: of limits the first rows, since which are first of all is seen later."""
        if kind != "limits":
            return query
        return {**query, "offset": "0", "limit": str(min(LIMITS_MOST, _most(found) // ROW_BYTES))}

    async def _ask_all(self, kind: str, query: Mapping[str, str], *, plain: bool) -> list[Asked]:
        found = await self._addresses()
        if not found.endpoints:
            return list(found.lacking)
        try:
            token = self._token()
            tls = None if self._tls is None else await self._tls.latest()
        except (TokenError, OSError) as error:
            failed = NoAnswerError(State.FAILED, f"it was not asked: {error}")
            return [*(Asked(str(endpoint), failed) for endpoint in found.endpoints), *found.lacking]
        question = Question(kind, query, token, tls, _most(found), not plain)
        asked = await asyncio.gather(*(self._asked(endpoint, question) for endpoint in found.endpoints))
        return [*asked, *found.lacking]

    async def _asked(self, endpoint: Endpoint, question: Question) -> Asked:
        """Ask a replica, unless it let another question wait in vain since its address was looked up."""
        if endpoint in self._late:
            return self._late[endpoint]
        try:
            return Asked(str(endpoint), await ask(endpoint, question))
        except NoAnswerError as error:
            asked = Asked(str(endpoint), error)
            if error.state is State.TIMEOUT:
                self._late[endpoint] = asked
            return asked

    async def _addresses(self) -> Addresses:
        """Return the addresses of PEERS now, or of some seconds ago."""
        clock = asyncio.get_running_loop().time
        if clock() - self._found_at >= RESOLVED_SECONDS:
            each = await asyncio.gather(*(self._resolved(peer) for peer in self._peers))
            endpoints = sorted({endpoint for found in each for endpoint in found.endpoints})
            lacking = [asked for found in each for asked in found.lacking]
            if len(endpoints) > MOST:
                failed = NoAnswerError(State.FAILED, f"PEERS has more than {MOST} addresses, and these are not asked")
                lacking.append(Asked(f"{len(endpoints) - MOST} more", failed))
            self._found, self._found_at = Addresses(tuple(endpoints[:MOST]), tuple(lacking)), clock()
            self._late.clear()
        return self._found

    async def _resolved(self, peer: PeerName) -> Addresses:
        port = peer.port or self._port
        try:
            async with asyncio.timeout(SECONDS):
                addresses = await resolve(peer.host, port)
        except TimeoutError:
            error = NoAnswerError(State.TIMEOUT, f"its name was not resolved within {SECONDS:g} s")
        except (OSError, UnicodeError) as failure:
            error = NoAnswerError(State.FAILED, f"its name cannot be resolved: {failure}")
        else:
            name = peer.host.removesuffix(".")
            of = partial(Endpoint, port=port, tls=self._tls is not None, server_name=name)
            return Addresses(tuple(of(address) for address in addresses), ())
        return Addresses((), (Asked(str(Endpoint(peer.host, port)), error),))


def _most(found: Addresses) -> int:
    """Return the bytes of an answer."""
    return min(ANSWER_BYTES, TOGETHER_BYTES // max(1, len(found.endpoints)))


class Merged(NamedTuple):
    """What replicas answered: one document, None if none has it, and a row of each replica."""

    document: Document | None
    rows: list[Document]


def _merged(
    kind: str, overview: Document, own: Document | None, asked: Sequence[Asked], query: Mapping[str, str]
) -> Merged:
    """Merge answers with this replica's own; for a thread.

    An answer of this replica itself, or a second one of another, is left out.
    """
    mine = _row(overview, "", itself=True)
    rows, known, document = [mine], {overview["replica"]["id"]: mine}, own
    for address, answer in asked:
        try:
            if isinstance(answer, NoAnswerError):
                raise answer
            its = _read("overview", answer.overview)
            same = known.get(its["replica"]["id"])
            if same is not None:
                same["address"] = same["address"] or address
                continue
            more = None if answer.document is None else _read(kind, answer.document)
        except NoAnswerError as error:
            rows.append(_silent(address, error))
            continue
        row = known[its["replica"]["id"]] = _row(its, address, apart=its["time"] - overview["time"])
        rows.append(row)
        document = merged(kind, [each for each in (document, more) if each is not None]) if more else document
    return Merged(None if document is None else arranged(kind, document, query), rows)


def _read(kind: str, body: bytes) -> Document:
    """Decode and check a document. Raises NoAnswerError."""
    try:
        document: Document = decoded(body)
    except (ValueError, RecursionError) as error:
        raise NoAnswerError(State.FAILED, "its answer is no JSON") from error
    wrong = fault(kind, document)
    if wrong:
        raise NoAnswerError(State.FAILED, f"its answer cannot be merged: {wrong}")
    return document


def _row(overview: Document, address: str, *, itself: bool = False, apart: float = 0.0) -> Document:
    clocks = f"its clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this one's"
    return {
        "id": overview["replica"]["id"],
        "name": overview["replica"]["name"],
        "address": address,
        "self": itself,
        "state": State.OK,
        "error": clocks if abs(apart) > CLOCK_SECONDS else "",
        "rates": overview["rates"],
        "policy_version": overview["policy"]["version"],
        "healthy": overview["health"]["healthy"],
        "ready": overview["health"]["ready"],
    }


def _silent(address: str, error: NoAnswerError) -> Document:
    """Return the row of a replica without documents."""
    unknown = dict.fromkeys(("id", "name", "rates", "policy_version", "healthy", "ready"))
    return {**unknown, "address": address, "self": False, "state": error.state, "error": str(error)}
