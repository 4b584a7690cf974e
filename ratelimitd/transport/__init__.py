"""gRPC on the wire; knows nothing of rate limits."""

from .api import BatchHandler, Call, GrpcError, Handlers, Server, Status, Stream, StreamHandler

__all__ = ["BatchHandler", "Call", "GrpcError", "Handlers", "Server", "Status", "Stream", "StreamHandler"]
