"""The CORS filter, and the policy of a route."""

import re
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption, HeaderValueOptionHeaderAppendAction
from envoy_data_plane.envoy.config.route.v3 import Route
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors as CorsFilter
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import CorsPolicy
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any

from ratelimitd.gateway.cors import ASKED, ORIGIN, VARY, WITHHELD
from ratelimitd.gateway.model import Cors, Gateway, GatewayRoute, HeaderMatch, TextMatch

FILTER: Final = "envoy.filters.http.cors"

_VARY: Final = HeaderValueOption(
    header=HeaderValue(key=VARY[0].decode(), value=VARY[1].decode()),
    append_action=HeaderValueOptionHeaderAppendAction.APPEND_IF_EXISTS_OR_ADD,
)


def cors_filters(gateway: Gateway) -> list[HttpFilter]:
    """Return the filter if a route needs it; before that of rate limits, it answers preflights without a limit."""
    if all(route.cors is None for route in gateway.routes):
        return []
    return [HttpFilter(name=FILTER, typed_config=Any.pack(CorsFilter()))]


def add_cors(route: Route, cors: Cors) -> None:
    """Give a route its policy, and let none of the upstream's pass."""
    route.typed_per_filter_config[FILTER] = Any.pack(_policy(cors))
    route.response_headers_to_add.append(_VARY)
    route.response_headers_to_remove.extend(sorted(name.decode() for name in WITHHELD))


def for_preflights(route: GatewayRoute) -> GatewayRoute | None:
    """Return the route of the preflights of a route that matches methods without OPTIONS; None if it needs none."""
    match = route.match
    if route.cors is None or not match.methods or b"OPTIONS" in match.methods:
        return None
    asked = TextMatch("regex", "|".join(sorted(re.escape(method.decode()) for method in match.methods)))
    headers = (*match.headers, HeaderMatch(ORIGIN), HeaderMatch(ASKED, asked))
    return route._replace(match=match._replace(methods=frozenset((b"OPTIONS",)), headers=headers))


def _origin(match: TextMatch) -> StringMatcher:
    if match.kind == "regex":
        return StringMatcher(safe_regex=RegexMatcher(regex=match.text))
    return StringMatcher(exact=match.text)


def _policy(cors: Cors) -> CorsPolicy:
    return CorsPolicy(
        allow_origin_string_match=[_origin(match) for match in cors.origins],
        allow_methods=", ".join(cors.methods),
        allow_headers=", ".join(cors.headers),
        expose_headers=", ".join(cors.exposed),
        max_age="" if cors.max_age is None else str(cors.max_age),
        allow_credentials=cors.credentials or None,
    )
