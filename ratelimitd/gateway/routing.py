"""Selection of the route of a request, and its descriptors."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from ratelimitd.http1 import Request
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
from .cors import ASKED, ORIGIN, CorsPolicy, cors_policy
from .heard import heard, reads_hops
from .matching import LISTS, HeaderMap, HeaderValues, header_tester, header_values, regex, text_tester
from .model import Gateway, GatewayRoute, HeaderValueMatch, RequestHeaders, RouteMatch, TextMatch
from .paths import Target, normalise
from .spellings import HOST_NAMES, path_expression, plain_host

_SLASH: Final = re.compile(rb"%2[Ff]")
API_KEY: Final = b"x-api-key"
"""Its lines never form one list: two keys are two callers, and the line that a program reads decides who is charged."""


_OF_REQUEST_LINE: Final = HOST_NAMES | {b":method", b":path", b":scheme"}
"""Names that no header line has, and Host: ``Asked`` has fields for them."""


class Asked(NamedTuple):
    """All that describes a request to limits, upstream and log, apart from its path and id.

    It is the key by which requests share a ``Way``: what is read of a request, and is no field here, would be that of
    another request. Only routes are found by the path beside it.

    Attributes:
        authority: the requested host, as sent.
        peer: address of the other end of the connection.
        address: address of the client, which may be behind the peer.
        headers: those in ``Router.wanted``.
        path: normalized path with the query, if a route or limit reads ``:path``, otherwise empty.
        query: query as sent, if a limit reads a parameter, otherwise empty.
    """

    method: bytes
    version: bytes
    scheme: str
    authority: bytes
    peer: str
    address: str
    headers: HeaderValues
    path: bytes
    query: bytes

    def header_map(self) -> HeaderMap:
        """Return the headers by name, with the pseudo-headers; ``:path`` only if it is read."""
        host = (plain_host(self.authority),)
        found: dict[bytes, Sequence[bytes]] = dict(self.headers)
        found |= {b":method": (self.method,), b":scheme": (self.scheme.encode(),), b":authority": host, b"host": host}
        if self.path:
            found[b":path"] = (self.path,)
        return found


_NO_HEADERS: Final[HeaderMap] = {}

Matches = Callable[[bytes, Asked, HeaderMap], bool]
"""Whether a route matches a normalized path, and what is read beside it; with the header map of the latter."""


class CompiledRoute(NamedTuple):
    """A route, the function that builds the descriptors of its requests, and its CORS.

    Attributes:
        parameters: query parameters that its limits read.
        place: its place in the file; routes may have equal names.
    """

    route: GatewayRoute
    describe: BuildDescriptors
    parameters: frozenset[bytes]
    place: int
    cors: CorsPolicy | None = None

    def is_ambiguous(self, query: bytes) -> bool:
        """Return whether a query repeats a parameter that counts: programs differ on which of them they read."""
        return bool(self.parameters) and repeats_parameter(query, self.parameters)

    def descriptors(self, asked: Asked) -> tuple[Descriptor, ...]:
        """Return the descriptors of a request; empty if no action applies."""
        return self.describe(DescriptorInput(asked.header_map(), asked.query, asked.address, self.route.upstream))


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
                    place,
                    None if route.cors is None else cors_policy(route.cors),
                ),
            )
            for place, route in enumerate(routes)
        ]
        self.wanted = headers_wanted(gateway)
        self._names = tuple(sorted(self.wanted - _OF_REQUEST_LINE))
        self._reads_path = b":path" in self.wanted
        self._reads_query = any(routed.parameters for _, routed in self._routes)
        self._tests_headers = any(route.match.headers or route.cors is not None for route in routes)
        self._reads_hops = reads_hops(self.wanted)
        self.guarded = None if gateway.underscores_in_headers else self.wanted

    def asked(self, request: Request, target: Target, address: str = "", *, trusted: bool = False) -> Asked:
        """Return what is read of a request.

        Args:
            request: the request.
            target: its normalized target.
            address: address of the client.
            trusted: the peer is a trusted proxy.
        """
        return Asked(
            request.method,
            request.version,
            request.scheme,
            request.authority,
            request.peer.address,
            address,
            header_values(heard(request, trusted=trusted, claims=self._reads_hops), self._names),
            target.full if self._reads_path else b"",
            target.query or b"" if self._reads_query else b"",
        )

    def find(self, path: bytes, asked: Asked) -> CompiledRoute | None:
        """Return the first route that matches a request with this normalized path; None if there is none (404)."""
        headers = asked.header_map() if self._tests_headers else _NO_HEADERS
        for matches, routed in self._routes:
            if matches(path, asked, headers):
                return routed
        return None

    def hides(self, path: bytes, asked: Asked, found: CompiledRoute | None) -> bool:
        """Return whether a route before the one that was found would match if encoded slashes were slashes."""
        if _SLASH.search(path) is None:
            return False
        decoded = normalise(_SLASH.sub(b"/", path))
        headers = asked.header_map() if self._tests_headers else _NO_HEADERS
        for matches, routed in self._routes:
            if routed is found:
                return False
            if matches(decoded, asked, headers):
                return True
        return False


def headers_wanted(gateway: Gateway) -> frozenset[bytes]:
    """Return the names of the headers that routes and limits read, in lower case, with X-API-Key."""
    return frozenset((API_KEY,)).union(*map(_wanted, gateway.routes))


def counted_headers(gateway: Gateway) -> frozenset[bytes]:
    """Return the headers whose value decides on the route or the counters of a request, except lists.

    They are X-API-Key, and those of matches and actions. A request that repeats one is refused: the program behind may
    read another line than the one that was counted.
    """
    read = frozenset[bytes]().union(*map(_values_read, gateway.routes))
    return frozenset((API_KEY, *(name for name in read if name[:1] != b":"))) - LISTS - HOST_NAMES


def _values_read(route: GatewayRoute) -> frozenset[bytes]:
    actions = [action for limit in route.rate_limits for action in limit.actions]
    tests = [route.match.headers, *(action.headers for action in actions if isinstance(action, HeaderValueMatch))]
    matched = [test.name for headers in tests for test in headers if test.text is not None]
    return frozenset((*matched, *(action.header for action in actions if isinstance(action, RequestHeaders))))


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
    asked = [] if route.cors is None or not route.match.methods else [ASKED, ORIGIN]
    return header_names(route.match.headers).union(asked, *map(headers_read, actions))


def _tester(match: RouteMatch, *, preflights: bool) -> Matches:
    """Return whether a request matches; with ``preflights`` also one that asks for leave to send such a request."""
    path, methods = _path_tester(match), match.methods
    hosts = tuple(map(_host_tester, match.hosts))
    headers = tuple(map(header_tester, match.headers))

    def matches(target: bytes, asked: Asked, by_name: HeaderMap) -> bool:
        return (
            path(target)
            and (not methods or asked.method in methods or (preflights and _asks(asked, by_name, methods)))
            and (not hosts or _any(hosts, plain_host(asked.authority)))
            and (not headers or all(test(by_name) for test in headers))
        )

    return matches


def _asks(asked: Asked, by_name: HeaderMap, methods: frozenset[bytes]) -> bool:
    return asked.method == b"OPTIONS" and ORIGIN in by_name and not methods.isdisjoint(by_name.get(ASKED, ()))


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
