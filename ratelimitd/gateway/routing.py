"""Which route a request takes, and the descriptors it makes there."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from ratelimitd.policy import Descriptor

from .actions import Describe, Seen, describer, headers_wanted, names_of
from .matching import Folded, fold, header_tester, regex
from .model import Gateway, RequestHeaders, Route, RouteMatch
from .paths import Target

API_KEY: Final = b"x-api-key"
"""Its lines are never one list: two keys are two callers, and who reads the other one decides whom it charges."""


class Asked(NamedTuple):
    """A request as far as routes and limits look at it.

    Attributes:
        target: normalised.
        authority: the host asked for, with its port if it had one.
        headers: those in ``Router.wanted``, folded, with :path and the like.
    """

    method: bytes
    target: Target
    authority: bytes
    headers: Folded


class Routed(NamedTuple):
    """A route, and how its requests are described."""

    route: Route
    describe: Describe

    def descriptors(self, asked: Asked, address: str) -> tuple[Descriptor, ...]:
        """Return what the rate limit service is asked; nothing when no action applies."""
        return self.describe(Seen(asked.headers, asked.target.query or b"", address, self.route.upstream))


class Router:
    """The routes of a gateway, ready. Raises PatternError, and KeyError for an action that only Envoy can do.

    Attributes:
        wanted: names of headers that somebody looks at, in lower case.
    """

    def __init__(self, gateway: Gateway) -> None:
        routes = gateway.routes
        self._routes = [
            (_tester(route.match), Routed(route, describer(route.rate_limits, gateway.name))) for route in routes
        ]
        self.wanted = frozenset((API_KEY,)).union(*map(_wanted, routes))

    def asked(
        self, method: bytes, target: Target, authority: bytes, scheme: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> Asked:
        """Look at a request once; ``headers`` come as they were sent."""
        folded = fold(headers, self.wanted)
        folded[b":path"], folded[b":method"], folded[b":scheme"] = [target.whole], [method], [scheme]
        folded[b":authority"] = folded[b"host"] = [authority]
        return Asked(method, target, authority, folded)

    def find(self, asked: Asked) -> Routed | None:
        """Return the first route that matches; None: 404."""
        for matches, routed in self._routes:
            if matches(asked):
                return routed
        return None


def key_headers(gateway: Gateway, keys: Iterable[bytes]) -> frozenset[bytes]:
    """Return the headers that say who is calling: X-API-Key, and those that make entries of an identity's ``key``."""
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
    """Return one of these keys that is there twice, which is 400; ``names`` are those of a request in lower case."""
    for key in keys:
        if names.count(key) > 1:
            return key
    return None


def _wanted(route: Route) -> frozenset[bytes]:
    actions = (action for limit in route.rate_limits for action in limit.actions)
    return names_of(route.match.headers).union(*map(headers_wanted, actions))


def _tester(match: RouteMatch) -> Callable[[Asked], bool]:
    path, methods = _path_tester(match), match.methods
    hosts = tuple(map(_host_tester, match.hosts))
    headers = tuple(map(header_tester, match.headers))

    def matches(asked: Asked) -> bool:
        return (
            path(asked.target.path)
            and (not methods or asked.method in methods)
            and (not hosts or _any(hosts, _bare_host(asked.authority)))
            and all(test(asked.headers) for test in headers)
        )

    return matches


def _path_tester(match: RouteMatch) -> Callable[[bytes], bool]:
    if match.kind == "regex":
        return regex(match.pattern)
    pattern = match.pattern.encode()
    if match.kind == "path":
        return lambda path: path == pattern
    return lambda path: path.startswith(pattern)


def _host_tester(pattern: bytes) -> Callable[[bytes], bool]:
    """As Envoy's virtual hosts: a wildcard stands for at least one character, but for ``*`` alone."""
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
