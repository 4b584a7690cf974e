"""Selection of the route of a request, and its descriptors."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from ratelimitd.policy import Descriptor

from .actions import (
    BuildDescriptors,
    DescriptorInput,
    descriptor_builder,
    header_names,
    headers_read,
    parameters_read,
    repeats_parameter,
)
from .cors import ASKED, CorsPolicy, cors_policy
from .heard import reads_hops
from .matching import LISTS, HeaderMap, header_map, header_tester, regex, text_tester
from .model import Gateway, GatewayRoute, RequestHeaders, RouteMatch, TextMatch
from .paths import Target, normalise
from .spellings import path_expression, plain_host

_SLASH: Final = re.compile(rb"%2[Ff]")
API_KEY: Final = b"x-api-key"
"""Its lines never form one list: two keys are two callers, and the line that a program reads decides who is charged."""


class RequestView(NamedTuple):
    """The parts of a request that routes and limits read.

    Attributes:
        target: normalized target.
        host: requested host in lower case, without its port and a dot at its end.
        headers: headers in ``Router.wanted`` by name, with the pseudo-headers (:path etc.).
    """

    method: bytes
    target: Target
    host: bytes
    headers: HeaderMap


class CompiledRoute(NamedTuple):
    """A route, the function that builds the descriptors of its requests, and its CORS.

    Attributes:
        parameters: query parameters that its limits read.
    """

    route: GatewayRoute
    describe: BuildDescriptors
    parameters: frozenset[bytes]
    cors: CorsPolicy | None = None

    def is_ambiguous(self, query: bytes) -> bool:
        """Return whether a query repeats a parameter that counts: programs differ on which of them they read."""
        return bool(self.parameters) and repeats_parameter(query, self.parameters)

    def descriptors(self, view: RequestView, address: str) -> tuple[Descriptor, ...]:
        """Return the descriptors of a request; empty if no action applies."""
        return self.describe(DescriptorInput(view.headers, view.target.query or b"", address, self.route.upstream))


class Router:
    """The compiled routes of a gateway. Raises PatternError, and KeyError for an action that only Envoy supports.

    Attributes:
        wanted: names of the headers that routes and limits read, in lower case.
        claims: whether one of them is by what hop the request came (``heard``).
        guarded: those that no other name may be read as, by the upstream; None: any name may.
    """

    def __init__(self, gateway: Gateway) -> None:
        routes = gateway.routes
        self._routes = [
            (
                _tester(route.match, preflights=route.cors is not None),
                CompiledRoute(
                    route,
                    descriptor_builder(route.rate_limits, gateway.name),
                    counted_parameters(route),
                    None if route.cors is None else cors_policy(route.cors),
                ),
            )
            for route in routes
        ]
        self.wanted = headers_wanted(gateway)
        self.claims = reads_hops(self.wanted)
        self.guarded = None if gateway.underscores_in_headers else self.wanted

    def view(
        self, method: bytes, target: Target, authority: bytes, scheme: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> RequestView:
        """Return the view of a request. ``headers`` are the header lines as sent."""
        by_name = header_map(headers, self.wanted)
        by_name[b":path"], by_name[b":method"], by_name[b":scheme"] = [target.full], [method], [scheme]
        host = plain_host(authority)
        by_name[b":authority"] = by_name[b"host"] = [host]
        return RequestView(method, target, host, by_name)

    def find(self, view: RequestView) -> CompiledRoute | None:
        """Return the first matching route; None if there is none (404)."""
        for matches, routed in self._routes:
            if matches(view):
                return routed
        return None

    def hides(self, view: RequestView, found: CompiledRoute | None) -> bool:
        """Return whether a route before the one that was found would match if encoded slashes were slashes."""
        path = view.target.path
        if _SLASH.search(path) is None:
            return False
        decoded = view._replace(target=view.target._replace(path=normalise(_SLASH.sub(b"/", path))))
        for matches, routed in self._routes:
            if routed is found:
                return False
            if matches(decoded):
                return True
        return False


def headers_wanted(gateway: Gateway) -> frozenset[bytes]:
    """Return the names of the headers that routes and limits read, in lower case, with X-API-Key."""
    return frozenset((API_KEY,)).union(*map(_wanted, gateway.routes))


def counted_headers(gateway: Gateway) -> frozenset[bytes]:
    """Return the headers whose value decides what a request counts on, except lists: X-API-Key, and those of actions.

    A request that repeats one is refused: the program behind may read another line than the one that was counted.
    """
    read = (
        action.header
        for route in gateway.routes
        for limit in route.rate_limits
        for action in limit.actions
        if isinstance(action, RequestHeaders) and action.header[:1] != b":"
    )
    return frozenset((API_KEY, *read)) - LISTS


def counted_parameters(route: GatewayRoute) -> frozenset[bytes]:
    """Return the query parameters that the limits of a route read. A request that repeats one is refused."""
    actions = (action for limit in route.rate_limits for action in limit.actions)
    return frozenset[bytes]().union(*map(parameters_read, actions))


def repeated(names: Sequence[bytes], keys: Iterable[bytes]) -> bytes | None:
    """Return a header in ``keys`` that is repeated (400), else None. ``names`` are the request's, in lower case."""
    if len(set(names)) == len(names):
        return None
    return next((key for key in keys if names.count(key) > 1), None)


def _wanted(route: GatewayRoute) -> frozenset[bytes]:
    actions = (action for limit in route.rate_limits for action in limit.actions)
    asked = [] if route.cors is None else [ASKED]
    return header_names(route.match.headers).union(asked, *map(headers_read, actions))


def _tester(match: RouteMatch, *, preflights: bool) -> Callable[[RequestView], bool]:
    """Return whether a request matches; with ``preflights`` also one that asks for leave to send such a request."""
    path, methods = _path_tester(match), match.methods
    hosts = tuple(map(_host_tester, match.hosts))
    headers = tuple(map(header_tester, match.headers))

    def matches(view: RequestView) -> bool:
        return (
            path(view.target.path)
            and (not methods or view.method in methods or (preflights and _asks(view, methods)))
            and (not hosts or _any(hosts, view.host))
            and all(test(view.headers) for test in headers)
        )

    return matches


def _asks(view: RequestView, methods: frozenset[bytes]) -> bool:
    return view.method == b"OPTIONS" and not methods.isdisjoint(view.headers.get(ASKED, ()))


def _path_tester(match: RouteMatch) -> Callable[[bytes], bool]:
    expression = path_expression(match)
    if expression is not None:
        return regex(expression)
    kind = "exact" if match.kind == "path" else "prefix"
    return text_tester(TextMatch(kind, match.pattern, match.ignore_case))


def _host_tester(pattern: bytes) -> Callable[[bytes], bool]:
    """Match as Envoy's virtual hosts: a wildcard matches at least one character, except ``*`` alone."""
    if pattern == b"*":
        return lambda _: True
    if pattern[:1] == b"*":
        return lambda host: host.endswith(pattern[1:]) and len(host) >= len(pattern)
    if pattern[-1:] == b"*":
        return lambda host: host.startswith(pattern[:-1]) and len(host) >= len(pattern)
    return lambda host: host == pattern


def _any(tests: Sequence[Callable[[bytes], bool]], value: bytes) -> bool:
    return any(test(value) for test in tests)
