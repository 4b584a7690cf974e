"""/json: a RateLimitRequest as JSON, decided like any other.

The codes are envoyproxy/ratelimit's, but for two: it answers 400 also when its store fails, which blames the
caller, and so hides the failure; and 500 for what cannot happen here.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from ratelimitd.transport import GrpcStatus

from .http import JSON, Handler, Request, Response

Decide = Callable[[bytes], Awaitable[tuple[GrpcStatus, bytes]]]
"""From a protojson RateLimitRequest to OK and a protojson RateLimitResponse, or to an error and its text."""

BAD_REQUEST: Final = Response(400, b"Bad Request\n")

HTTP_STATUS: Final[Mapping[GrpcStatus, int]] = {
    GrpcStatus.UNAVAILABLE: 503,
    GrpcStatus.DEADLINE_EXCEEDED: 504,
    GrpcStatus.RESOURCE_EXHAUSTED: 503,
}
"""Of an error; one that is not here is an error of ours."""


def decided(decide: Decide) -> Handler:
    """Decide the request in the body: 200 OK, 429 OVER_LIMIT, 400, or 503 with the reason when the store fails."""

    async def handler(request: Request) -> Response:
        status, body = await decide(request.body)
        if status is GrpcStatus.OK:
            return Response(429 if json.loads(body).get("overallCode") == "OVER_LIMIT" else 200, body, JSON)
        if status is GrpcStatus.INVALID_ARGUMENT:
            return BAD_REQUEST
        reason = json.dumps({"error": body.decode(errors="backslashreplace")})
        return Response(HTTP_STATUS.get(status, 500), reason.encode(), JSON)

    return handler
