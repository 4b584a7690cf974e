"""Rate-limit headers of a response: X-RateLimit-* as in Envoy's DRAFT_VERSION_03, and Retry-After."""

from functools import lru_cache

from ratelimitd.http1 import Headers
from ratelimitd.limiter import Answer, DescriptorStatus, structured_string
from ratelimitd.policy import UNIT_SECONDS, Limit


def limit_headers(answer: Answer, multipliers: bool) -> Headers:
    """Return the three headers of the status with the fewest remaining hits, the first of equals; none without a limit.

    X-RateLimit-Limit also lists every limit of the request in the form ``10;w=60;name="x"``; those with a window of
    several units only with ``multipliers`` (STATUS_UNIT_MULTIPLIER), as an Envoy with the same service lists them;
    those on requests in progress never, since they have no window.
    """
    shown: DescriptorStatus | None = None
    listed = b""
    for status in answer.statuses:
        limit = status.limit
        if limit is None:
            continue
        if (limit.unit_multiplier == 1 or multipliers) and limit.unit in UNIT_SECONDS:
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
    """Return the longest reset time, in seconds, of the limits that are over; at least 1."""
    return max([1, *(status.reset for status in answer.statuses if status.over)])


@lru_cache(maxsize=4096)
def _listed(limit: Limit) -> bytes:
    """Return a limit as Envoy's quota policy. A name that a header cannot carry is omitted."""
    name = structured_string(limit.name)
    window = UNIT_SECONDS[limit.unit] * limit.unit_multiplier
    return f", {limit.requests_per_unit};w={window}{name and f';name={name}'}".encode()
