"""What a client is told of its limits, in Envoy's words: X-RateLimit-* as in DRAFT_VERSION_03, and Retry-After."""

from functools import lru_cache

from ratelimitd.http1 import Headers
from ratelimitd.limiter import Answer, Status
from ratelimitd.policy import UNIT_SECONDS, Limit


def limit_headers(answer: Answer) -> Headers:
    """Make the three headers of one status: the one with the least left, the first of equals; none without a limit.

    X-RateLimit-Limit also lists every limit of the request, as ``10;w=60;name="x"``.
    """
    shown: Status | None = None
    listed = b""
    for status in answer.statuses:
        limit = status.limit
        if limit is None:
            continue
        listed += _listed(limit)
        if shown is None or status.remaining < shown.remaining:
            shown = status
    if shown is None or shown.limit is None:
        return []
    return [
        (b"X-RateLimit-Limit", b"%d%b" % (shown.limit.requests_per_unit, listed)),
        (b"X-RateLimit-Remaining", b"%d" % shown.remaining),
        (b"X-RateLimit-Reset", b"%d" % shown.reset),
    ]


def retry_after(answer: Answer) -> int:
    """Return the longest wait, in seconds, of what is over; at least 1."""
    return max([1, *(status.reset for status in answer.statuses if status.over)])


@lru_cache(maxsize=4096)
def _listed(limit: Limit) -> bytes:
    """Write a limit as Envoy's quota policy; a window of several units is not one Envoy can name, so it is left out."""
    if limit.unit_multiplier != 1:
        return b""
    name = f';name="{limit.name}"' if limit.name else ""
    return f", {limit.requests_per_unit};w={UNIT_SECONDS[limit.unit]}{name}".encode()
