"""Routes: match, cluster, timeouts and rate limits."""

import importlib
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption, HeaderValueOptionHeaderAppendAction
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    RateLimit,
    RetryPolicy,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.ratelimit.v3 import RateLimitPerRoute
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any as Packed

from ratelimitd.gateway import model
from ratelimitd.gateway.spellings import HOST_NAMES, host_expression, hosts_expression, path_expression
from ratelimitd.http1 import UpstreamOptions

from .clusters import literal_host, rewrites_each
from .cors import add_cors, for_preflights
from .host import HOST_KEY
from .ratelimit import FILTER

ROUTE_ONLY: Final = ("stage", "disable_key")
"""Fields that Envoy reads only in the rate limits of a route action."""

RETRIED: Final = "connect-failure,reset-before-request"
"""Conditions of the one retry: nothing of the request was sent."""


_HOST: Final = HeaderValueOption(
    header=HeaderValue(key="X-Forwarded-Host", value="%REQ(:AUTHORITY)%"),
    append_action=HeaderValueOptionHeaderAppendAction.ADD_IF_ABSENT,
)


class EnvoyError(ValueError):
    """The gateway file cannot be expressed as a bootstrap. The text says where and why."""


def routes(gateway: model.Gateway) -> RouteConfiguration:
    """Return the routes in order, in one virtual host. With several, Envoy would select the host before the route."""
    host = VirtualHost(name=gateway.name, domains=["*"], routes=list(_routes(gateway)))
    return RouteConfiguration(
        name=gateway.name,
        virtual_hosts=[host],
        request_headers_to_add=[_HOST],
        request_headers_to_remove=["x-envoy-external-address"],
    )


def stages(gateway: model.Gateway) -> list[int]:
    """Return the stages of a gateway's limits, including 0."""
    return sorted({0, *(int(limit.envoy.get("stage") or 0) for route in gateway.routes for limit in route.rate_limits)})


def in_route_action(route: model.GatewayRoute) -> bool:
    """Return whether a route's limits are in the route action, where Envoy counts every request as one hit."""
    return any(limit.envoy.get(key) for limit in route.rate_limits for key in ROUTE_ONLY)


def longest_timeout(options: UpstreamOptions) -> float:
    """Return the idle timeout, in seconds: the longest of the three, as Envoy has one timeout for all phases."""
    return max(options.response_timeout, options.read_timeout, options.tunnel_timeout)


def _routes(gateway: model.Gateway) -> Iterator[Route]:
    for route in gateway.routes:
        yield _route(gateway, route)
        preflights = for_preflights(route)
        if preflights is not None:
            yield _route(gateway, preflights)


def _route(gateway: model.Gateway, route: model.GatewayRoute) -> Route:
    limits = [_limit(gateway, route, limit) for limit in route.rate_limits]
    action = _action(gateway, route)
    made = Route(name=route.name, match=_match(route.match), route=action)
    if limits and in_route_action(route):
        action.rate_limits = limits
    elif limits:
        made.typed_per_filter_config = {FILTER: Packed.pack(RateLimitPerRoute(rate_limits=limits))}
    if route.cors is not None:
        add_cors(made, route.cors)
    return made


def _action(gateway: model.Gateway, route: model.GatewayRoute) -> RouteAction:
    """Limit the time until the response begins and the idle time, but not the total time of a response."""
    backend = gateway.upstreams[route.upstream]
    options = backend.options
    response = route.timeout or options.response_timeout
    quiet = max(response, longest_timeout(options))
    return RouteAction(
        cluster=route.upstream,
        host_rewrite_literal=literal_host(backend),
        auto_host_rewrite=rewrites_each(backend) or None,
        timeout=timedelta(0),
        idle_timeout=timedelta(seconds=quiet),
        retry_policy=RetryPolicy(retry_on=RETRIED, num_retries=1, per_try_timeout=timedelta(seconds=response)),
    )


def _limit(gateway: model.Gateway, route: model.GatewayRoute, limit: model.RateLimit) -> RateLimit:
    """Return a limit as it is written in the gateway file, which uses Envoy's names, except what reads the host."""
    written = {key: value for key, value in limit.envoy.items() if key != "stage" or value}
    written["actions"] = [
        _action_on_host(action, each) for action, each in zip(limit.actions, written["actions"], strict=True)
    ]
    try:
        for url in _types(written):
            importlib.import_module("envoy_data_plane." + url.rpartition("/")[2].rpartition(".")[0])
        return RateLimit.from_dict(written)
    except Exception as error:  # noqa: BLE001 -- the library raises various errors for invalid input
        reason = error.args[0] if error.args else error
        raise EnvoyError(
            f"{gateway.file}: rate_limits of route '{route.name}' are not valid in Envoy: {reason}"
        ) from None


def _action_on_host(action: model.Action, written: Any) -> Any:
    """Return an action as it is written, or one that reads the host without its port and case."""
    if isinstance(action, model.RequestHeaders) and action.header in HOST_NAMES:
        return {"metadata": {"descriptor_key": action.key.decode(), "metadata_key": HOST_KEY}}
    if isinstance(action, model.HeaderValueMatch) and any(match.name in HOST_NAMES for match in action.headers):
        headers = [_header(match).to_dict() for match in action.headers]
        return {"header_value_match": {**written["header_value_match"], "headers": headers}}
    return written


def _types(value: Any) -> Iterator[str]:
    """Yield the type URLs in a value. Their modules must be imported before the value is parsed."""
    if isinstance(value, Mapping):
        if isinstance(url := value.get("@type"), str):
            yield url
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _types(item)


def _match(match: model.RouteMatch) -> RouteMatch:
    made = RouteMatch(headers=[*_methods(match), *_hosts(match), *map(_header, match.headers)])
    expression = path_expression(match)
    if expression is not None:
        made.safe_regex = RegexMatcher(regex=expression)
    else:
        setattr(made, match.kind, match.pattern)
        made.case_sensitive = False if match.ignore_case else None
    return made


def _methods(match: model.RouteMatch) -> Iterator[HeaderMatcher]:
    if match.methods:
        names = sorted(method.decode() for method in match.methods)
        yield HeaderMatcher(name=":method", string_match=_any_of(names))


def _any_of(names: list[str]) -> StringMatcher:
    if len(names) == 1:
        return StringMatcher(exact=names[0])
    return StringMatcher(safe_regex=RegexMatcher(regex="|".join(map(re.escape, names))))


def _hosts(match: model.RouteMatch) -> Iterator[HeaderMatcher]:
    """Match hosts by header, because Envoy selects a virtual host before any route."""
    if match.hosts and b"*" not in match.hosts:
        expression = RegexMatcher(regex=hosts_expression(match.hosts))
        yield HeaderMatcher(name=":authority", string_match=StringMatcher(safe_regex=expression))


def _header(match: model.HeaderMatch) -> HeaderMatcher:
    made = HeaderMatcher(
        name=match.name.decode(),
        invert_match=match.invert,
        treat_missing_header_as_empty=match.missing_as_empty,
    )
    if match.text is None:
        made.present_match = match.present
    elif match.name in HOST_NAMES:
        made.string_match = StringMatcher(safe_regex=RegexMatcher(regex=host_expression(match.text)))
    else:
        made.string_match = _text(match.text)
    return made


def _text(match: model.TextMatch) -> StringMatcher:
    made = StringMatcher(ignore_case=match.ignore_case)
    if match.kind == "regex":
        made.safe_regex = RegexMatcher(regex=match.text)
    else:
        setattr(made, match.kind, match.text)
    return made
