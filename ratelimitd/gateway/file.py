"""Parser of gateway files. It reports all errors at once. ``ratelimitd.sources`` reads the policies of the file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from ratelimitd.config import values
from ratelimitd.config.file_kinds import FileKind, kind_of
from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import (
    Keys,
    ListReader,
    MapFound,
    MapReader,
    WrongValueError,
    as_name,
    count,
    flag,
    name_octets,
    name_text,
    number,
    parsed,
    seconds,
    share,
    size,
    text,
)
from ratelimitd.config.yaml_nodes import YamlError, YamlList, YamlMap, YamlNode, YamlScalar, load_yaml
from ratelimitd.http1 import BalanceOptions, BreakerOptions, ServerOptions, UpstreamOptions
from ratelimitd.net.listen import reaches
from ratelimitd.policy import Domain, Policy, PolicyError, PolicyErrors

from .cors_fields import CORS
from .fields import OrFalse, ca_file, cidr, encoded_slash, endpoint, host, method, methods, statuses, upstream_host
from .model import RATE_LIMITED, Admin, Backend, Gateway, GatewayRoute, ListenerTls, RouteMatch
from .paths import PathError, normalise
from .rate_limits import HEADER_MATCH, check_expression, pattern, rate_limit_reader
from .spellings import path_expression

NAME: Final = "ratelimitd"
"""Default name of the gateway, the value of ``source_cluster``."""

LISTEN: Final = ":8080"

HOST_PORT: Final = parsed(values.go_host_port, "host:port, such as :8080 or 127.0.0.1:8080")

LIMITS: Final[Keys] = {
    "max_head": size,
    "max_target": size,
    "max_headers": count,
    "max_body": size,
    "head_timeout": seconds,
    "body_timeout": seconds,
    "min_body_rate": number(0, 1_000_000),
    "idle_timeout": seconds,
    "send_timeout": seconds,
    "max_connections": count,
    "max_connections_per_address": count,
    "methods": methods,
}
"""The fields of ServerOptions."""

BREAKER: Final[Keys] = {
    "consecutive": count,
    "error_rate": share,
    "minimum": count,
    "window": seconds,
    "open_for": seconds,
    "open_for_at_most": seconds,
    "probes": count,
    "successes": count,
    "statuses": statuses,
}
"""The fields of BreakerOptions."""

BALANCE: Final[Keys] = {
    "failures": count,
    "eject_for": seconds,
    "eject_for_at_most": seconds,
    "statuses": statuses,
}
"""The fields of BalanceOptions."""

CONNECTIONS: Final[Keys] = {
    "max_connections": count,
    "max_connections_per_client": count,
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
"""The fields of UpstreamOptions, except the two that are maps."""


INSTEAD: Final[Mapping[FileKind, str]] = {
    FileKind.EMPTY: "the file is empty: `ratelimitd proxy --print-config` prints a gateway file to begin with",
    FileKind.MANIFEST: (
        "this is a Kubernetes manifest, not a gateway file: write what is below a key of its 'data' to a file"
    ),
    FileKind.POLICY: (
        "this is a policy, not a gateway file: serve it to Envoy with `ratelimitd serve`, or name it in 'policies' of "
        "a gateway file"
    ),
}
"""What to do with a file of another kind: one error instead of one for each key."""


def read_gateway(name: str, content: bytes, *, for_envoy: bool = False) -> Gateway:
    """Read a gateway file; ``for_envoy`` allows features only of Envoy. Raises PolicyErrors with all errors."""
    notes = Notes()
    notes.file = name
    try:
        node = load_yaml(content)
    except YamlError as error:
        raise PolicyErrors([PolicyError(name, error.line, str(error))]) from None
    if (other := kind_of(node)) in INSTEAD:
        raise PolicyErrors([PolicyError(name, node.line if node else 1, INSTEAD[other])])
    gateway: Gateway | None = gateway_reader(for_envoy=for_envoy)(notes, node or YamlMap([], 1))
    if notes.errors or gateway is None:
        raise PolicyErrors(sorted(notes.errors, key=lambda error: error.line))
    return gateway


def domain_of(gateway: Gateway, policy: Policy) -> Domain:
    """Return the domain whose limits apply to a gateway's requests. Raises PolicyErrors if unknown or ambiguous."""
    names = ", ".join(sorted(name.decode(errors="replace") for name in policy.domains)) or "none"
    if gateway.domain:
        domain = policy.domains.get(gateway.domain)
        wrong = f"'domain' is not defined by the policies ({names})"
    else:
        domain = next(iter(policy.domains.values())) if len(policy.domains) == 1 else None
        several = f"the policies define several domains ({names}); set 'domain' to one of them"
        wrong = several if policy.domains else "the policies define no domain"
    if domain is None:
        raise PolicyErrors([PolicyError(gateway.file, 1, wrong)])
    return domain


