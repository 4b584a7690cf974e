"""A gateway file as immutable values, without clock and I/O."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ratelimitd.http1 import Endpoint, ServerOptions, UpstreamOptions
from ratelimitd.policy import Override

RATE_LIMITED: Final = 429
"""Too Many Requests (RFC 6585)."""


class TextMatch(NamedTuple):
    """Envoy's StringMatcher. ``kind`` is exact, prefix, suffix, contains or regex (RE2, full match)."""

    kind: str
    text: str
    ignore_case: bool = False


class HeaderMatch(NamedTuple):
    """Envoy's HeaderMatcher.

    Attributes:
        name: name of the header in lower case.
        text: matcher that one value must satisfy; None: ``present`` decides whether the header must exist.
        present: whether the header must exist (True) or must not.
        invert: inverts the result. If the header is missing, ``text`` does not match with or without ``invert``.
        missing_as_empty: whether a missing header counts as a header with an empty value.
    """

    name: bytes
    text: TextMatch | None = None
    present: bool = True
    invert: bool = False
    missing_as_empty: bool = False


class QueryMatch(NamedTuple):
    """Envoy's QueryParameterMatcher. It uses the first parameter with that name."""

    name: bytes
    text: TextMatch | None = None
    present: bool = True


class GenericKey(NamedTuple):
    """Always ``(key, value)``."""

    key: bytes
    value: bytes


class RequestHeaders(NamedTuple):
    """``(key, value of a header)``. If the header is missing: no entry with ``skip_if_absent``, else no descriptor."""

    header: bytes
    key: bytes
    skip_if_absent: bool


class QueryParameters(NamedTuple):
    """``(key, value of a query parameter)``. A missing parameter is handled as in RequestHeaders."""

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
    """``(key, value)`` if all ``headers`` match, or with ``expect`` False, not all. Otherwise no descriptor."""

    key: bytes
    value: bytes
    expect: bool
    headers: tuple[HeaderMatch, ...]


class QueryParameterValueMatch(NamedTuple):
    """``(key, value)`` if all ``parameters`` match, or with ``expect`` False, not all. Otherwise no descriptor."""

    key: bytes
    value: bytes
    expect: bool
    parameters: tuple[QueryMatch, ...]


class DestinationCluster(NamedTuple):
    """``(destination_cluster, name of the upstream)``."""


class SourceCluster(NamedTuple):
    """``(source_cluster, name of the gateway)``."""


class EnvoyOnly(NamedTuple):
    """An action that only Envoy supports."""

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
    """The actions that build one descriptor; Envoy's route.v3.RateLimit.

    Attributes:
        actions: each makes an entry; an action that cannot make one drops the descriptor.
        hits: ``hits_addend.number``; None: 1.
        negative: ``hits_addend.is_negative_hits``.
        override: ``limit.rate_limit``, which overrides the limit of the policy.
        envoy: the complete item as written, in Envoy's JSON form.
    """

    actions: tuple[Action, ...]
    hits: int | None
    negative: bool
    override: Override | None
    envoy: Mapping[str, Any]


class Cors(NamedTuple):
    """Which pages of other origins may send requests to a route and read the responses; Envoy's CorsPolicy.

    Attributes:
        origins: matchers of the Origin header; ``exact`` with ``*`` matches any.
        methods: methods of requests, beside the simple ones that need no preflight.
        headers: request headers, likewise.
        exposed: response headers that scripts can read.
        max_age: seconds that a browser keeps the answer to a preflight; None: its default, 5.
        credentials: whether requests may carry cookies and HTTP authentication.
    """

    origins: tuple[TextMatch, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    exposed: tuple[str, ...]
    max_age: int | None
    credentials: bool


class RouteMatch(NamedTuple):
    """Conditions on the requests of a route. An empty condition matches all requests.

    Attributes:
        kind: prefix, path or regex. ``pattern`` is compared with the normalized path, without the query.
        hosts: hosts in lower case, without a port; ``*`` at one end matches any text.
        ignore_case: whether the case of a path counts not; ASCII only, as in Envoy.
        ignore_trailing_slash: whether a slash at the end of a path counts not; of a prefix, the slash at its own end.
    """

    kind: str = "prefix"
    pattern: str = "/"
    methods: frozenset[bytes] = frozenset()
    hosts: tuple[bytes, ...] = ()
    headers: tuple[HeaderMatch, ...] = ()
    ignore_case: bool = False
    ignore_trailing_slash: bool = False


class GatewayRoute(NamedTuple):
    """A route: its match, upstream and rate limits.

    Attributes:
        name: name in metrics and the access log; defaults to the pattern.
        timeout: seconds until the response begins; None: the timeout of the upstream.
        cors: None: requests of other origins are not treated specially.
    """

    name: str
    match: RouteMatch
    upstream: str
    rate_limits: tuple[RateLimit, ...]
    timeout: float | None
    cors: Cors | None = None


class CaFile(NamedTuple):
    """A PEM file, as written, and its line in the gateway file."""

    path: str
    line: int


class Backend(NamedTuple):
    """Configuration of an upstream.

    Attributes:
        host: replaces the Host of requests; empty: by the endpoint; None: the client's is kept.
        ca: authorities that verify the certificates of its endpoints; None: the system's.
        verify: whether certificates are verified.
    """

    endpoints: tuple[Endpoint, ...]
    options: UpstreamOptions
    host: bytes | None = None
    ca: CaFile | None = None
    verify: bool = True


class ListenerTls(NamedTuple):
    """Paths of the listener's PEM files, as written."""

    cert: str
    key: str


class Admin(NamedTuple):
    """Location of /metrics, /healthz and /readyz: below ``prefix`` on the listener, or on a separate ``port``."""

    prefix: str = ""
    port: int | None = None


class Gateway(NamedTuple):
    """A gateway file.

    Attributes:
        file: file name in errors.
        listen: address and port.
        routes: routes in the order of the file; the first match is used.
        trusted_proxies: CIDRs of proxies whose X-Forwarded-For is trusted.
        domain: domain of the policies; empty: the only domain.
        name: value of ``source_cluster``.
        error_details: whether the body of a denial names the limit and the seconds to wait.
        underscores_in_headers: whether names such as X_Forwarded_For are forwarded, for which see ``to_upstream``.
        policies: file or folder of the policies, relative to this file; empty: in this file.
        encoded_slash: whether paths may have an encoded slash (%2F), which is kept as it is.
    """

    file: str
    listen: tuple[str, int]
    upstreams: Mapping[str, Backend]
    routes: tuple[GatewayRoute, ...]
    trusted_proxies: tuple[str, ...]
    domain: bytes
    name: str
    tls: ListenerTls | None
    limits: ServerOptions
    admin: Admin
    rate_limited_status: int
    error_details: bool
    underscores_in_headers: bool
    policies: str
    encoded_slash: bool = False
