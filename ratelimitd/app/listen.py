"""Creation of the gRPC server."""

from typing import Any, Final, NamedTuple

from ratelimitd.net.places import Places
from ratelimitd.observe.container import memory_limit
from ratelimitd.observe.logs import get_logger
from ratelimitd.settings import Settings
from ratelimitd.transport import GrpcServer, Handlers, Refused, nghttp2_available

from .memory import grpc_connections
from .naming import grpc_tls, port_set_by

log = get_logger(__name__)

BUILD: Final = "install libnghttp2-dev and a C compiler, and reinstall ratelimitd"

SLOW: Final = "the fast transport was not built, so gRPC is served by grpcio, which is about 19 times slower"
"""The factor is that of docs/performance.md with counters in memory."""


class Serving(NamedTuple):
    """A gRPC server and the name of its transport.

    Attributes:
        places: its connections and the bounds of their number; None with grpcio, which tells neither.
    """

    server: GrpcServer
    transport: str
    places: Places[Any] | None


def grpc_server(settings: Settings, handlers: Handlers, refused: Refused, connections: int) -> Serving:
    """Bind the server that TRANSPORT selects; ``auto`` is nghttp2 if its extension was built.

    Raises OSError if the address, the TLS files or the transport cannot be used.
    """
    transport = settings.transport
    if transport == "auto":
        transport = "nghttp2" if nghttp2_available() else "grpcio"
        if transport == "grpcio":
            log.warning(SLOW, change=BUILD)
    if transport == "nghttp2":
        if not nghttp2_available():
            raise OSError(f"TRANSPORT=nghttp2, but its extension was not built; {BUILD}, or set TRANSPORT=auto")
        from ratelimitd.transport.nghttp2 import Nghttp2Options as Options  # noqa: PLC0415
        from ratelimitd.transport.nghttp2 import Nghttp2Server as Chosen  # noqa: PLC0415 -- may not be built
    else:
        from ratelimitd.transport.grpcio import GrpcioOptions as Options  # type: ignore[assignment] # noqa: PLC0415
        from ratelimitd.transport.grpcio import GrpcioServer as Chosen  # type: ignore[assignment] # noqa: PLC0415 -- slow
    options = Options(
        max_request_bytes=settings.max_request_bytes,
        max_concurrent_calls=settings.store_in_flight,
        max_connection_age=settings.grpc_max_connection_age or None,
        max_connection_age_grace=settings.grpc_max_connection_age_grace,
        metadata=settings.tracing_enabled,
    )
    if transport == "nghttp2":
        options = options._replace(
            max_buffered_bytes=settings.grpc_max_buffered_bytes,
            max_connections=min(connections, grpc_connections(settings, memory_limit())),
            trusted_peers=settings.trusted_peers,
        )
    tls, uds = grpc_tls(settings, san=settings.grpc_client_tls_san), settings.grpc_uds
    with port_set_by("GRPC_UDS" if uds else "GRPC_PORT"):
        server = Chosen(settings.grpc_host, settings.grpc_port, handlers, options, uds=uds, tls=tls, refused=refused)
    return Serving(server, transport, server.places if transport == "nghttp2" else None)
