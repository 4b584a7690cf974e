"""``POST /json``: request and response as protojson, decided by the gRPC service."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from google.protobuf import json_format

from ratelimitd.limiter import LimitRequest
from ratelimitd.proto import message
from ratelimitd.transport import GrpcStatus

from .decode import Bounds, RequestError, decode
from .service import RateLimitService

_Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
_Response = message("envoy.service.ratelimit.v3.RateLimitResponse")

AT_ONCE: Final = 8 << 10
"""Bytes above which a body is parsed in a thread: the worst case of this size, full of empty entries, takes 4 ms, and
nothing may block the event loop for longer than 5 ms. The interpreter switches threads every 5 ms."""

_parser: Final = ThreadPoolExecutor(1, "json")
"""One thread: several would take turns of 5 ms each before the event loop has its own."""


class _JsonCall:
    """A ``Call`` for ``serve`` whose response is a future of (status, message)."""

    __slots__ = ("answer", "body", "deadline")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.deadline = 0
        self.answer: asyncio.Future[tuple[GrpcStatus, bytes]] = asyncio.get_running_loop().create_future()

    def respond(self, body: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result((GrpcStatus.OK, body))

    def fail(self, status: GrpcStatus, message: str) -> None:
        if not self.answer.done():
            self.answer.set_result((status, message.encode()))


def read_json(body: bytes, bounds: Bounds) -> LimitRequest:
    """Read a protojson ``RateLimitRequest``; raises RequestError."""
    return decode(_serialized(body), bounds)


def _serialized(body: bytes) -> bytes:
    try:
        serialized: bytes = json_format.Parse(body, _Request()).SerializeToString()
    except (json_format.ParseError, UnicodeError, RecursionError) as error:
        raise RequestError(str(error)) from error
    return serialized


async def decide_json(service: RateLimitService, body: bytes) -> tuple[GrpcStatus, bytes]:
    """Decide a protojson ``RateLimitRequest``.

    Returns OK and a protojson ``RateLimitResponse``, or a status and an error text: INVALID_ARGUMENT for a body that
    is not a ``RateLimitRequest``.
    """
    try:
        if len(body) > AT_ONCE:
            serialized = await asyncio.get_running_loop().run_in_executor(_parser, _serialized, body)
        else:
            serialized = _serialized(body)
        call = _JsonCall(serialized)
    except RequestError as error:
        return GrpcStatus.INVALID_ARGUMENT, str(error).encode(errors="backslashreplace")
    service.serve((call,))
    status, answer = await call.answer
    if status is GrpcStatus.OK:
        return status, json_format.MessageToJson(_Response.FromString(answer), indent=None).encode()
    return status, answer
