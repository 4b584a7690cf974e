"""The key that an admin request names: in the query in a short form, or in the body as for /json."""

from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from ratelimitd.descriptor_text import encode, parse
from ratelimitd.limiter import LimitRequest
from ratelimitd.policy import Descriptor, described

from .http import PageRequest

HOW: Final = "write ?domain=DOMAIN&descriptor=KEY=VALUE,KEY=VALUE, or POST a RateLimitRequest as JSON"

DESCRIPTORS_MAX: Final = 64
"""The default of MAX_DESCRIPTORS, which bounds those in a body; a query could contain 600, which take 5 ms."""

Read = Callable[[bytes], LimitRequest]
"""Parses a protojson RateLimitRequest; raises ValueError."""


def key_request(request: PageRequest, read: Read) -> LimitRequest:
    """Return the rate-limit request that names the key; raises ValueError that states what to write."""
    if request.body and request.raw_query:
        raise ValueError("name the key in the query or in the body, not in both")
    if request.body and request.method in {"GET", "HEAD"}:
        raise ValueError(f"the body of a {request.method} request is ignored; use POST")
    return read(request.body) if request.body else _in_query(request.raw_query)


def _in_query(query: str) -> LimitRequest:
    domains: list[bytes] = []
    descriptors: list[Descriptor] = []
    for name, value in parse_qsl(query, keep_blank_values=True, errors="surrogateescape"):
        if name == "domain":
            domains.append(encode(value))
        elif name == "descriptor":
            descriptors.append(described(parse(value)))
        else:
            raise ValueError(f"unknown parameter {name!r}: {HOW}")
    if len(domains) != 1 or not domains[0]:
        raise ValueError(f"exactly one domain is required: {HOW}")
    if not 0 < len(descriptors) <= DESCRIPTORS_MAX:
        raise ValueError(f"{len(descriptors)} descriptors, but 1 to {DESCRIPTORS_MAX} are allowed: {HOW}")
    return LimitRequest(domains[0], tuple(descriptors))
