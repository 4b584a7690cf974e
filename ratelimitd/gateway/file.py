"""A gateway file to a Gateway, or to every error there is in it. Its policies are read by ``ratelimitd.sources``."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ratelimitd.config import values
from ratelimitd.config.problems import Notes
from ratelimitd.config.yaml_nodes import YamlError, YamlList, YamlMap, YamlNode, YamlScalar, load_yaml
from ratelimitd.http1.balance import BalanceOptions
from ratelimitd.http1.circuit_breaker import BreakerOptions
from ratelimitd.http1.options import ServerOptions, UpstreamOptions
from ratelimitd.policy import Domain, Policy, PolicyError, PolicyErrors
from ratelimitd.policy.fields import WrongValueError

from .fields import (
    Fields,
    Level,
    cidr,
    count,
    endpoint,
    host,
    list_of,
    method,
    number,
    octets,
    only_one,
    parsed,
    read_map,
    seconds,
    share,
    size,
    text,
)
from .model import RATE_LIMITED, Admin, Backend, Gateway, Route, RouteMatch, Tls
from .paths import PathError, normalise
from .rate_limits import RateLimitReader, header_match, pattern

NAME: Final = "ratelimitd"
"""What ``source_cluster`` says, unless the file says otherwise."""

LISTEN: Final = ":8080"

LIMITS: Final[Level] = {
    "max_head": size,
    "max_target": size,
    "max_headers": count,
    "max_body": size,
    "head_timeout": seconds,
    "body_timeout": seconds,
    "idle_timeout": seconds,
    "send_timeout": seconds,
    "max_connections": count,
    "max_connections_per_address": count,
}
"""The fields of ServerOptions."""

BREAKER: Final[Level] = {
    "consecutive": count,
    "error_rate": share,
    "minimum": count,
    "window": seconds,
    "open_for": seconds,
    "open_for_at_most": seconds,
    "probes": count,
    "successes": count,
}
"""The fields of BreakerOptions."""

BALANCE: Final[Level] = {"failures": count, "eject_for": seconds, "eject_for_at_most": seconds}
"""The fields of BalanceOptions."""

CONNECTIONS: Final[Level] = {
    "max_connections": count,
    "max_waiting": count,
    "wait_timeout": seconds,
    "connect_timeout": seconds,
    "response_timeout": seconds,
    "read_timeout": seconds,
    "tunnel_timeout": seconds,
    "idle_timeout": seconds,
    "lifetime": seconds,
    "max_head": size,
}
"""The fields of UpstreamOptions, but for the two that are maps."""


class _RawRoute(NamedTuple):
    node: YamlNode
    fields: Fields


def read_gateway(name: str, content: bytes, *, for_envoy: bool = False) -> Gateway:
    """Read a gateway file. ``for_envoy`` keeps what only Envoy can do. Raises PolicyErrors with all errors."""
    notes = Notes()
    notes.file = name
    try:
        node = load_yaml(content)
    except YamlError as error:
        raise PolicyErrors([PolicyError(name, error.line, str(error))]) from None
    gateway = _Reader(notes, for_envoy=for_envoy).gateway(node or YamlMap([], 1))
    if notes.errors or gateway is None:
        raise PolicyErrors(sorted(notes.errors, key=lambda error: error.line))
    return gateway


def domain_of(gateway: Gateway, policy: Policy) -> Domain:
    """Return the domain that a gateway's requests are held against. Raises PolicyErrors when it is not clear which."""
    names = ", ".join(sorted(name.decode(errors="replace") for name in policy.domains)) or "none"
    if gateway.domain:
        domain = policy.domains.get(gateway.domain)
        wrong = f"'domain' is none of its policies' ({names}): write one of them"
    else:
        domain = next(iter(policy.domains.values())) if len(policy.domains) == 1 else None
        wrong = f"its policies have not one domain ({names}): write which one counts as 'domain'"
    if domain is None:
        raise PolicyErrors([PolicyError(gateway.file, 1, wrong)])
    return domain


