"""The way of a request through the gateway: route, limits, then its upstream."""

import json
import random
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from ratelimitd.algorithms import SECOND
from ratelimitd.http1 import Exchange, Handler, Headers, Refusal, Request, Summary, Upstream, to_upstream
from ratelimitd.limiter import Answer, Ask, Engine, Plan
from ratelimitd.limiter import Request as LimitRequest
from ratelimitd.observe.logs import get_logger
from ratelimitd.policy import Descriptor

from .access_log import Handled
from .client_address import Trusts, client_address
from .limit_headers import limit_headers, retry_after
from .model import Gateway
from .paths import PathError, target
from .routing import Routed, Router, repeated

log = get_logger(__name__)

_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
"""A request id we pass on: what UUIDs, trace ids and their like are made of, and nothing that breaks a log."""

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
"""What a body says, by its status: the error's name, and its message."""


class Live(NamedTuple):
    """What one gateway file came to; a reload swaps it as a whole, and a request keeps the one it began with.

    Attributes:
        domain: its limits are of.
        keys: headers that must not be there twice.
        internal: what answers a path of our own, such as /metrics.
    """

    gateway: Gateway
    router: Router
    upstreams: Mapping[str, Upstream]
    trusts: Trusts
    domain: bytes
    keys: frozenset[bytes]
    internal: Mapping[bytes, Handler]


class Proxy:
    """Handles requests by the file in force.

    Args:
        budget: µs a store may take.
        clock: the event loop's, seconds.

    Attributes:
        live: None until the first file is loaded; then requests are 503.
        engine: says whether a request may pass.
        report: hears how each request went.
    """

    def __init__(
        self, engine: Engine, budget: int, clock: Callable[[], float], report: Callable[[Handled], None]
    ) -> None:
        self.live: Live | None = None
        self.engine = engine
        self.report = report
        self._budget = budget
        self._clock = clock

    def handle(self, request: Request, exchange: Exchange) -> None:
        """Answer a request through its exchange."""
        live = self.live
        internal = live.internal.get(request.path) if live is not None else None
        if internal is not None:
            internal(request, exchange)
            return
        passage = Passage(self, request, exchange)
        exchange.on_done = passage.done
        if live is None:
            passage.answer(503)
        else:
            passage.begin(live)

    def deadline(self) -> int:
        """When the store's budget of a request ends that comes now, by the clock, µs."""
        return int(self._clock() * SECOND) + self._budget


