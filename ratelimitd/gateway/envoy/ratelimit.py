"""The rate limit filter, and the answer to a request that is limited."""

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
"""While the service does not answer, as ``ratelimitd proxy`` answers while its store does not."""

_BODY: Final = {
    "error": "rate_limited",
    "message": "rate limit exceeded",
    "request_id": "%REQ(X-REQUEST-ID)%",
}


class Service(NamedTuple):
    """How the rate limit service is asked.

    Attributes:
        cluster: its name.
        domain: of the policies.
        timeout: seconds.
        deny: refuse while it does not answer.
        limited: status of a request that is denied.
    """

    cluster: str
    domain: str
    timeout: float
    deny: bool
    limited: int


def filters(service: Service, stages: Iterable[int]) -> list[HttpFilter]:
    """Make a filter for each stage; that of stage 0 is called FILTER."""
    return [
        HttpFilter(name=f"{FILTER}/stage-{stage}" if stage else FILTER, typed_config=Any.pack(_filter(service, stage)))
        for stage in stages
    ]


def _filter(service: Service, stage: int) -> RateLimit:
    envoy_grpc = GrpcServiceEnvoyGrpc(cluster_name=service.cluster)
    return RateLimit(
        domain=service.domain,
        stage=stage,
        timeout=timedelta(seconds=service.timeout),
        failure_mode_deny=service.deny,
        status_on_error=HttpStatus(code=UNAVAILABLE),
        rate_limited_status=HttpStatus(code=limited_status(service.limited)),
        enable_x_ratelimit_headers=RateLimitXRateLimitHeadersRfcVersion.DRAFT_VERSION_03,
        disable_x_envoy_ratelimited_header=True,
        rate_limit_service=RateLimitServiceConfig(
            grpc_service=GrpcService(envoy_grpc=envoy_grpc), transport_api_version=ApiVersion.V3
        ),
    )


def limited_status(status: int) -> StatusCode:
    """Return the status as one of those that Envoy knows, or 429."""
    return StatusCode(status if status in {code.value for code in StatusCode} else RATE_LIMITED)


def reply() -> LocalReplyConfig:
    """Give a request that is limited the body that ``ratelimitd proxy`` gives it."""
    limited = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["RL"]))
    body = SubstitutionFormatString(json_format=Struct.from_dict(_BODY))
    return LocalReplyConfig(mappers=[ResponseMapper(filter=limited, body_format_override=body)])
