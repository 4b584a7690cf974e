"""One ADS stream over grpcio: a connection of its own, TLS files as they are now, requests out, responses in."""

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else grpcio writes lines to stderr for a handshake that fails

import grpc
from grpc import aio

from ratelimitd.net.files import SECRET_BYTES, read_regular, reason

from .messages import METHOD, encode, node, read_response
from .options import ControlPlane, TlsFiles
from .protocol import Request, Response

# At DEBUG this logger reports for each call that an event loop is running.
logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: record.levelno > logging.DEBUG)

NO_ANSWER: Final = "no connection within {:g} s"
ENDED: Final = "the control plane ended the stream"
TOO_LARGE: Final = "; a larger response needs a larger XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES"


class StreamError(Exception):
    """A stream that ended, or could not be opened.

    Attributes:
        connected: whether there was a connection.
    """

    def __init__(self, text: str, *, connected: bool) -> None:
        super().__init__(text)
        self.connected = connected


class Stream:
    """An open stream."""

    def __init__(self, call: Any, plane: ControlPlane) -> None:
        self._call = call
        self._node = node(plane.node_id, plane.node_metadata)

    async def send(self, request: Request) -> None:
        """Send a request; a stream that has ended takes none, which the reader is told."""
        try:
            await self._call.write(encode(request, self._node))
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return  # the call was cancelled, at the end of the stream, and not this task

    async def receive(self) -> Response:
        """Return the next response. Raises StreamError at the end of the stream, also at a clean one."""
        try:
            body = await self._call.read()
            if isinstance(body, bytes):
                return await asyncio.to_thread(read_response, body)
            code, details = await self._call.code(), await self._call.details()
        except aio.AioRpcError as error:
            code, details = error.code(), error.details()
        except ValueError as error:
            raise StreamError(str(error), connected=True) from None
        raise StreamError(_ended(code, details or ""), connected=True)


@asynccontextmanager
async def open_stream(plane: ControlPlane) -> AsyncIterator[Stream]:
    """Connect, and open a stream until the block ends. Raises StreamError."""
    try:
        credentials = None if plane.tls is None else await asyncio.to_thread(_credentials, plane.tls)
    except OSError as error:  # ssl.SSLError is one
        raise StreamError(reason(error), connected=False) from None
    async with _channel(plane, credentials) as channel:
        call: Any = channel.stream_stream(METHOD, None, None)(None, metadata=_metadata(plane))
        try:
            await _connect(channel, call, plane.connect)
            yield Stream(call, plane)
        finally:
            call.cancel()


async def first_response(plane: ControlPlane, seconds: float) -> Response | None:
    """Return the first response, which is not answered; None if there is none in this time. Raises StreamError."""
    async with open_stream(plane) as stream:
        await stream.send(Request())
        try:
            async with asyncio.timeout(seconds):
                return await stream.receive()
        except TimeoutError:
            return None


async def _connect(channel: aio.Channel, call: Any, seconds: float) -> None:
    """Wait for the connection. Raises StreamError with what the call says of it."""
    ready = grpc.ChannelConnectivity.READY
    try:
        async with asyncio.timeout(seconds):
            while (state := channel.get_state(try_to_connect=True)) is not ready:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    raise StreamError(_failed(await call.details() or ""), connected=False)
                await channel.wait_for_state_change(state)
    except TimeoutError:
        raise StreamError(NO_ANSWER.format(seconds), connected=False) from None


def _channel(plane: ControlPlane, credentials: grpc.ChannelCredentials | None) -> aio.Channel:
    options: list[tuple[str, Any]] = [
        ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", plane.most),
        ("grpc.keepalive_time_ms", int(plane.ping * 1000)),
        ("grpc.keepalive_timeout_ms", int(plane.connect * 1000)),  # TCP_USER_TIMEOUT, for what is sent
        ("grpc.http2.ping_timeout_ms", int(plane.connect * 1000)),  # for the answer to a ping; a minute otherwise
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.min_reconnect_backoff_ms", int(plane.connect * 1000)),  # the deadline of a handshake
    ]
    if credentials is None or plane.tls is None:
        return aio.insecure_channel(plane.server, options)
    if plane.tls.name:
        options.append(("grpc.ssl_target_name_override", plane.tls.name))
    return aio.secure_channel(plane.server, credentials, options)


def _metadata(plane: ControlPlane) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((name, value.encode() if name.endswith("-bin") else value) for name, value in plane.headers)


def _credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """Read the files. Raises OSError for those that cannot be used, which grpcio would only log."""
    cert, key = (read_regular(path, SECRET_BYTES) if path else None for path in (files.cert, files.key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if cert:
        try:
            context.load_cert_chain(files.cert, files.key, password="")
        except ssl.SSLError as error:
            raise OSError(
                f"cannot use the certificate {files.cert} with the key {files.key}: {reason(error)}"
            ) from None
    if not files.ca:
        return grpc.ssl_channel_credentials(_system_roots(), key, cert)
    own = read_regular(files.ca, SECRET_BYTES)
    try:
        context.load_verify_locations(files.ca)
    except ssl.SSLError:
        raise OSError(f"cannot use the CA {files.ca}: it has no certificate in PEM") from None
    return grpc.ssl_channel_credentials((_system_roots() or b"") + b"\n" + own, key, cert)


def _system_roots() -> bytes | None:
    """Return the CAs that the system trusts; None where it has no bundle, which means those that grpcio has."""
    bundle = ssl.get_default_verify_paths().cafile
    return read_regular(bundle, SECRET_BYTES) if bundle else None


def _failed(details: str) -> str:
    """Return the cause of a connection that failed; gRPC says it last."""
    return details.rpartition("last error: ")[2] or "the connection failed"


def _ended(code: grpc.StatusCode, details: str) -> str:
    if code is grpc.StatusCode.OK:
        return ENDED
    larger = TOO_LARGE if code is grpc.StatusCode.RESOURCE_EXHAUSTED else ""
    return f"{ENDED} with {code.name}: {details}{larger}"
