"""What a gateway file becomes: values that nothing changes, which know neither time nor sockets."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ratelimitd.http1 import Endpoint, ServerOptions, UpstreamOptions
from ratelimitd.policy import Unit

RATE_LIMITED: Final = 429
"""Too Many Requests (RFC 6585)."""


class TextMatch(NamedTuple):
    """Envoy's StringMatcher. ``kind``: exact, prefix, suffix, contains or regex (RE2, of the whole text)."""

    kind: str
    text: str
    ignore_case: bool = False


class HeaderMatch(NamedTuple):
    """Envoy's HeaderMatcher.

    Attributes:
        name: in lower case.
        text: one value must match it; None: the header must be there, or not, as ``present`` says.
        invert: the other way round. Without the header, a ``text`` does not match either way.
        missing_as_empty: a header that is not there is one with an empty value.
    """

    name: bytes
    text: TextMatch | None = None
    present: bool = True
    invert: bool = False
    missing_as_empty: bool = False


class QueryMatch(NamedTuple):
    """Envoy's QueryParameterMatcher, of the first parameter of that name."""

    name: bytes
    text: TextMatch | None = None
    present: bool = True


class GenericKey(NamedTuple):
    """Always ``(key, value)``."""

    key: bytes
    value: bytes


class RequestHeaders(NamedTuple):
    """``(key, value of a header)``. Without the header: nothing, and no descriptor unless ``skip_if_absent``."""

    header: bytes
    key: bytes
    skip_if_absent: bool


class QueryParameters(NamedTuple):
    """``(key, value of a query parameter)``, absent as with RequestHeaders."""

    parameter: bytes
    key: bytes
    skip_if_absent: bool


class RemoteAddress(NamedTuple):
    """``(remote_address, address of the client)``."""


class MaskedRemoteAddress(NamedTuple):
    """``(masked_remote_address, network of the client)``; the network is a CIDR."""

    v4_prefix: int
    v6_prefix: int


class HeaderValueMatch(NamedTuple):
    """``(key, value)`` when all ``headers`` match, or when not, as ``expect`` says."""

    key: bytes
    value: bytes
    expect: bool
    headers: tuple[HeaderMatch, ...]


class QueryParameterValueMatch(NamedTuple):
    """``(key, value)`` when all ``parameters`` match, or when not, as ``expect`` says."""

    key: bytes
    value: bytes
    expect: bool
    parameters: tuple[QueryMatch, ...]


class DestinationCluster(NamedTuple):
    """``(destination_cluster, name of the upstream)``."""


class SourceCluster(NamedTuple):
    """``(source_cluster, name of the gateway)``."""


class EnvoyOnly(NamedTuple):
    """An action that only Envoy can do, by its name."""

    name: str


Action = (
    GenericKey
    | RequestHeaders
    | QueryParameters
    | RemoteAddress
    | MaskedRemoteAddress
    | HeaderValueMatch
    | QueryParameterValueMatch
    | DestinationCluster
    | SourceCluster
    | EnvoyOnly
)


class RateLimit(NamedTuple):
    """What makes one descriptor of a request; Envoy's route.v3.RateLimit.

    Attributes:
        actions: each gives an entry; one that cannot drops the descriptor.
        hits: ``hits_addend.number``; None: 1.
        negative: ``hits_addend.is_negative_hits``.
        override: ``limit.rate_limit``: the limit to hold it to instead of the policy's.
        envoy: the whole of it as written, which is Envoy's JSON.
    """

    actions: tuple[Action, ...]
    hits: int | None
    negative: bool
    override: tuple[int, Unit] | None
    envoy: Mapping[str, Any]


class RouteMatch(NamedTuple):
    """Which requests take a route. What is empty matches all.

    Attributes:
        kind: prefix, path or regex; ``pattern`` is held against the normalised path, without the query.
        hosts: in lower case, without a port; ``*`` at one end stands for any text.
    """

    kind: str = "prefix"
    pattern: str = "/"
    methods: frozenset[bytes] = frozenset()
    hosts: tuple[bytes, ...] = ()
    headers: tuple[HeaderMatch, ...] = ()


class Route(NamedTuple):
    """Where some requests go, and by what they are limited.

    Attributes:
        name: in metrics and the log; the pattern, unless the file names it.
        timeout: seconds until the response begins; None: the upstream's.
    """

    name: str
    match: RouteMatch
    upstream: str
    rate_limits: tuple[RateLimit, ...]
    timeout: float | None


class Backend(NamedTuple):
    """An upstream as the file has it."""

    endpoints: tuple[Endpoint, ...]
    options: UpstreamOptions


class Tls(NamedTuple):
    """Paths of PEM files, as written."""

    cert: str
    key: str


class Admin(NamedTuple):
    """Where /metrics, /healthz and /readyz are: below ``prefix`` on the listener, or on a ``port`` of their own."""

    prefix: str = ""
    port: int | None = None


class Gateway(NamedTuple):
    """A gateway file.

    Attributes:
        file: its name, as errors have it.
        listen: address and port.
        routes: in the order of the file; the first that matches counts.
        trusted_proxies: CIDRs of those whose X-Forwarded-For is believed.
        domain: of the policies; empty: the only one there is.
        name: what ``source_cluster`` says.
        policies: the file or folder they are in, relative to this file; empty: in this file.
    """

    file: str
    listen: tuple[str, int]
    upstreams: Mapping[str, Backend]
    routes: tuple[Route, ...]
    trusted_proxies: tuple[str, ...]
    domain: bytes
    name: str
    tls: Tls | None
    limits: ServerOptions
    admin: Admin
    rate_limited_status: int
    policies: str
