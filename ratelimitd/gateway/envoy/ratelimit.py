"""The rate limit filter, and the response to a rate-limited request."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final, NamedTuple

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLogFilter, ResponseFlagFilter
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.ratelimit.v3 import RateLimitServiceConfig
from envoy_data_plane.envoy.extensions.filters.http.ratelimit.v3 import RateLimit, RateLimitXRateLimitHeadersRfcVersion
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpFilter,
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.protobuf import Any, Struct

from ratelimitd.gateway.model import RATE_LIMITED

FILTER: Final = "envoy.filters.http.ratelimit"

UNAVAILABLE: Final = StatusCode.ServiceUnavailable
"""Status while the service does not respond; ``ratelimitd proxy`` sends it while its store does not respond."""

_BODY: Final = {
    "error": "rate_limited",
    "message": "rate limit exceeded",
    "request_id": "%REQ(X-REQUEST-ID)%",
}


class FilterOptions(NamedTuple):
    """Options of the rate limit filter.

    Attributes:
        cluster: name of the cluster of the rate limit service.
        domain: domain of the policies.
        timeout: timeout of a call to the service, in seconds.
        deny: whether requests are denied while the service does not respond.
        limited: status code of the response to a rate-limited request.
    """

    cluster: str
    domain: str
    timeout: float
    deny: bool
    limited: int


def filters(options: FilterOptions, stages: Iterable[int]) -> list[HttpFilter]:
    """Return one filter per stage. The filter of stage 0 is named FILTER."""
    return [
        HttpFilter(name=f"{FILTER}/stage-{stage}" if stage else FILTER, typed_config=Any.pack(_filter(options, stage)))
        for stage in stages
    ]


def _filter(options: FilterOptions, stage: int) -> RateLimit:
    envoy_grpc = GrpcServiceEnvoyGrpc(cluster_name=options.cluster)
    return RateLimit(
        domain=options.domain,
        stage=stage,
        timeout=timedelta(seconds=options.timeout),
        failure_mode_deny=options.deny,
        status_on_error=HttpStatus(code=UNAVAILABLE),
        rate_limited_status=HttpStatus(code=limited_status(options.limited)),
        enable_x_ratelimit_headers=RateLimitXRateLimitHeadersRfcVersion.DRAFT_VERSION_03,
        disable_x_envoy_ratelimited_header=True,
        rate_limit_service=RateLimitServiceConfig(
            grpc_service=GrpcService(envoy_grpc=envoy_grpc), transport_api_version=ApiVersion.V3
        ),
    )


def limited_status(status: int) -> StatusCode:
    """Return the status code if Envoy supports it, else 429."""
    return StatusCode(status if status in {code.value for code in StatusCode} else RATE_LIMITED)


def local_reply() -> LocalReplyConfig:
    """Return the body of rate-limited responses, the same as that of ``ratelimitd proxy``."""
    limited = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["RL"]))
    body = SubstitutionFormatString(json_format=Struct.from_dict(_BODY))
    return LocalReplyConfig(mappers=[ResponseMapper(filter=limited, body_format_override=body)])
