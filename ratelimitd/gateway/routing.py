"""Selection of the route of a request, and its descriptors."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from ratelimitd.policy import Descriptor

from .actions import BuildDescriptors, DescriptorInput, descriptor_builder, header_names, headers_read
from .cors import ASKED, CorsPolicy, cors_policy
from .matching import HeaderMap, header_map, header_tester, regex
from .model import Gateway, GatewayRoute, RequestHeaders, RouteMatch
from .paths import Target

API_KEY: Final = b"x-api-key"
"""Its lines never form one list: two keys are two callers, and the line that a program reads decides who is charged."""


class RequestView(NamedTuple):
    """The parts of a request that routes and limits read.

    Attributes:
        target: normalized target.
        authority: requested host, with its port if it has one.
        headers: headers in ``Router.wanted`` by name, with the pseudo-headers (:path etc.).
    """

    method: bytes
    target: Target
    authority: bytes
    headers: HeaderMap


class CompiledRoute(NamedTuple):
    """A route, the function that builds the descriptors of its requests, and its CORS."""

    route: GatewayRoute
    describe: BuildDescriptors
    cors: CorsPolicy | None = None

    def descriptors(self, view: RequestView, address: str) -> tuple[Descriptor, ...]:
        """Return the descriptors of a request; empty if no action applies."""
        return self.describe(DescriptorInput(view.headers, view.target.query or b"", address, self.route.upstream))


class Router:
    """The compiled routes of a gateway. Raises PatternError, and KeyError for an action that only Envoy supports.

    Attributes:
        wanted: names of the headers that routes and limits read, in lower case.
    """

    def __init__(self, gateway: Gateway) -> None:
        routes = gateway.routes
        self._routes = [
            (
                _tester(route.match, preflights=route.cors is not None),
                CompiledRoute(
                    route,
                    descriptor_builder(route.rate_limits, gateway.name),
                    None if route.cors is None else cors_policy(route.cors),
                ),
            )
            for route in routes
        ]
        self.wanted = frozenset((API_KEY,)).union(*map(_wanted, routes))

    def view(
        self, method: bytes, target: Target, authority: bytes, scheme: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> RequestView:
        """Return the view of a request. ``headers`` are the header lines as sent."""
        by_name = header_map(headers, self.wanted)
        by_name[b":path"], by_name[b":method"], by_name[b":scheme"] = [target.full], [method], [scheme]
        by_name[b":authority"] = by_name[b"host"] = [authority]
        return RequestView(method, target, authority, by_name)

    def find(self, view: RequestView) -> CompiledRoute | None:
        """Return the first matching route; None if there is none (404)."""
        for matches, routed in self._routes:
            if matches(view):
                return routed
        return None


def key_headers(gateway: Gateway, keys: Iterable[bytes]) -> frozenset[bytes]:
    """Return the headers that identify a caller: X-API-Key, and the headers of entries with an identity's ``key``."""
    identifying = frozenset(keys)
    named = {
        action.header
        for route in gateway.routes
        for limit in route.rate_limits
        for action in limit.actions
        if isinstance(action, RequestHeaders) and action.key in identifying and action.header[:1] != b":"
    }
    return frozenset((API_KEY, *named))


def repeated(names: Sequence[bytes], keys: Iterable[bytes]) -> bytes | None:
    """Return a header in ``keys`` that is repeated (400), else None. ``names`` are the request's, in lower case."""
    for key in keys:
        if names.count(key) > 1:
            return key
    return None


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
            and (not hosts or _any(hosts, _bare_host(view.authority)))
            and all(test(view.headers) for test in headers)
        )

    return matches


def _asks(view: RequestView, methods: frozenset[bytes]) -> bool:
    return view.method == b"OPTIONS" and not methods.isdisjoint(view.headers.get(ASKED, ()))


def _path_tester(match: RouteMatch) -> Callable[[bytes], bool]:
    if match.kind == "regex":
        return regex(match.pattern)
    pattern = match.pattern.encode()
    if match.kind == "path":
        return lambda path: path == pattern
    return lambda path: path.startswith(pattern)


def _host_tester(pattern: bytes) -> Callable[[bytes], bool]:
    """Match as Envoy's virtual hosts: a wildcard matches at least one character, except ``*`` alone."""
    if pattern == b"*":
        return lambda _: True
    if pattern[:1] == b"*":
        return lambda host: host.endswith(pattern[1:]) and len(host) >= len(pattern)
    if pattern[-1:] == b"*":
        return lambda host: host.startswith(pattern[:-1]) and len(host) >= len(pattern)
    return lambda host: host == pattern


def _bare_host(authority: bytes) -> bytes:
    """Return the host of an authority in lower case, without its port."""
    host, colon, port = authority.rpartition(b":")
    bare = host if colon and port.isdigit() else authority
    return bare.lower()


def _any(tests: Sequence[Callable[[bytes], bool]], value: bytes) -> bool:
    return any(test(value) for test in tests)