class _Reader:
    """Reads one file."""

    def __init__(self, notes: Notes, *, for_envoy: bool) -> None:
        self._notes = notes
        self._rate_limits = RateLimitReader(for_envoy=for_envoy)

    def gateway(self, node: YamlNode) -> Gateway | None:
        """Read the whole file; None when it has an error, which is noted."""
        notes = self._notes
        fields = read_map(notes, node, "a gateway file", self._top(), "upstreams", "routes", "policies")
        upstreams: Mapping[str, Backend] = fields.get("upstreams", {})
        routes = tuple(self._finished(raw, upstreams) for raw in fields.get("routes", ()))
        if notes.errors:
            return None
        return Gateway(
            file=notes.file,
            listen=fields.get("listen") or values.host_port(LISTEN),
            upstreams=upstreams,
            routes=routes,
            trusted_proxies=fields.get("trusted_proxies", ()),
            domain=fields.get("domain", b""),
            name=fields.get("name", NAME),
            tls=fields.get("tls"),
            limits=fields.get("limits", ServerOptions()),
            admin=fields.get("admin", Admin()),
            rate_limited_status=fields.get("rate_limited_status", RATE_LIMITED),
            policies=fields.get("policies", ""),
        )

    def _top(self) -> Level:
        return {
            "listen": parsed(values.host_port, "host:port, such as :8080 or 127.0.0.1:8080"),
            "upstreams": self._upstreams,
            "routes": list_of(self._route, least=1),
            "policies": _policies,
            "domain": octets,
            "name": text,
            "trusted_proxies": list_of(cidr),
            "tls": _tls,
            "limits": lambda notes, node: ServerOptions()._replace(**read_map(notes, node, "'limits'", LIMITS)),
            "admin": _admin,
            "rate_limited_status": number(400, 599),
        }

    def _upstreams(self, notes: Notes, node: YamlNode) -> dict[str, Backend]:
        if not isinstance(node, YamlMap) or not node.pairs:
            raise WrongValueError("a map of at least one upstream, such as {app: {url: http://localhost:8081}}")
        upstreams: dict[str, Backend] = {}
        for key, value in node.pairs:
            name = key.text if isinstance(key, YamlScalar) else ""
            if not name or name in upstreams:
                notes.error(key.line, "an upstream needs a name of its own")
            upstreams[name] = _backend(notes, value, f"upstream '{name}'")
        return upstreams

    def _route(self, notes: Notes, node: YamlNode) -> _RawRoute:
        level: Level = {
            "match": _match,
            "upstream": text,
            "rate_limits": list_of(self._rate_limits.read),
            "timeout": seconds,
            "name": text,
        }
        return _RawRoute(node, read_map(notes, node, "a route", level))

    def _finished(self, raw: _RawRoute, upstreams: Mapping[str, Backend]) -> Route:
        """Hold a route against the upstreams; it may leave the only one out."""
        fields = raw.fields
        upstream = fields.get("upstream", next(iter(upstreams), "") if len(upstreams) == 1 else "")
        if upstreams and upstream not in upstreams:
            self._notes.error(raw.node.line, f"a route needs 'upstream': one of {', '.join(upstreams)}")
        match = fields.get("match", RouteMatch())
        return Route(
            fields.get("name", match.pattern), match, upstream, fields.get("rate_limits", ()), fields.get("timeout")
        )


def _backend(notes: Notes, node: YamlNode, what: str) -> Backend:
    level: Level = {
        "url": endpoint,
        "endpoints": list_of(endpoint, least=1),
        "breaker": lambda notes, node: BreakerOptions()._replace(**read_map(notes, node, "'breaker'", BREAKER)),
        "balance": lambda notes, node: BalanceOptions()._replace(**read_map(notes, node, "'balance'", BALANCE)),
        **CONNECTIONS,
    }
    before = len(notes.errors)
    fields = read_map(notes, node, what, level)
    kind = only_one(notes, node, what, fields, "url", "endpoints")
    if kind is None and len(notes.errors) == before:
        notes.error(node.line, f"{what} needs 'url', or 'endpoints' with several")
    endpoints = (fields.pop("url"),) if "url" in fields else fields.pop("endpoints", ())
    fields.pop("endpoints", None)
    return Backend(endpoints, UpstreamOptions()._replace(**fields))


def _match(notes: Notes, node: YamlNode) -> RouteMatch:
    level: Level = {
        "prefix": _path,
        "path": _path,
        "regex": pattern,
        "methods": list_of(method),
        "hosts": list_of(host),
        "headers": list_of(header_match),
    }
    fields = read_map(notes, node, "'match'", level)
    kind = only_one(notes, node, "'match'", fields, "prefix", "path", "regex") or "prefix"
    return RouteMatch(
        kind,
        fields.get(kind, "/"),
        frozenset(fields.get("methods", ())),
        fields.get("hosts", ()),
        fields.get("headers", ()),
    )


def _path(notes: Notes, node: YamlNode) -> str:
    """Read a path, which can only match when it is as paths are after they were normalised."""
    path = text(notes, node)
    try:
        normal = normalise(path.encode()).decode()
    except PathError as error:
        raise WrongValueError(f"a path that a request can have ({error})") from None
    if normal != path:
        raise WrongValueError(f"a path as it is after normalisation: write {normal}")
    return path


def _policies(_notes: Notes, node: YamlNode) -> str:
    """Return where the policies are; nothing when they are here."""
    if isinstance(node, YamlScalar):
        return node.text
    items = node.items if isinstance(node, YamlList) else [node]
    if not items or not all(isinstance(item, YamlMap) for item in items):
        raise WrongValueError("a policy, a list of policies, or the name of their file or folder")
    return ""


def _tls(notes: Notes, node: YamlNode) -> Tls | None:
    fields: dict[str, Any] = read_map(notes, node, "'tls'", {"cert": text, "key": text}, "cert", "key")
    return Tls(**fields) if len(fields) == len(Tls._fields) else None


def _admin(notes: Notes, node: YamlNode) -> Admin:
    fields = read_map(notes, node, "'admin'", {"prefix": _path, "port": number(0, values.PORT_MAX)})
    only_one(notes, node, "'admin'", fields, "prefix", "port")
    return Admin(fields.get("prefix", "").rstrip("/"), fields.get("port"))
