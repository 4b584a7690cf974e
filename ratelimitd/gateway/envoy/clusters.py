"""Clusters of the upstreams and of the rate limit service."""

import math
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
    ClusterLbPolicy,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    DataSource,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    SocketAddress,
    TransportSocket,
)
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions as CommonOptions
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.config.endpoint.v3 import Endpoint as EnvoyEndpoint
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CertificateValidationContextTrustChainVerification,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from ratelimitd.config.values import UINT32_MAX
from ratelimitd.gateway.model import Backend
from ratelimitd.http1 import BalanceOptions, Endpoint, UpstreamOptions
from ratelimitd.net.listen import EVERY_ADDRESS

SERVICE_CONNECT_TIMEOUT: Final = 1.0
"""Connect timeout of the rate limit service, in seconds: it is nearby. A request's timeout does not include it."""

TRUSTED_CA: Final = "/etc/ssl/certs/ca-certificates.crt"
"""CA certificates that verify upstreams: the path in Debian and in Envoy's images. Envoy has no system default."""

PROTOCOL: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

PANIC: Final = 50.0
"""Percentage of healthy endpoints below which all are asked, as the proxy does; also Envoy's default."""

GATEWAY_FAILURES: Final = frozenset((502, 503, 504))
"""The statuses that Envoy can count as failures alone."""

KIB: Final = 1024

HEAD_MAX: Final = 8192 * KIB
"""Largest head in bytes that Envoy can be configured to accept (max_request_headers_kb of HttpConnectionManager)."""


def head_kib(max_head: int) -> int:
    """Return the maximum size of a head in KiB, as Envoy expects it."""
    return math.ceil(min(max_head, HEAD_MAX) / KIB)


def address(host: str, port: int) -> Address:
    """Return a socket address."""
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def listening(host: str, port: int) -> Address:
    """Return the address of a listener. Every address is both families, as in ``net.listen.bind``."""
    if host not in EVERY_ADDRESS:
        return address(host, port)
    return Address(socket_address=SocketAddress(address="::", port_value=port, ipv4_compat=True))


def upstream(name: str, backend: Backend) -> Cluster:
    """Return the cluster of an upstream."""
    options, endpoints = backend.options, backend.endpoints
    cluster = _cluster(name, endpoints, options.connect_timeout, named=rewrites_each(backend))
    cluster.circuit_breakers = CircuitBreakers(thresholds=[_bounds(options, len(endpoints))])
    cluster.typed_extension_protocol_options = {PROTOCOL: Any.pack(_http1(options))}
    if len(endpoints) > 1:
        cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
        cluster.common_lb_config = ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=PANIC))
        if options.balance is not None:
            cluster.outlier_detection = _ejection(options.balance)
    if any(endpoint.tls for endpoint in endpoints):
        cluster.transport_socket = _tls(backend)
    return cluster


def literal_host(backend: Backend) -> str | None:
    """Return the Host that replaces a client's, if all endpoints get the same one."""
    if backend.host is None or rewrites_each(backend):
        return None
    return (backend.host or backend.endpoints[0].authority).decode()


def rewrites_each(backend: Backend) -> bool:
    """Return whether each of several endpoints gets a Host of its own."""
    return backend.host == b"" and len({endpoint.authority for endpoint in backend.endpoints}) > 1


def service(name: str, host: str, port: int) -> Cluster:
    """Return the cluster of the rate limit service, with HTTP/2 for gRPC."""
    cluster = _cluster(name, (Endpoint(host, port),), SERVICE_CONNECT_TIMEOUT)
    http2 = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    cluster.typed_extension_protocol_options = {PROTOCOL: Any.pack(HttpProtocolOptions(explicit_http_config=http2))}
    return cluster


def _cluster(name: str, endpoints: Sequence[Endpoint], connect_timeout: float, *, named: bool = False) -> Cluster:
    """Return a cluster; ``named``: the endpoints' names are their Host. Those of TLS are its SNI, and have no port."""
    hosts = [
        LbEndpoint(
            endpoint=EnvoyEndpoint(
                address=address(each.host, each.port),
                hostname=each.host if each.tls else each.authority.decode() if named else "",
            )
        )
        for each in endpoints
    ]
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.STRICT_DNS,
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        connect_timeout=timedelta(seconds=connect_timeout),
        load_assignment=ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=hosts)]),
    )


def _bounds(options: UpstreamOptions, endpoints: int) -> CircuitBreakersThresholds:
    """Return the limits of the whole cluster, as Envoy counts them. Each connection may be in its one retry."""
    connections = min(options.max_connections * endpoints, UINT32_MAX)
    return CircuitBreakersThresholds(
        max_connections=connections,
        max_pending_requests=min(options.max_waiting * endpoints, UINT32_MAX),
        max_requests=connections,
        max_retries=connections,
    )


def _http1(options: UpstreamOptions) -> HttpProtocolOptions:
    return HttpProtocolOptions(
        common_http_protocol_options=CommonOptions(
            idle_timeout=timedelta(seconds=options.idle_timeout),
            max_connection_duration=None if options.lifetime is None else timedelta(seconds=options.lifetime),
            max_response_headers_kb=head_kib(options.max_head),
        ),
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
    )


def _ejection(options: BalanceOptions) -> OutlierDetection:
    """Eject for connections and responses that did not come, and for statuses if the file asks for it."""
    return OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=options.failures,
        enforcing_consecutive_local_origin_failure=100,
        enforcing_local_origin_success_rate=0,
        consecutive_gateway_failure=options.failures,
        enforcing_consecutive_gateway_failure=100 if options.statuses == GATEWAY_FAILURES else 0,
        enforcing_consecutive_5xx=0,
        base_ejection_time=timedelta(seconds=options.eject_for),
        max_ejection_time=timedelta(seconds=options.eject_for_at_most),
        max_ejection_percent=100,
        enforcing_success_rate=0,
    )


def _tls(backend: Backend) -> TransportSocket:
    addresses = [endpoint.host for endpoint in backend.endpoints if _is_address(endpoint.host)]
    context = UpstreamTlsContext(
        common_tls_context=CommonTlsContext(validation_context=_checks(backend, addresses)),
        auto_host_sni=not addresses,
        auto_sni_san_validation=backend.verify and not addresses,
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def _checks(backend: Backend, addresses: Sequence[str]) -> CertificateValidationContext:
    """Verify the issuer of a certificate and its host name or address, unless the file turns that off."""
    if not backend.verify:
        untrusted = CertificateValidationContextTrustChainVerification.ACCEPT_UNTRUSTED
        return CertificateValidationContext(trust_chain_verification=untrusted)
    return CertificateValidationContext(
        trusted_ca=DataSource(filename=TRUSTED_CA if backend.ca is None else backend.ca.path),
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(san_type=SubjectAltNameMatcherSanType.IP_ADDRESS, matcher=StringMatcher(exact=each))
            for each in addresses
        ],
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
