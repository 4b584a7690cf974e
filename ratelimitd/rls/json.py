"""``POST /json``: the same request and answer as protojson, through the same service."""

import asyncio

from google.protobuf import json_format

from ratelimitd.proto import message
from ratelimitd.transport import Status

from .service import RateLimitService

_Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
_Response = message("envoy.service.ratelimit.v3.RateLimitResponse")


class _JsonCall:
    """A call whose answer is (status, message) for ``should_rate_limit``."""

    __slots__ = ("answer", "body", "deadline")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.deadline = 0
        self.answer: asyncio.Future[tuple[Status, bytes]] = asyncio.get_running_loop().create_future()

    def respond(self, body: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result((Status.OK, body))

    def fail(self, status: Status, message: str) -> None:
        if not self.answer.done():
            self.answer.set_result((status, message.encode()))


async def decide_json(service: RateLimitService, body: bytes) -> tuple[Status, bytes]:
    """Decide a protojson ``RateLimitRequest``.

    Returns OK and a protojson ``RateLimitResponse``, or the status and the text of the error: INVALID_ARGUMENT for
    what is no such request.
    """
    try:
        request = json_format.Parse(body, _Request())
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        return Status.INVALID_ARGUMENT, str(error).encode(errors="backslashreplace")
    call = _JsonCall(request.SerializeToString())
    service.decide((call,))
    status, answer = await call.answer
    if status is Status.OK:
        return status, json_format.MessageToJson(_Response.FromString(answer), indent=None).encode()
    return status, answer
