"""The portable transport: grpcio's asyncio server, which works wherever grpcio is installed."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import grpc
from grpc import aio

from ratelimitd.net.listen import address, local_address, remove_stale
from ratelimitd.net.tls import TlsFiles
from ratelimitd.net.turns import TURN_COST

from .api import (
    METADATA_BYTES,
    BatchHandler,
    Call,
    GrpcError,
    GrpcStatus,
    Handlers,
    Refusal,
    Refused,
    StreamHandler,
    ignore,
)
from .stream_places import GAVE_WAY, StreamPlaces, kept

# At DEBUG this logger reports for each call that an event loop is running.
logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: record.levelno > logging.DEBUG)

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcioOptions(NamedTuple):
    """Limits and timeouts of the server.

    Attributes:
        max_request_bytes: maximum size of a message; a larger one is RESOURCE_EXHAUSTED.
        max_concurrent_calls: maximum number of calls in flight; further ones are RESOURCE_EXHAUSTED at once.
        max_connection_age: seconds after which a connection is drained (grpcio adds ±10 %); None disables it.
        max_connection_age_grace: seconds that its calls in flight then have to complete; None: no limit.
        max_streaming_calls: maximum number of streaming calls on all connections, which count as calls in flight too.
        metadata: whether to keep request headers for the ``metadata`` of calls.
    """

    max_request_bytes: int
    max_concurrent_calls: int
    max_connection_age: float | None = None
    max_connection_age_grace: float | None = None
    max_streaming_calls: int = 1000
    metadata: bool = False


NO_METADATA: Final[Mapping[str, Sequence[bytes]]] = MappingProxyType({})


class _Call:
    """A unary call. It completes a future on which grpcio's coroutine waits."""

    __slots__ = ("_answer", "body", "deadline", "metadata")

    def __init__(
        self,
        body: bytes,
        deadline: int,
        answer: "asyncio.Future[bytes]",
        metadata: Mapping[str, Sequence[bytes]] = NO_METADATA,
    ) -> None:
        self.body = body
        self.deadline = deadline
        self.metadata = metadata
        self._answer = answer

    @property
    def answered(self) -> bool:
        return self._answer.done()  # grpcio cancels the coroutine that waits for it

    def respond(self, body: bytes) -> None:
        if not self._answer.done():
            self._answer.set_result(body)

    def fail(self, status: GrpcStatus, message: str) -> None:
        if not self._answer.done():
            self._answer.set_exception(GrpcError(status, message))


class _Stream:
    def __init__(self, requests: AsyncIterator[bytes], context: "aio.ServicerContext[bytes, bytes]") -> None:
        self._requests = requests
        self._context = context
        self._task = asyncio.current_task()
        self.gave_way = False

    def give_way(self) -> None:
        """End the call, because another one has taken its place."""
        self.gave_way = True
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._requests

    async def send(self, body: bytes) -> None:
        await self._context.write(body)


def _unary(handler: BatchHandler, *, metadata: bool) -> Callable[..., Awaitable[bytes]]:
    """Collect the calls of one iteration of the event loop, and pass them to the handler as one batch.

    What it does not take waits for the next iteration; grpcio reads on meanwhile, up to max_concurrent_calls.
    """
    waiting: list[Call] = []

    def flush() -> None:
        taken = len(waiting)
        try:
            taken, _ = handler(waiting, TURN_COST)
        finally:
            del waiting[:taken]
            if waiting:
                asyncio.get_running_loop().call_soon(flush)

    async def serve(body: bytes, context: "aio.ServicerContext[bytes, bytes]") -> bytes:
        loop = asyncio.get_running_loop()
        left = context.time_remaining()
        deadline = 0 if left is None else int((loop.time() + left) * 1_000_000)
        answer: asyncio.Future[bytes] = loop.create_future()
        waiting.append(_Call(body, deadline, answer, _metadata(context) if metadata else NO_METADATA))
        if len(waiting) == 1:
            loop.call_soon(flush)
        try:
            return await answer
        except GrpcError as error:
            await context.abort(_CODES[error.status], error.message)

    return serve


def _metadata(context: "aio.ServicerContext[bytes, bytes]") -> Mapping[str, Sequence[bytes]]:
    found: dict[str, list[bytes]] = {}
    for name, value in context.invocation_metadata() or ():
        found.setdefault(name, []).append(value if isinstance(value, bytes) else value.encode())
    return found


