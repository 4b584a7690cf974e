"""Envoy's rate-limit API: protobuf requests to the engine, decisions to protobuf responses."""

from ratelimitd.transport import Handlers

from .decision_feed import DecisionFeed
from .decision_log import DEBUG_LINES, DecisionLog, Logged
from .decode import Bounds, RequestError
from .encode import EncodeOptions
from .health import CHECK, LIST, WATCH, GrpcHealth
from .json import decide_json, read_json
from .reflection import PACKAGES, reflection_handler, reflection_method
from .service import NOT_LOADED, SHOULD_RATE_LIMIT, WITH_REASON, RateLimitService, ServiceOptions

__all__ = [
    "DEBUG_LINES",
    "NOT_LOADED",
    "Bounds",
    "DecisionFeed",
    "DecisionLog",
    "EncodeOptions",
    "GrpcHealth",
    "Logged",
    "RateLimitService",
    "RequestError",
    "ServiceOptions",
    "decide_json",
    "handlers",
    "read_json",
]


def handlers(service: RateLimitService, health: GrpcHealth, *, reflection: bool = True) -> Handlers:
    """Return the handlers of all gRPC methods, for a transport; those of server reflection are optional."""
    served = ("envoy.service.ratelimit.v3.RateLimitService", "grpc.health.v1.Health")
    reflect = reflection_handler((*served, *(f"{package}.ServerReflection" for package in PACKAGES)))
    reflections = [reflection_method(package) for package in PACKAGES if reflection]
    return Handlers(
        unary={
            SHOULD_RATE_LIMIT: service.should_rate_limit,
            WITH_REASON: service.with_reason().should_rate_limit,
            CHECK: health.check,
            LIST: health.list,
        },
        streams={WATCH: health.watch} | dict.fromkeys(reflections, reflect),
        exclusive=reflections,
    )
