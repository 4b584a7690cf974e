"""Differences between Envoy with a generated bootstrap and ``ratelimitd proxy``. Each is reported, none is silent."""

from collections.abc import Iterator
from typing import Final

from ratelimitd.gateway.matching import JOINED
from ratelimitd.gateway.model import Admin, Gateway
from ratelimitd.gateway.routing import counted_headers, counted_parameters, headers_wanted
from ratelimitd.http1 import SINGLE, ServerOptions, UpstreamOptions
from ratelimitd.net.listen import EVERY_ADDRESS
from ratelimitd.policy import DescriptorNode, Domain, Limit, OnStoreFailure

from .clusters import GATEWAY_FAILURES, HEAD_MAX, TRUSTED_CA, rewrites_each
from .ratelimit import limited_status
from .routes import in_route_action, longest_timeout

ALWAYS: Final = (
    "paths: an upstream receives the normalized path, not the path as it was sent",
    "paths: a percent sign without two hex digits, a backslash and /..;x/ are accepted",
    "headers: the X-Request-Id of a client is forwarded unchecked",
    "headers: Forwarded is not added",
    "headers: an HTTP/1.0 request without Host is answered 400",
    "headers: a request whose Connection names X-Forwarded-For, -Proto or -Host is answered 400",
    "headers: Proxy-Authorization is forwarded",
    "upgrades: a request for one other than to websocket is answered 403, not forwarded without it",
    "headers: a repeated header that is no list is accepted; Host, Authorization, Content-Type and others are joined",
    "trailers: those of a response are not forwarded",
    "errors: Envoy's own responses have Envoy's text as body, except those to rate-limited requests",
    "admin: the listener has no /metrics, /healthz and /readyz; Envoy's admin port has /stats/prometheus and /ready",
    "access log: there is none",
)
"""Differences for every gateway file."""

_BOUNDS: Final = (
    *("max_target", "max_body", "body_timeout", "min_body_rate", "send_timeout", "max_connections_per_address"),
)

HTTPS: Final = 443
"""The port that Host does not name."""

_DENY: Final = (OnStoreFailure.ERROR, OnStoreFailure.DENY)


def denies(domain: Domain) -> bool:
    """Return whether Envoy denies requests while the service does not respond: True if any limit would."""
    return bool(_failures(domain).intersection(_DENY))


def gaps(gateway: Gateway, domain: Domain) -> list[str]:
    """List the differences, one line each."""
    slash = [
        "paths: an encoded backslash, and a dot segment next to an encoded slash, are accepted",
        "paths: a path that with / for %2F would belong to a route further up is accepted",
    ]
    return [
        *ALWAYS,
        *(slash if gateway.encoded_slash else ()),
        *_listen(gateway),
        *_headers(gateway),
        *_limits(gateway, domain),
        *_bounds(gateway),
        *_upstreams(gateway),
    ]


def _listen(gateway: Gateway) -> Iterator[str]:
    host, port = gateway.listen
    if host in EVERY_ADDRESS:
        yield f"listen: Envoy does not start on a host without IPv6; there, write 0.0.0.0:{port}"


def _headers(gateway: Gateway) -> Iterator[str]:
    for name in sorted(counted_headers(gateway) - SINGLE):
        used = "they are joined with a comma" if name in JOINED else "the first line is used"
        yield f"headers: a request with two lines of {name.decode()} is accepted; {used}"
    for name in sorted(set[bytes]().union(*map(counted_parameters, gateway.routes))):
        shown = name.decode(errors="replace")
        yield f"queries: a request with two parameters {shown} is accepted; the first is used"
        yield f"queries: a request with a parameter that PHP reads as {shown}, such as +{shown}, is accepted"
    if b"x-forwarded-host" in headers_wanted(gateway):
        yield "headers: routes and limits do not find X-Forwarded-Host, unless a trusted proxy sends it"
    if gateway.trusted_proxies:
        yield (
            "headers: X-Forwarded-For is ignored, and the address of the connection is used, if an item is not an"
            " address or has a port; an IPv4-mapped IPv6 address is not converted to IPv4"
        )
        yield "headers: :scheme is the value of X-Forwarded-Proto if a trusted proxy sends it"
    if gateway.tls is not None:
        yield "tls: certificates are read only at startup"


