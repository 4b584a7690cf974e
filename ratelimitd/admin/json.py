"""/json: a RateLimitRequest as JSON, decided as over gRPC.

The status codes are those of envoyproxy/ratelimit with two exceptions: it also returns 400 when its store fails, which
blames the caller and hides the failure; and it returns 500 in a case that cannot occur here.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from ratelimitd.transport import GrpcStatus

from .http import JSON, PageHandler, PageRequest, PageResponse

Decide = Callable[[bytes], Awaitable[tuple[GrpcStatus, bytes]]]
"""Takes a protojson RateLimitRequest; returns OK and a protojson RateLimitResponse, or an error and its text."""

BAD_REQUEST: Final = PageResponse(400, b"Bad Request\n")

HTTP_STATUS: Final[Mapping[GrpcStatus, int]] = {
    GrpcStatus.UNAVAILABLE: 503,
    GrpcStatus.DEADLINE_EXCEEDED: 504,
    GrpcStatus.RESOURCE_EXHAUSTED: 503,
}
"""HTTP status of an error; any other is an internal error (500)."""


def decided(decide: Decide) -> PageHandler:
    """Make a handler that decides the request in the body: 200 OK, 429 OVER_LIMIT, 400, or 503 if the store fails."""

    async def handler(request: PageRequest) -> PageResponse:
        status, body = await decide(request.body)
        if status is GrpcStatus.OK:
            return PageResponse(429 if json.loads(body).get("overallCode") == "OVER_LIMIT" else 200, body, JSON)
        if status is GrpcStatus.INVALID_ARGUMENT:
            return BAD_REQUEST
        reason = json.dumps({"error": body.decode(errors="backslashreplace")})
        return PageResponse(HTTP_STATUS.get(status, 500), reason.encode(), JSON)

    return handler