class Passage:
    """One request on its way."""

    __slots__ = ("_client", "_exchange", "_limit", "_proxy", "_request", "_request_id", "_routed", "_trusted")

    def __init__(self, proxy: Proxy, request: Request, exchange: Exchange) -> None:
        self._proxy = proxy
        self._request = request
        self._exchange = exchange
        self._request_id = request.tag = request_id(request)
        self._client = request.peer.address
        self._trusted = False
        self._routed: Routed | None = None
        self._limit = ""

    def begin(self, live: Live) -> None:
        """Find the route and what limits it; anything that cannot be is answered here."""
        request = self._request
        try:
            asked_for = target(request.path, request.query or None)
        except PathError:
            self.answer(400)
            return
        if repeated(request.names, live.keys) is not None:
            self.answer(400)
            return
        self._trusted = live.trusts(request.peer.address)
        self._client = client_address(request.peer.address, forwarded_for(request), live.trusts)
        asked = live.router.asked(
            request.method, asked_for, request.authority, request.scheme.encode(), request.headers
        )
        routed = self._routed = live.router.find(asked)
        if routed is None:
            self.answer(404)
            return
        descriptors = routed.descriptors(asked, self._client)
        if descriptors:
            self._decide(live, routed, descriptors)
        else:
            self._forward(live, routed, [])

    def _decide(self, live: Live, routed: Routed, descriptors: tuple[Descriptor, ...]) -> None:
        """Ask the engine, which answers now or when the store has answered."""
        engine = self._proxy.engine
        try:
            ask = engine.ask(descriptors, partial(LimitRequest, live.domain), self._proxy.deadline())
        except Exception as error:  # noqa: BLE001 - whatever it is, the client must be answered
            self._failed(None, error)
        else:
            engine.decide((ask,), time.time_ns() // 1000, partial(self._decided, live, routed), self._failed)

    def _failed(self, _: Any, error: Exception) -> None:
        log.error("unhandled error while deciding a request", exc_info=error)
        self._undecided()

    def _undecided(self) -> None:
        self.answer(503, [(b"Retry-After", b"1")])

    def _decided(self, live: Live, routed: Routed, ask: Ask, told: Answer) -> None:
        if told.failure is not None:
            self._undecided()
            return
        headers = limit_headers(told)
        if told.over:
            self._limit = limit_name(ask.plan, told)
            headers.append((b"Retry-After", b"%d" % retry_after(told)))
            self.answer(live.gateway.rate_limited_status, headers, error=429)
        else:
            self._forward(live, routed, headers)

    def _forward(self, live: Live, routed: Routed, headers: Headers) -> None:
        identified = [*headers, (b"X-Request-Id", self._request_id)]
        upstream = live.upstreams[routed.route.upstream]
        onward = to_upstream(self._request, trusted=self._trusted, request_id=self._request_id)
        self._exchange.forward(upstream, onward, response_headers=identified)

    def answer(self, status: int, headers: Headers | None = None, error: int | None = None) -> None:
        """Answer by ourselves, with the body of ``error`` (else of the status)."""
        rendered = [(b"Content-Type", b"application/json"), (b"X-Request-Id", self._request_id), *(headers or ())]
        self._exchange.respond(status, rendered, error_body(error or status, self._request_id))

    def done(self, summary: Summary) -> None:
        """Report how it went."""
        request, routed = self._request, self._routed
        self._proxy.report(
            Handled(
                method=request.method.decode("latin-1"),
                path=request.path.decode("latin-1"),
                request_id=self._request_id.decode(),
                client=self._client,
                route="" if routed is None else routed.route.name,
                upstream=str(summary.endpoint or ""),
                status=summary.status,
                limit=self._limit,
                latency=summary.ended - summary.started,
                received=summary.received,
                sent=summary.sent,
                error=summary.error,
            )
        )


FORWARDED_FOR: Final = b"x-forwarded-for"


def forwarded_for(request: Request) -> list[bytes]:
    """Return the lines of X-Forwarded-For in their order."""
    if FORWARDED_FOR not in request.names:
        return []
    return [value for (_, value), name in zip(request.headers, request.names, strict=True) if name == FORWARDED_FOR]


def request_id(request: Request) -> bytes:
    """Return the id a request came with when it is sane, else a new one."""
    if b"x-request-id" in request.names:
        given = request.headers[request.names.index(b"x-request-id")][1]
        if _SANE_ID.fullmatch(given):
            return given
    return new_id()


def new_id() -> bytes:
    """Make an id in the form of a UUID of version 4; it has to be told apart, not to be hard to guess."""
    digits = b"%032x" % random.getrandbits(128)
    parts = (digits[:8], digits[8:12], b"4" + digits[13:16], b"a" + digits[17:20], digits[20:])
    return b"-".join(parts)


def error_body(status: int, about: bytes) -> bytes:
    """Write the JSON body of an answer of our own."""
    error, message = ERRORS.get(status, ("error", "the request could not be handled"))
    body = {"error": error, "message": message, "request_id": about.decode()}
    return json.dumps(body, separators=(",", ":")).encode()


def render(refusal: Refusal, request: Request | None) -> tuple[Headers, bytes]:
    """Make a refusal of the HTTP room an answer like our own; a ``Render``."""
    about = (request.tag or request_id(request)) if request is not None else new_id()
    headers = [(b"Content-Type", b"application/json"), (b"X-Request-Id", about)]
    return headers, error_body(refusal.status, about)


def limit_name(plan: Plan, told: Answer) -> str:
    """Name the first limit that is over as metrics do, but never by a value of the request."""
    for item, status in zip(plan.items, told.statuses, strict=True):
        if status.over and item.match is not None:
            if item.match.stat_from_request:
                return f"{item.match.stat_key[0]}.other"
            return ".".join(item.match.stat_key)
    return ""
