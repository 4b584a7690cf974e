"""The listener and its HTTP connection managers."""

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Final

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import (
    HeaderMutation as Mutation,
)
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    CidrRange,
    DataSource,
    Http1ProtocolOptions,
    HttpProtocolOptions,
    TransportSocket,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, FilterChainMatch, Listener
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.connection_limit.v3 import ConnectionLimit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerInternalAddressConfig,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import HeaderMutation
from envoy_data_plane.envoy.extensions.http.original_ip_detection.xff.v3 import XffConfig, XffTrustedCidrs
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    TlsCertificate,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any

from ratelimitd.gateway.model import Gateway, ListenerTls
from ratelimitd.gateway.routing import headers_wanted
from ratelimitd.gateway.spellings import lookalikes
from ratelimitd.http1 import CLAIMS, PSEUDONYM, REMOVED, ServerOptions

from .clusters import head_kib, listening
from .cors import cors_filters
from .host import host_filter
from .ratelimit import FilterOptions, filters, local_reply
from .routes import routes, stages

NAME: Final = "http"

FORWARDING: Final = "x-forwarded-"
"""The beginning of the names of most forwarding headers."""
_SLASHES: Final = {
    False: HttpConnectionManagerPathWithEscapedSlashesAction.REJECT_REQUEST,
    True: HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED,
}
"""By ``encoded_slash: keep``."""

ALPN: Final = ("h2", "http/1.1")


def listener(gateway: Gateway, options: FilterOptions) -> Listener:
    """Return the listener, with one filter chain for trusted proxies and one for all other peers.

    Two chains are needed because Envoy would otherwise trust some of the forwarding headers of every peer.
    """
    made = Listener(
        name=NAME,
        address=listening(*gateway.listen),
        default_filter_chain=_chain(gateway, _untrusted_manager(gateway, options)),
    )
    if gateway.trusted_proxies:
        chain = _chain(gateway, _trusted_manager(gateway, options))
        chain.name = "trusted_proxies"
        chain.filter_chain_match = FilterChainMatch(source_prefix_ranges=_ranges(gateway))
        made.filter_chains = [chain]
    return made


def _chain(gateway: Gateway, manager: HttpConnectionManager) -> FilterChain:
    limit = ConnectionLimit(stat_prefix=NAME, max_connections=gateway.limits.max_connections)
    chain = FilterChain(
        filters=[
            Filter(name="envoy.filters.network.connection_limit", typed_config=Any.pack(limit)),
            Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager)),
        ]
    )
    if gateway.tls is not None:
        chain.transport_socket = _tls(gateway.tls)
    return chain


def _tls(tls: ListenerTls) -> TransportSocket:
    certificate = TlsCertificate(
        certificate_chain=DataSource(filename=tls.cert), private_key=DataSource(filename=tls.key)
    )
    context = DownstreamTlsContext(
        common_tls_context=CommonTlsContext(tls_certificates=[certificate], alpn_protocols=list(ALPN))
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def _manager(gateway: Gateway, options: FilterOptions) -> HttpConnectionManager:
    limits = gateway.limits
    return HttpConnectionManager(
        stat_prefix=NAME,
        route_config=routes(gateway),
        http_filters=[*cors_filters(gateway), *host_filter(gateway), *filters(options, stages(gateway)), _router()],
        common_http_protocol_options=_common(limits),
        http_protocol_options=Http1ProtocolOptions(
            accept_http_10=True, enable_trailers=True, allow_custom_methods=limits.methods == "any"
        ),
        max_request_headers_kb=head_kib(limits.max_head),
        request_headers_timeout=timedelta(seconds=limits.head_timeout),
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=_SLASHES[gateway.encoded_slash],
        internal_address_config=HttpConnectionManagerInternalAddressConfig(),
        server_header_transformation=HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        via=f"1.1 {PSEUDONYM.decode()}",
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type="websocket")],
        local_reply_config=local_reply(),
    )


def _common(limits: ServerOptions) -> HttpProtocolOptions:
    return HttpProtocolOptions(
        idle_timeout=timedelta(seconds=limits.idle_timeout), max_headers_count=limits.max_headers
    )


def _router() -> HttpFilter:
    return HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(Router(suppress_envoy_headers=True)))


def _untrusted_manager(gateway: Gateway, options: FilterOptions) -> HttpConnectionManager:
    """Use the address of the connection, and remove all forwarding headers."""
    manager = _manager(gateway, options)
    manager.use_remote_address = True
    manager.early_header_mutation_extensions = [
        _remove_headers(
            *_lookalikes(gateway),
            StringMatcher(prefix=FORWARDING),
            StringMatcher(exact="forwarded"),
            _expression("|".join(sorted(name.decode() for name in CLAIMS))),
        )
    ]
    return manager


def _trusted_manager(gateway: Gateway, options: FilterOptions) -> HttpConnectionManager:
    """Walk X-Forwarded-For from the right, past every trusted address.

    Headers that begin with x-envoy- are removed. Envoy removes those of untrusted peers itself, but obeys those here.
    """
    manager = _manager(gateway, options)
    manager.use_remote_address = False
    walk = XffConfig(xff_trusted_cidrs=XffTrustedCidrs(cidrs=_ranges(gateway)), skip_xff_append=False)
    manager.original_ip_detection_extensions = [
        TypedExtensionConfig(name="envoy.http.original_ip_detection.xff", typed_config=Any.pack(walk))
    ]
    manager.early_header_mutation_extensions = [
        _remove_headers(*_lookalikes(gateway), StringMatcher(prefix="x-envoy-"))
    ]
    return manager


def _lookalikes(gateway: Gateway) -> Iterator[StringMatcher]:
    """Yield the matcher of names that an upstream may read as one that is removed or counted."""
    if not gateway.underscores_in_headers:
        names = {name.decode() for name in headers_wanted(gateway) | REMOVED if b":" not in name}
        others = {name for name in names if not name.startswith(FORWARDING)}
        yield _expression(lookalikes({*others, FORWARDING}))


def _expression(text: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=text))


def _remove_headers(*names: StringMatcher) -> TypedExtensionConfig:
    """Remove the headers with matching names before any other processing."""
    mutations = [Mutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=name)) for name in names]
    return TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=Any.pack(HeaderMutation(mutations=mutations)),
    )


def _ranges(gateway: Gateway) -> list[CidrRange]:
    networks = map(ip_network, gateway.trusted_proxies)
    return [
        CidrRange(address_prefix=str(network.network_address), prefix_len=network.prefixlen) for network in networks
    ]