def _stream(handler: StreamHandler, places: StreamPlaces[str, _Stream]) -> Callable[..., Awaitable[None]]:
    """Run the handler until it ends or gives way. grpc core names no connection, but its peer (``unix:`` for all)."""

    async def serve(requests: AsyncIterator[bytes], context: "aio.ServicerContext[bytes, bytes]") -> None:
        stream, peer = _Stream(requests, context), context.peer()
        loser = places.take(peer, stream)
        if loser is not None:
            loser[1].give_way()
        try:
            if not stream.gave_way:
                await handler(stream)
        except GrpcError as error:
            await context.abort(_CODES[error.status], error.message)
        except asyncio.CancelledError:
            if not stream.gave_way:
                raise
        finally:
            places.leave(peer, stream)
        if stream.gave_way:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, GAVE_WAY)

    return serve


def _require_name(tls: TlsFiles | None, refused: Refused, serve: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Serve only clients whose certificate has the required subject alternative name.

    The check is made for each call, because grpc core does not expose the certificate during the handshake.
    """
    if tls is None or not tls.client_san:
        return serve

    async def checked(request: Any, context: "aio.ServicerContext[bytes, bytes]") -> Any:
        identity = context.auth_context()
        dns, names = (
            [name.decode(errors="replace") for name in identity.get(kind, ())]
            for kind in ("peer_dns", "x509_subject_alternative_name")
        )
        if not tls.names(dns, names):
            refused(Refusal.CERTIFICATE_NAME, unquote(context.peer()), ", ".join(names) or "no name")
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, "client certificate lacks the required subject alternative name"
            )
        return await serve(request, context)

    return checked


class _Router(grpc.GenericRpcHandler):  # type: ignore[type-arg] # generic only in the stubs
    def __init__(
        self,
        handlers: Handlers,
        tls: TlsFiles | None,
        refused: Refused,
        places: StreamPlaces[str, _Stream],
        *,
        metadata: bool,
    ) -> None:
        self._methods: dict[str, Any] = {}
        for name, unary in handlers.unary.items():
            served = _unary(unary, metadata=metadata)
            self._methods[name] = grpc.unary_unary_rpc_method_handler(_require_name(tls, refused, served))
        for name, stream in handlers.streams.items():
            streaming = _require_name(tls, refused, _stream(stream, places))
            self._methods[name] = grpc.stream_stream_rpc_method_handler(streaming)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(handler_call_details.method)


class GrpcioServer:
    """A server on one address. The constructor raises OSError if the address is not available."""

    def __init__(
        self,
        host: str,
        port: int,
        handlers: Handlers,
        options: GrpcioOptions,
        *,
        uds: str = "",
        tls: TlsFiles | None = None,
        refused: Refused = ignore,
    ) -> None:
        """``uds`` is the path of a Unix domain socket, which replaces host and port."""
        places: StreamPlaces[str, _Stream] = StreamPlaces(kept(options.max_streaming_calls))
        self._server = aio.server(
            handlers=[_Router(handlers, tls, refused, places, metadata=options.metadata)],
            maximum_concurrent_rpcs=options.max_concurrent_calls,
            options=list(_channel_options(options)),
        )
        wanted = f"unix:{uds}" if uds else address(host, port)
        try:
            if uds:
                remove_stale(uds)
            bound = self._bind(wanted if uds else address(*local_address(host, port)[1]), tls)
        except (OSError, RuntimeError) as error:
            raise OSError(f"cannot listen on {wanted}") from error
        self.address = wanted if uds else address(host, bound)

    def _bind(self, address: str, tls: TlsFiles | None) -> int:
        if tls is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, _credentials(tls))

    async def start(self) -> None:
        """Start to serve."""
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Send GOAWAY, wait up to ``grace`` seconds for calls in flight, then abort them."""
        await self._server.stop(grace)


def _channel_options(options: GrpcioOptions) -> "itertools.chain[tuple[str, int]]":
    """Translate the options to grpc core's; SO_REUSEPORT is off, as it would hide a second instance on the port."""
    ages = {
        "grpc.max_connection_age_ms": options.max_connection_age,
        "grpc.max_connection_age_grace_ms": options.max_connection_age_grace,
    }
    return itertools.chain(
        (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", options.max_request_bytes),
            ("grpc.max_metadata_size", METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", METADATA_BYTES),
        ),
        ((name, int(seconds * 1000)) for name, seconds in ages.items() if seconds is not None),
    )


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials that grpc core reads again for every connection."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        key, cert, client_ca = tls.read()
        return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca)

    def changed() -> Any:
        return configuration() if tls.reload() else None  # None means "unchanged"; the stubs do not know it

    return grpc.dynamic_ssl_server_credentials(
        configuration(), changed, require_client_authentication=bool(tls.client_ca)
    )