def upstream_at(gateway: Gateway, host: str, port: int) -> str | None:
    """Return the name of an upstream with an endpoint at this address, as far as texts show it; None for none."""
    for name, backend in gateway.upstreams.items():
        if any(port == each.port and reaches(each.host, host) for each in backend.endpoints):
            return name
    return None


def gateway_reader(*, for_envoy: bool) -> MapReader:
    """Return the reader of a gateway file. The reader returns None if the file has an error, which is noted."""
    route: Keys = {
        "match": _MATCH,
        "upstream": name_text,
        "rate_limits": ListReader(rate_limit_reader(for_envoy=for_envoy)),
        "timeout": seconds,
        "name": name_text,
        "cors": CORS,
    }
    return MapReader(
        "a gateway file",
        {
            "listen": HOST_PORT,
            "upstreams": UpstreamsReader(),
            "routes": ListReader(MapReader("a route", route, make=lambda found: found), least=1),
            "policies": inline_or_path,
            "domain": name_octets,
            "name": name_text,
            "trusted_proxies": ListReader(cidr),
            "tls": _TLS,
            "limits": MapReader("'limits'", LIMITS, make=lambda found: ServerOptions()._replace(**found.fields)),
            "admin": _ADMIN,
            "rate_limited_status": number(400, 599),
            "error_details": flag,
            "underscores_in_headers": flag,
            "encoded_slash": encoded_slash,
        },
        ("upstreams", "routes", "policies"),
        _gateway,
    )


def _gateway(found: MapFound) -> Gateway | None:
    fields = found.fields
    upstreams: Mapping[str, Backend] = fields.get("upstreams", {})
    slash = fields.get("encoded_slash", False)
    routes = tuple(_route(route, upstreams, encoded_slash=slash) for route in fields.get("routes", ()))
    if found.notes.errors:
        return None
    return Gateway(
        file=found.notes.file,
        listen=fields.get("listen") or values.go_host_port(LISTEN),
        upstreams=upstreams,
        routes=routes,
        trusted_proxies=fields.get("trusted_proxies", ()),
        domain=fields.get("domain", b""),
        name=fields.get("name", NAME),
        tls=fields.get("tls"),
        limits=fields.get("limits", ServerOptions()),
        admin=fields.get("admin", Admin()),
        rate_limited_status=fields.get("rate_limited_status", RATE_LIMITED),
        error_details=fields.get("error_details", False),
        underscores_in_headers=fields.get("underscores_in_headers", False),
        policies=fields.get("policies", ""),
        encoded_slash=slash,
    )


def _route(found: MapFound, upstreams: Mapping[str, Backend], *, encoded_slash: bool) -> GatewayRoute:
    """Make a route and check its upstream. If there is only one upstream, the route need not name it."""
    fields = found.fields
    upstream = fields.get("upstream", next(iter(upstreams), "") if len(upstreams) == 1 else "")
    if upstreams and upstream not in upstreams:
        found.error(f"needs 'upstream': one of {', '.join(upstreams)}")
    match = fields.get("match", RouteMatch())
    if match.kind != "regex" and "%2f" in match.pattern.lower() and not encoded_slash:
        found.error("has %2F in its path, and such requests are rejected: write encoded_slash: keep in the file")
    return GatewayRoute(
        fields.get("name", match.pattern),
        match,
        upstream,
        fields.get("rate_limits", ()),
        fields.get("timeout"),
        fields.get("cors"),
    )