def _limits(gateway: Gateway, domain: Domain) -> Iterator[str]:
    status = gateway.rate_limited_status
    if limited_status(status).value != status:
        yield f"rate_limited_status: {status} is not supported by Envoy, which responds with 429"
    if gateway.error_details:
        yield "error_details: the body of a denied request has neither limit nor retry_after"
    failures = _failures(domain)
    if failures.intersection(_DENY) and failures.difference(_DENY):
        yield (
            "on_store_failure: while the service itself does not respond, no limit's setting applies: every request is"
            " denied (with --failure-mode allow: allowed)"
        )
    if any(limit.queue is not None for limit in _all_limits(domain)):
        yield "queue: no request waits, since Envoy allows milliseconds for a decision; the limit denies at once"
    for route in gateway.routes:
        if in_route_action(route) and any(limit.hits is not None for limit in route.rate_limits):
            yield (
                f"route {route.name}: hits_addend is ignored, because the route uses stage or disable_key; every"
                " request is one hit"
            )


def _bounds(gateway: Gateway) -> Iterator[str]:
    yield f"limits: {', '.join(_BOUNDS)} are not enforced; a connection above max_connections is closed without a 503"
    defaults = ServerOptions()
    for name in _BOUNDS:
        if getattr(gateway.limits, name) != getattr(defaults, name):
            yield f"limits: {name}, which the file sets, is not enforced"
    if gateway.limits.methods == "any":
        yield "limits: with methods: any, methods with lower-case letters or more than 64 characters are accepted too"
    if gateway.limits.max_head > HEAD_MAX:
        yield f"limits: max_head is {HEAD_MAX >> 20} MiB, Envoy's maximum"
    if gateway.admin != Admin():
        yield "admin: the settings of the file are not used"


def _upstreams(gateway: Gateway) -> Iterator[str]:
    yield "upstreams: there is no circuit breaker, and no wait_timeout for a request that waits for a connection"
    yield "upstreams: one client may hold all connections"
    defaults = UpstreamOptions()
    for name, backend in gateway.upstreams.items():
        endpoints, options = backend.endpoints, backend.options
        if backend.ca is None and backend.verify and any(endpoint.tls for endpoint in endpoints):
            yield f"upstream {name}: certificates are verified against {TRUSTED_CA}"
        for key in ("breaker", "wait_timeout", "max_connections_per_client"):
            if getattr(options, key) not in (None, getattr(defaults, key)):
                yield f"upstream {name}: {key}, which the file sets, is not used"
        statuses = options.balance.statuses if options.balance is not None else frozenset[int]()
        if statuses not in (frozenset(), GATEWAY_FAILURES):
            yield f"upstream {name}: 'statuses' of balance are not used; Envoy can count 502, 503 and 504 together"
        if rewrites_each(backend) and any(each.tls and each.port != HTTPS for each in endpoints):
            yield f"upstream {name}: Host has no port"
        if backend.ca is not None:
            yield f"upstream {name}: the file of 'ca' is read only at startup, relative to Envoy's working directory"
        if options.max_head > HEAD_MAX:
            yield f"upstream {name}: max_head is {HEAD_MAX >> 20} MiB, Envoy's maximum"
        longest = longest_timeout(options)
        if not longest == options.read_timeout == options.tunnel_timeout:
            yield f"upstream {name}: read_timeout and tunnel_timeout are both {longest:g} s, its longest timeout"


def _failures(domain: Domain) -> set[OnStoreFailure]:
    """Collect the ``on_store_failure`` settings of a domain's limits."""
    return {limit.on_store_failure for limit in _all_limits(domain) if limit.rate is not None}


def _all_limits(domain: Domain) -> Iterator[Limit]:
    left: list[DescriptorNode] = [domain.root]
    while left:
        node = left.pop()
        yield from node.limits
        left.extend(node.children.values())
