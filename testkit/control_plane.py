"""A control plane for tests: an ADS server of grpcio that answers as go-control-plane's snapshot cache does.

A request with a stale nonce is ignored. One that names another version than the snapshot's is answered at once, and so
is the first of a stream unless the snapshot is empty; any other waits for a change. So a rejected policy is sent again
at once, and changes between a response and its answer fold into one.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from grpc import aio

from ratelimitd.proto import message

SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
TYPE: Final = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig"
PATIENCE: Final = 60.0
"""Seconds that a test waits for a request."""

Request: Final = message("envoy.service.discovery.v3.DiscoveryRequest")
Response: Final = message("envoy.service.discovery.v3.DiscoveryResponse")
Config: Final = message("ratelimit.config.ratelimit.v3.RateLimitConfig")


def config(name: str, *descriptors: dict[str, Any], domain: str | None = None) -> Any:
    """Return a resource; descriptors are as in a policy file, with units in lower case."""
    made = Config(name=name, domain=name if domain is None else domain)
    for each in descriptors:
        _fill(made.descriptors.add(), each)
    return made


def _fill(made: Any, written: dict[str, Any]) -> None:
    for key, value in written.items():
        if key == "descriptors":
            for each in value:
                _fill(made.descriptors.add(), each)
        elif key == "rate_limit":
            made.rate_limit.SetInParent()
            for name, content in value.items():
                _set_limit(made.rate_limit, name, content)
        elif key == "metadata":
            made.metadata.update(value)
        else:
            setattr(made, key, value)


def _set_limit(limit: Any, name: str, content: Any) -> None:
    if name == "replaces":
        for each in content:
            limit.replaces.add(name=each["name"])
    elif name == "unit" and isinstance(content, str):
        limit.unit = limit.DESCRIPTOR.fields_by_name["unit"].enum_type.values_by_name[content.upper()].number
    else:
        setattr(limit, name, content)


def response(version: str, resources: list[Any], nonce: str = "1", type_url: str = TYPE) -> Any:
    """Return a response of resources, in a random order, as a map of Go has them."""
    made = Response(version_info=version, nonce=nonce, type_url=type_url)
    for each in random.sample(resources, len(resources)):
        made.resources.add(type_url=TYPE, value=each.SerializeToString())
    return made


@dataclass
class Snapshot:
    """What is sent to a node."""

    version: str
    resources: list[Any]


@dataclass(eq=False)
class AdsStream:
    """One stream of a client: its requests, and what goes out."""

    metadata: dict[str, str]
    requests: list[Any] = field(default_factory=list)
    out: "asyncio.Queue[Any]" = field(default_factory=asyncio.Queue)
    nonce: int = 0
    watch: Any = None
    """The request that waits for a change."""
    ended: bool = False


class ControlPlane:
    """A running control plane.

    Attributes:
        streams: the streams so far.
        snapshots: by node id.
        manual: whether it sends only what ``send`` gets.
        deaf: whether it reads no more than the first request of a stream.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.streams: list[AdsStream] = []
        self.snapshots: dict[str, Snapshot] = {}
        self.manual = self.deaf = False
        self._changed = asyncio.Condition()

    @property
    def requests(self) -> list[Any]:
        """All requests, in order of the streams."""
        return [request for stream in self.streams for request in stream.requests]

    @property
    def nacks(self) -> list[Any]:
        """Requests with an error."""
        return [request for request in self.requests if request.HasField("error_detail")]

    def push(self, version: str, *resources: Any, node: str = "default") -> None:
        """Set the snapshot of a node, and send it to streams that wait for a change."""
        self.snapshots[node] = Snapshot(version, list(resources))
        for stream in self.streams:
            if not stream.ended and stream.watch is not None and stream.watch.version_info != version:
                self._respond(stream, stream.watch)

    def send(self, made: Any) -> None:
        """Send a response, or bytes, on the newest stream."""
        self.streams[-1].out.put_nowait(made)

    def end(self, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        """End all streams with a status."""
        for stream in self.streams:
            stream.out.put_nowait(code)

    async def until(self, holds: Callable[["ControlPlane"], Any]) -> Any:
        """Wait until this is true of the requests; returns it."""
        async with asyncio.timeout(PATIENCE), self._changed:
            while not (found := holds(self)):
                await self._changed.wait()
            return found

    async def acked(self, version: str) -> Any:
        """Wait for an ACK of this version."""
        return await self.until(lambda plane: next((each for each in plane.requests if _acks(each, version)), None))

    async def nacked(self, count: int = 1) -> Any:
        """Wait for so many NACKs; returns the last."""
        return await self.until(lambda plane: len(plane.nacks) >= count and plane.nacks[count - 1])

    def _respond(self, stream: AdsStream, request: Any) -> None:
        snapshot = self.snapshots[request.node.id]
        stream.watch = None
        stream.nonce += 1
        stream.out.put_nowait(response(snapshot.version, snapshot.resources, str(stream.nonce)))

    def _requested(self, stream: AdsStream, request: Any) -> None:
        first = not stream.requests
        stream.requests.append(request)
        if self.manual or request.type_url != TYPE or (not first and request.response_nonce != str(stream.nonce)):
            return
        snapshot = self.snapshots.get(request.node.id)
        stream.watch = request
        if snapshot is not None and (request.version_info != snapshot.version or (first and snapshot.resources)):
            self._respond(stream, request)

    async def serve(self, requests: AsyncIterator[bytes], context: "aio.ServicerContext[bytes, bytes]") -> None:
        """Serve a stream."""
        stream = AdsStream({key: str(value) for key, value in context.invocation_metadata() or ()})
        self.streams.append(stream)
        reading = asyncio.ensure_future(self._read(stream, requests))
        try:
            while not isinstance(made := await stream.out.get(), grpc.StatusCode):
                await context.write(made if isinstance(made, bytes) else made.SerializeToString())
            if made is not grpc.StatusCode.OK:
                await context.abort(made, "as the test asks")
        finally:
            stream.ended = True
            reading.cancel()

    async def _read(self, stream: AdsStream, requests: AsyncIterator[bytes]) -> None:
        async for body in requests:
            self._requested(stream, Request.FromString(body))
            async with self._changed:
                self._changed.notify_all()
            if self.deaf:
                return


def _acks(request: Any, version: str) -> bool:
    answers = bool(request.response_nonce) and not request.HasField("error_detail")
    return answers and request.version_info == version


@asynccontextmanager
async def control_plane(
    credentials: grpc.ServerCredentials | None = None, port: int = 0, of: ControlPlane | None = None
) -> AsyncIterator[ControlPlane]:
    """Run a control plane; ``of`` is one that ran before, whose snapshots and requests go on."""
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    if credentials is None:
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        bound = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    plane = of or ControlPlane(f"localhost:{bound}")
    handler = grpc.stream_stream_rpc_method_handler(plane.serve)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(SERVICE, {"StreamAggregatedResources": handler})]
    )
    await server.start()
    try:
        yield plane
    finally:
        plane.end()
        await server.stop(0)


def credentials(files: Any, *, client: bool = False) -> grpc.ServerCredentials:
    """Return TLS of ``testkit.tls_files``; ``client``: clients must have a certificate of its authority."""
    pair = files.server_key.read_bytes(), files.server_certificate.read_bytes()
    return grpc.ssl_server_credentials([pair], files.authority.read_bytes() if client else None, client)