def _backend(found: MapFound) -> Backend:
    fields = found.fields
    kind = found.only_one("url", "endpoints")
    if kind is None and found.sound:
        found.error("needs 'url', or 'endpoints' for several URLs")
    endpoints = (fields.pop("url"),) if "url" in fields else fields.pop("endpoints", ())
    fields.pop("endpoints", None)
    host, ca, verify = fields.pop("host", None), fields.pop("ca", None), fields.pop("verify", True)
    if (ca is not None or not verify) and endpoints and not any(each.tls for each in endpoints):
        found.error("has 'ca' or 'verify', which apply to https only: write https in its URL, or remove the key")
    if ca is not None and not verify:
        found.error("has 'ca' and verify: false: remove one of them")
    return Backend(endpoints, UpstreamOptions()._replace(**fields), host, ca, verify)


BACKEND: Final = MapReader(
    "an upstream",
    {
        "url": endpoint,
        "endpoints": ListReader(endpoint, least=1),
        "host": upstream_host,
        "ca": ca_file,
        "verify": flag,
        "breaker": OrFalse(
            MapReader("'breaker'", BREAKER, make=lambda found: BreakerOptions()._replace(**found.fields))
        ),
        "balance": OrFalse(
            MapReader("'balance'", BALANCE, make=lambda found: BalanceOptions()._replace(**found.fields))
        ),
        **CONNECTIONS,
    },
    make=_backend,
)


@dataclass(frozen=True)
class UpstreamsReader:
    """Reads a map from the names of upstreams to their configuration."""

    item: MapReader = BACKEND

    def __call__(self, notes: Notes, node: YamlNode) -> dict[str, Backend]:
        """Read the map. Raises WrongValueError."""
        if not isinstance(node, YamlMap) or not node.pairs:
            raise WrongValueError("a map of at least one upstream, such as {app: {url: http://localhost:8081}}")
        upstreams: dict[str, Backend] = {}
        for key, value in node.pairs:
            name = key.text if isinstance(key, YamlScalar) else ""
            if not name or name in upstreams:
                notes.error(key.line, "the name of an upstream must be unique and not empty")
            try:
                as_name(name)
            except WrongValueError as wrong:
                notes.error(key.line, f"the name of an upstream must be {wrong}")
            upstreams[name] = replace(self.item, what=f"upstream '{name}'")(notes, value)
        return upstreams


def route_path(notes: Notes, node: YamlNode) -> str:
    """Read a path. It must be normalized, because it is compared with normalized paths."""
    path = text(notes, node)
    try:
        normal = normalise(path.encode(), encoded_slash=True).decode()
    except PathError as error:
        raise WrongValueError(f"a valid path ({error})") from None
    if normal != path:
        raise WrongValueError(f"a normalized path: write {normal}")
    return path


def _match(found: MapFound) -> RouteMatch:
    fields = found.fields
    kind = found.only_one("prefix", "path", "regex") or "prefix"
    made = RouteMatch(
        kind,
        fields.get(kind, "/"),
        frozenset(fields.get("methods", ())),
        fields.get("hosts", ()),
        fields.get("headers", ()),
        fields.get("ignore_case", False),
        fields.get("ignore_trailing_slash", False),
    )
    if found.sound and (expression := path_expression(made)) is not None:
        check_expression(found, expression)
    return made


_MATCH: Final = MapReader(
    "'match'",
    {
        "prefix": route_path,
        "path": route_path,
        "regex": pattern,
        "methods": ListReader(method),
        "hosts": ListReader(host),
        "headers": ListReader(HEADER_MATCH),
        "ignore_case": flag,
        "ignore_trailing_slash": flag,
    },
    make=_match,
)


def inline_or_path(_notes: Notes, node: YamlNode) -> str:
    """Return the path of the policies, empty if they are inline."""
    if isinstance(node, YamlScalar):
        return node.text
    items = node.items if isinstance(node, YamlList) else [node]
    if not items or not all(isinstance(item, YamlMap) for item in items):
        raise WrongValueError("a policy, a list of policies, or the path of a file or folder")
    return ""


_TLS: Final = MapReader(
    "'tls'",
    {"cert": text, "key": text},
    ("cert", "key"),
    lambda found: ListenerTls(**found.fields) if found.sound else None,
)


def _admin(found: MapFound) -> Admin:
    found.only_one("prefix", "port")
    return Admin(found.fields.get("prefix", "").rstrip("/"), found.fields.get("port"))


_ADMIN: Final = MapReader("'admin'", {"prefix": route_path, "port": number(0, values.PORT_MAX)}, make=_admin)
