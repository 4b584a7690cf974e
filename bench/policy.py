"""The policy of the bench, and requests that match it.

Its limits are never reached, so every answer is OK with a full status and every call takes the same path.
"""

from collections.abc import Iterator
from typing import Final

from bench.load import frame
from ratelimitd.proto import message

DOMAIN: Final = "bench"
KEYS: Final = ("user", "path", "tenant")
PLENTY: Final = 1_000_000_000
"""Requests per hour; a service that answers 100,000 per second uses 360 million."""

LOG_LIMIT: Final = 10_000
"""Requests per second, the maximum for sliding_window; therefore its requests are spread over ``SPREAD`` keys."""

SPREAD: Final = 1_000


def policy(rules: int = 1, algorithm: str = "") -> str:
    """Return a policy with a rule for each of ``KEYS``, and ``rules`` rules for single users if there are several.

    envoyproxy/ratelimit also loads it, unless ``algorithm`` is set.
    """
    rate = limit(algorithm)
    lines = [f"domain: {DOMAIN}", "descriptors:"]
    lines += [f"  - {{key: {key}, rate_limit: {rate}}}" for key in KEYS]
    lines += [f"  - {{key: user, value: {user(n)}, rate_limit: {rate}}}" for n in range(rules if rules > 1 else 0)]
    return "\n".join(lines) + "\n"


def limit(algorithm: str) -> str:
    """Return the limit of every rule."""
    if algorithm == "sliding_window":
        return f"{{unit: second, requests_per_unit: {LOG_LIMIT}, algorithm: {algorithm}}}"
    named = f", algorithm: {algorithm}" if algorithm else ""
    return f"{{unit: hour, requests_per_unit: {PLENTY}{named}}}"


def user(number: int) -> str:
    """Return the value of one user's entry."""
    return f"u{number:06d}"


def requests(descriptors: int = 1, keys: int = 1, first: int = 0) -> Iterator[bytes]:
    """Return gRPC frames of ``keys`` users, each with ``descriptors`` descriptors of one entry."""
    request = message("envoy.service.ratelimit.v3.RateLimitRequest")
    for number in range(first, first + keys):
        built = request(domain=DOMAIN)
        for key in KEYS[:descriptors]:
            built.descriptors.add().entries.add(key=key, value=user(number))
        yield frame(built.SerializeToString())
