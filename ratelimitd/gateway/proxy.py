"""The way of a request through the gateway: route, limits, then its upstream."""

import json
import random
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from ratelimitd.http1 import ErrorResponse, Exchange, Headers, Request, Summary, Upstream, to_upstream
from ratelimitd.limiter import Answer, Plan

from .access_log import Handled
from .client_address import Trusts, client_address
from .decide import Decided, Decider
from .limit_headers import limit_headers, retry_after
from .model import Gateway
from .paths import PathError, target
from .routing import Routed, Router, repeated

Internal = Callable[[Exchange], None]
"""Answers a path of our own, such as /metrics."""

_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
"""A request id we pass on: what UUIDs, trace ids and their like are made of, and nothing that breaks a log."""

ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("bad_request", "the request is not one this gateway passes on"),
    404: ("not_found", "no route for this request"),
    405: ("method_not_allowed", "this method is not passed on"),
    408: ("request_timeout", "the request took too long"),
    413: ("body_too_large", "the request body is too large"),
    414: ("uri_too_long", "the request target is too long"),
    429: ("rate_limited", "rate limit exceeded"),
    431: ("headers_too_large", "the request headers are too large"),
    502: ("bad_gateway", "the upstream gave no valid answer"),
    503: ("unavailable", "the service is unavailable, try again later"),
    504: ("gateway_timeout", "the upstream took too long"),
}
"""What a body says, by its status: the error's name, and its message."""


class Live(NamedTuple):
    """What one gateway file came to; a reload swaps it as a whole, and a request keeps the one it began with.

    Attributes:
        domain: its limits are of.
        keys: headers that must not be there twice.
        internal: by path.
    """

    gateway: Gateway
    router: Router
    upstreams: Mapping[str, Upstream]
    trusts: Trusts
    domain: bytes
    keys: frozenset[bytes]
    internal: Mapping[bytes, Internal]


class Proxy:
    """Handles requests by the file in force.

    Attributes:
        live: None until the first file is loaded; then requests are 503.
        decider: says whether a request may pass.
        report: hears how each request went.
    """

    def __init__(self, decider: Decider, report: Callable[[Handled], None]) -> None:
        self.live: Live | None = None
        self.decider = decider
        self.report = report

    def handle(self, request: Request, exchange: Exchange) -> None:
        """Answer a request through its exchange."""
        live = self.live
        internal = live.internal.get(request.path) if live is not None else None
        if internal is not None:
            internal(exchange)
            return
        passage = Passage(self, request, exchange)
        exchange.on_done = passage.done
        if live is None:
            passage.answer(503)
        else:
            passage.begin(live)


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
            self._proxy.decider.decide(live.domain, descriptors, partial(self._decided, live, routed))
        else:
            self._forward(live, routed, [])

    def _decided(self, live: Live, routed: Routed, decided: Decided) -> None:
        plan, told = decided
        if plan is None or told is None or told.failure is not None:
            self.answer(503, [(b"Retry-After", b"1")])
            return
        headers = limit_headers(told)
        if told.over:
            self._limit = limit_name(plan, told)
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


def render(error: ErrorResponse, request: Request | None) -> tuple[Headers, bytes]:
    """Render an error response of ``http1`` as the gateway renders its own; a ``Render``."""
    about = (request.tag or request_id(request)) if request is not None else new_id()
    headers = [(b"Content-Type", b"application/json"), (b"X-Request-Id", about)]
    return headers, error_body(error.status, about)


def limit_name(plan: Plan, told: Answer) -> str:
    """Name the first limit that is over as metrics do, but never by a value of the request."""
    for item, status in zip(plan.items, told.statuses, strict=True):
        if status.over and item.match is not None:
            if item.match.stat_from_request:
                return f"{item.match.stat_key[0]}.other"
            return ".".join(item.match.stat_key)
    return ""
