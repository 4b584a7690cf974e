"""The reverse proxy: a request gets its route, its rate-limit decision, then its upstream."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from ratelimitd.algorithms import SECOND
from ratelimitd.http1 import ErrorResponse, Exchange, Handler, Headers, Request, Summary, to_upstream
from ratelimitd.limiter import (
    INTERNAL_ERROR,
    NO_POLICY,
    Answer,
    Ask,
    Engine,
    NoPolicyError,
    Reason,
    ReasonKind,
    can_wait,
    reason_of,
)
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.loop import batches

from .access_log import AccessRecord
from .client_address import client_address
from .cors import WITHHELD, CorsPolicy, allowed_origin, is_preflight, preflight_headers, response_headers
from .held import Held
from .limit_headers import limit_headers, retry_after
from .paths import PathError, resolved, target
from .queueing import Queueing
from .request_ids import new_id, request_id
from .routing import CompiledRoute, repeated
from .snapshot import Snapshot
from .waiting import Waiting
from .ways import Way

log = get_logger(__name__)

EARLY: Final = 20
"""Requests that arrived before the first load, handled between two turns of the event loop: about 2 ms of work."""

ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("bad_request", "the request is malformed or ambiguous"),
    404: ("not_found", "no route matches the request"),
    405: ("method_not_allowed", "the method is not supported"),
    408: ("request_timeout", "the request was not received in time"),
    413: ("body_too_large", "the request body is too large"),
    414: ("uri_too_long", "the request target is too long"),
    429: ("rate_limited", "rate limit exceeded"),
    431: ("headers_too_large", "the request headers are too large"),
    502: ("bad_gateway", "the upstream did not send a valid response"),
    503: ("unavailable", "the service is unavailable, try again later"),
    504: ("gateway_timeout", "the upstream did not respond in time"),
}
"""Error name and message of the response body, by status code."""

PUBLIC: Final[Mapping[str, str]] = {
    ReasonKind.STORE_FAILURE: "the store of a limit is unavailable",
    ReasonKind.NO_POLICY: "no policy is loaded yet",
    ReasonKind.INTERNAL_ERROR: "an internal error prevented a decision",
}
"""What every client may know of a reason: neither limits nor what is wrong with a store. Of a denial by a limit alone
the message says all. The reasons of ``ErrorResponse`` are public: they name no address, no limit, and nothing sent."""

TWICE_IN_QUERY: Final = "the query has a parameter more than once that a limit reads"
HIDDEN: Final = "the path belongs to another route if its escaped slash is a slash"
STOPPING: Final = "the process stopped while the request waited for a limit"

Details = Mapping[str, str | int]


class Proxy:
    """Handles requests according to the active gateway file.

    Args:
        budget: µs that a store may take.
        clock: clock of the event loop, in seconds.
        shared: whether other processes use the engine's store.
        requests: makes the requests; None: ``ProxiedRequest``.

    Attributes:
        multipliers: whether X-RateLimit-Limit lists windows of several units (STATUS_UNIT_MULTIPLIER).
        snapshot: state of the active file, None until a first policy is loaded. Requests wait until ``first_load``;
            without a snapshot, later ones get 503.
        internal: handlers of the proxy's own pages, by path. They need no snapshot.
        engine: decides whether a request is allowed.
        held: what requests in progress hold of limits.
        queueing: the requests that wait for a limit with a ``queue``.
        report: receives the record of each completed request.
    """

    def __init__(
        self,
        engine: Engine,
        budget: int,
        clock: Callable[[], float],
        report: Callable[[AccessRecord], None],
        *,
        multipliers: bool = False,
        shared: bool = False,
        requests: "MakeRequest | None" = None,
    ) -> None:
        self.snapshot: Snapshot | None = None
        self.internal: Mapping[bytes, Handler] = {}
        self.engine = engine
        self.held = Held(engine)
        self.queueing = Queueing(engine, shared=shared)
        self.held.freed = self.queueing.freed
        self.report = report
        self.multipliers = multipliers
        self._budget = budget
        self._clock = clock
        self._early: list[ProxiedRequest] | None = []
        self._requests = requests or ProxiedRequest

    def handle(self, request: Request, exchange: Exchange) -> None:
        """Handle a request; the response is sent through its exchange."""
        internal = self.internal.get(request.path)
        if internal is not None:
            internal(request, exchange)
            return
        proxied = self._requests(self, request, exchange)
        exchange.on_done = proxied.done
        snapshot = self.snapshot
        if snapshot is not None:
            proxied.begin(snapshot)
        elif self._early is not None:
            self._early.append(proxied)
        else:
            proxied.undecided(NO_POLICY)

    async def first_load(self) -> None:
        """Handle the requests that arrived before the first load, whether it gave a policy or not."""
        early, self._early = self._early or [], None
        for some in batches(early, EARLY):
            for proxied in some:
                proxied.resume(self.snapshot)
            await asyncio.sleep(0)

    def ask(self, way: Way, domain: bytes) -> Ask:
        """Plan a request that is decided now, within the store's budget. Raises what ``Engine.ask`` does."""
        return way.ask(self.engine, domain, int(self._clock() * SECOND) + self._budget)


