"""gRPC servers; this package knows nothing of rate limits."""

from .api import (
    BatchHandler,
    Call,
    GrpcError,
    GrpcServer,
    GrpcStatus,
    Handlers,
    Refusal,
    Refused,
    Stream,
    StreamHandler,
)

__all__ = [
    "BatchHandler",
    "Call",
    "GrpcError",
    "GrpcServer",
    "GrpcStatus",
    "Handlers",
    "Refusal",
    "Refused",
    "Stream",
    "StreamHandler",
    "nghttp2_available",
]


def nghttp2_available() -> bool:
    """Return whether ``ratelimitd.transport.nghttp2`` imports: its extension is built and finds libnghttp2."""
    try:
        from . import _nghttp2  # noqa: F401, PLC0415 -- only the import itself is tested
    except ImportError:
        return False
    return True
