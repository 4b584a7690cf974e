"""gRPC on the wire; knows nothing of rate limits."""

from .api import BatchHandler, Call, GrpcError, Handlers, Server, Status, Stream, StreamHandler

__all__ = [
    "BatchHandler",
    "Call",
    "GrpcError",
    "Handlers",
    "Server",
    "Status",
    "Stream",
    "StreamHandler",
    "nghttp2_available",
]


def nghttp2_available() -> bool:
    """Whether the fast transport was built and finds its library, so that ``ratelimitd.transport.nghttp2`` imports."""
    try:
        from . import _nghttp2  # noqa: F401, PLC0415 - importing it is the question
    except ImportError:
        return False
    return True