class ProxiedRequest:
    """One request in progress."""

    __slots__ = (
        *("_client", "_cors", "_exchange", "_held", "_proxy", "_reason", "_request", "_request_id", "_routed"),
        *("_trusted", "_waiting", "_way"),
    )

    def __init__(self, proxy: Proxy, request: Request, exchange: Exchange) -> None:
        self._proxy = proxy
        self._request = request
        self._exchange = exchange
        self._request_id = request.tag = request_id(request)
        self._client = request.peer.address
        self._trusted = False
        self._routed: CompiledRoute | None = None
        self._way: Way | None = None
        self._reason: Reason | None = None
        self._held: Ask | None = None
        self._waiting: Waiting | None = None
        self._cors: Headers = []  # of every response, once the route is known

    def resume(self, snapshot: Snapshot | None) -> None:
        """Begin, or answer 503 without a snapshot, unless the client left before the first load."""
        if self._exchange.over:
            return
        if snapshot is None:
            self.undecided(NO_POLICY)
            return
        try:
            self.begin(snapshot)
        except Exception as error:  # noqa: BLE001 -- the start, and the requests after this one, must go on
            self._failed(None, error)

    def begin(self, snapshot: Snapshot) -> None:
        """Find the route and descriptors, and ask for a decision. Invalid and unrouted requests are answered here."""
        request = self._request
        try:
            slash = snapshot.gateway.encoded_slash
            normalized = target(request.path, request.query or None, encoded_slash=slash)
        except PathError as error:
            self.refuse(400, str(error))
            return
        twice = repeated(request.names, snapshot.keys)
        if twice is not None:
            self.refuse(400, f"the header {twice.decode()} is there more than once")
            return
        self._trusted = snapshot.is_trusted(request.peer.address)
        self._client = client_address(request.peer.address, forwarded_for(request), snapshot.is_trusted)
        request.client = self._client
        asked = snapshot.router.asked(request, normalized, self._client, trusted=self._trusted)
        way = self._way = snapshot.ways.of(normalized.path, asked, self._proxy.engine.planner, time.monotonic_ns())
        if slash and snapshot.router.hides(normalized.path, asked, None if way is None else way.routed):
            self.refuse(400, HIDDEN)
            return
        if way is None:
            self.refuse(404, ERRORS[404][1])
            return
        routed = self._routed = way.routed
        if routed.cors is not None and self._preflight(routed.cors):
            return
        if routed.is_ambiguous(request.query):
            self.refuse(400, TWICE_IN_QUERY)
            return
        if way.descriptors:
            self._decide(snapshot, routed, way)
        else:
            self._forward(snapshot, routed, [])

    def _preflight(self, policy: CorsPolicy) -> bool:
        """Answer a preflight of an allowed origin; of any other request, only note what its response carries."""
        request, exchange = self._request, self._exchange
        origin = allowed_origin(policy, request)
        self._cors = exchange.error_headers = response_headers(policy, origin)
        if origin is None or not is_preflight(request):
            return False
        exchange.respond(200, [*preflight_headers(policy, origin), (b"X-Request-Id", self._request_id)])
        return True

    def _decide(self, snapshot: Snapshot, routed: CompiledRoute, way: Way) -> None:
        """Ask the engine, which calls back at once, when the store has replied, or after the request has waited."""
        proxy, decided = self._proxy, partial(self._decided, snapshot, routed)
        ask_again = partial(proxy.ask, way, snapshot.domain)
        try:
            ask = ask_again()
        except Exception as error:  # noqa: BLE001 -- the client must get a response to any error
            self._failed(None, error)
            return
        if can_wait(ask):
            self._waiting = Waiting(ask_again, self._client, decided, self._failed, self._dropped)
            proxy.queueing.begin(self._waiting, ask)
        else:
            proxy.engine.decide((ask,), time.time_ns() // 1000, decided, self._failed)

    def _failed(self, _: Any, error: Exception) -> None:
        if isinstance(error, NoPolicyError):
            self.undecided(NO_POLICY)
            return
        log.error("unhandled error while deciding a request", exc_info=error)
        self.undecided(INTERNAL_ERROR)

    def refuse(self, status: int, why: str) -> None:
        """Answer with an error; log and body say why."""
        self._exchange.error = why
        self.answer(status, details={"detail": why})

    def _dropped(self) -> None:
        """Answer a request that waited, and for which no time is left: the process stops."""
        self._exchange.error = STOPPING
        self.answer(503, [(b"Retry-After", b"1")], details={"detail": STOPPING})

    def undecided(self, reason: Reason | None) -> None:
        """Answer a request for which there is no decision."""
        self._reason = reason
        self.answer(503, [(b"Retry-After", b"1")], details=self._explained(reason))

    def _explained(self, reason: Reason | None) -> dict[str, str | int]:
        """Return what the body says of a reason: the name of a limit only with ``error_details``."""
        if reason is None or reason.kind not in PUBLIC:
            return {}
        snapshot = self._proxy.snapshot
        named = snapshot is not None and snapshot.gateway.error_details
        return {"detail": reason.sentence if named else PUBLIC[reason.kind]}

    def _decided(self, snapshot: Snapshot, routed: CompiledRoute, ask: Ask, answer: Answer) -> None:
        modes = self._proxy.engine.modes
        if answer.lease:
            self._proxy.held.add(ask)
            if self._exchange.over:  # the client left before the decision
                self._proxy.held.release(ask)
                return
            self._held = ask
        if answer.failure is not None:
            self.undecided(reason_of(ask, answer, modes))
            return
        headers = limit_headers(answer, self._proxy.multipliers)
        if answer.over:
            self._reason = reason = reason_of(ask, answer, modes)
            wait = retry_after(answer)
            headers.append((b"Retry-After", b"%d" % wait))
            gateway, limit = snapshot.gateway, "" if reason is None else reason.limit
            details: Details = self._explained(reason)
            if gateway.error_details:
                details = {**details, "limit": limit, "retry_after": wait}
            self.answer(gateway.rate_limited_status, headers, error=429, details=details)
            return
        if ask.failures:
            self._reason = reason_of(ask, answer, modes)
        self._forward(snapshot, routed, headers)

    def _forward(self, snapshot: Snapshot, routed: CompiledRoute, headers: Headers) -> None:
        identified = [*headers, *self._cors, (b"X-Request-Id", self._request_id)]
        request, upstream, timeout = self._request, snapshot.upstreams[routed.route.upstream], routed.route.timeout
        self._exchange.forward(
            upstream,
            self._onward(snapshot),
            target=resolved(request.path, request.query, encoded_slash=snapshot.gateway.encoded_slash),
            response_headers=identified,
            response_timeout=timeout,
            withheld=WITHHELD if self._cors else frozenset(),
        )

    def _onward(self, snapshot: Snapshot, without: frozenset[bytes] = frozenset()) -> bytes:
        """Return the header lines for the upstream; ``without`` are names, in lower case, that are left out."""
        request, identity, way, read = self._request, self._request_id, self._way, snapshot.router.guarded
        hop = None if way is None else way.hop(request)
        return to_upstream(request, trusted=self._trusted, request_id=identity, read=read, without=without, hop=hop)

    def answer(
        self, status: int, headers: Headers | None = None, error: int | None = None, details: Details | None = None
    ) -> None:
        """Send a response of the gateway itself, with the body of ``error``, which defaults to the status."""
        rendered = [(b"Content-Type", b"application/json"), (b"X-Request-Id", self._request_id), *self._cors]
        rendered += headers or ()
        self._exchange.respond(status, rendered, error_body(error or status, self._request_id, details))

    def done(self, summary: Summary) -> None:
        """Report the completed request; what it holds is released when the last byte has left for the client."""
        held, self._held = self._held, None
        if held is not None:
            self._exchange.client.when_sent(partial(self._proxy.held.release, held))
        waiting = self._waiting
        if waiting is not None:
            self._proxy.queueing.leave(waiting)
        request, routed, reason = self._request, self._routed, self._reason
        self._proxy.report(
            AccessRecord(
                method=request.method.decode("latin-1"),
                path=request.path.decode("latin-1"),
                request_id=self._request_id.decode(),
                client=self._client,
                route="" if routed is None else routed.route.name,
                upstream=str(summary.endpoint or ""),
                status=summary.status,
                limit=reason.limit if reason is not None and reason.result == "denied" else "",
                reason="" if reason is None else reason.kind,
                latency=summary.ended - summary.started,
                received=summary.received,
                sent=summary.sent,
                error=summary.error or error_of(reason),
                cut=summary.cut,
                queued=0 if waiting is None else waiting.waited * 1000,
            )
        )


MakeRequest = Callable[[Proxy, Request, Exchange], ProxiedRequest]
"""Makes the object that handles a request."""


FORWARDED_FOR: Final = b"x-forwarded-for"


def forwarded_for(request: Request) -> list[bytes]:
    """Return the lines of X-Forwarded-For in order."""
    if FORWARDED_FOR not in request.names:
        return []
    return request.head.values(FORWARDED_FOR)


def error_body(status: int, about: bytes, details: Details | None = None) -> bytes:
    """Return the JSON body of a response of the gateway itself; ``details`` are further fields."""
    error, message = ERRORS.get(status, ("error", "the request could not be handled"))
    body = {"error": error, "message": message, "request_id": about.decode(), **(details or {})}
    return json.dumps(body, separators=(",", ":")).encode()


def render(error: ErrorResponse, request: Request | None) -> tuple[Headers, bytes]:
    """Render an error response of ``http1`` like the gateway's own responses; a ``Render``."""
    about = (request.tag or request_id(request)) if request is not None else new_id()
    headers = [(b"Content-Type", b"application/json"), (b"X-Request-Id", about)]
    return headers, error_body(error.status, about, {"detail": error.reason})


def error_of(reason: Reason | None) -> str:
    """Return what the access log shows as the error of a request that the upstream did not receive.

    A request over its limit is not an error, nor is one that passed without its counter.
    """
    if reason is None or reason.result == "allowed" or (reason.result == "denied" and reason.failure is None):
        return ""
    return reason.sentence
