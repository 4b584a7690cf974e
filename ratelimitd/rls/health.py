"""``grpc.health.v1.Health`` for the services "" (the server) and "ratelimit" (envoyproxy/ratelimit's name)."""

import asyncio
from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError

from ratelimitd.proto import message
from ratelimitd.transport import Call, GrpcError, GrpcStatus, Stream

from .service import CountCalls

CHECK = "/grpc.health.v1.Health/Check"
LIST = "/grpc.health.v1.Health/List"
WATCH = "/grpc.health.v1.Health/Watch"
SERVICES = ("", "ratelimit")

_Request = message("grpc.health.v1.HealthCheckRequest")
_Response = message("grpc.health.v1.HealthCheckResponse")
_Listed = message("grpc.health.v1.HealthListResponse")


class GrpcHealth:
    """Reports the result of ``healthy``. Call ``changed`` when the result may have changed."""

    def __init__(self, healthy: Callable[[], bool], called: CountCalls) -> None:
        self._healthy = healthy
        self._count_calls = called
        self._watching: set[asyncio.Event] = set()
        self._ended = False

    def check(self, calls: Sequence[Call], room: int) -> tuple[int, int]:
        """Unary Check: NOT_FOUND for an unknown service, as the protocol requires. A call costs one."""
        calls = calls[:room]
        self._count_calls("Check", 0.0, len(calls))
        for call in calls:
            try:
                service = _Request.FromString(call.body).service
            except DecodeError:
                call.fail(GrpcStatus.INVALID_ARGUMENT, "the request is not a HealthCheckRequest")
                continue
            if service in SERVICES:
                call.respond(self._now())
            else:
                call.fail(GrpcStatus.NOT_FOUND, f"unknown service {service}")
        return len(calls), len(calls)

    def list(self, calls: Sequence[Call], room: int) -> tuple[int, int]:
        """Unary List: the state of each service; its request is empty. A call costs one."""
        calls = calls[:room]
        self._count_calls("List", 0.0, len(calls))
        state = _Response(status=self._status())
        listed = bytes(_Listed(statuses=dict.fromkeys(SERVICES, state)).SerializeToString())
        for call in calls:
            call.respond(listed)
        return len(calls), len(calls)

    async def watch(self, stream: Stream) -> None:
        """Server-streaming Watch: the current state, then each change; SERVICE_UNKNOWN for an unknown service."""
        async for body in stream:
            try:
                service = _Request.FromString(body).service
            except DecodeError as error:
                raise GrpcError(GrpcStatus.INVALID_ARGUMENT, "the request is not a HealthCheckRequest") from error
            await self._follow(stream, known=service in SERVICES)

    async def _follow(self, stream: Stream, *, known: bool) -> None:
        change = asyncio.Event()
        self._watching.add(change)
        try:
            sent = b""
            while not self._ended:
                state = self._now() if known else _Response(status=_Response.SERVICE_UNKNOWN).SerializeToString()
                if state != sent:
                    await stream.send(state)
                    sent = state
                await change.wait()
                change.clear()
        finally:
            self._watching.discard(change)

    def changed(self) -> None:
        """Wake all watchers, which send the state if it has changed."""
        for change in self._watching:
            change.set()

    def end_watches(self) -> None:
        """End all watches: a graceful shutdown waits for calls in progress."""
        self._ended = True
        self.changed()

    def _now(self) -> bytes:
        return bytes(_Response(status=self._status()).SerializeToString())

    def _status(self) -> int:
        return int(_Response.SERVING if self._healthy() else _Response.NOT_SERVING)
