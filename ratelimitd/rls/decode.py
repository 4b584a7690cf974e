"""Decoding of request bytes to ``limiter.LimitRequest``."""

from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from ratelimitd.limiter import LimitRequest
from ratelimitd.policy import Descriptor, Unit
from ratelimitd.proto import message

_Request = message("ratelimitd.wire.v1.RateLimitRequest")


class RequestError(ValueError):
    """An invalid request; the caller gets INVALID_ARGUMENT. The text is envoyproxy/ratelimit's if it has one."""


class Bounds(NamedTuple):
    """Maximum numbers of descriptors in a request and of entries in a descriptor (MAX_DESCRIPTORS, MAX_ENTRIES)."""

    descriptors: int = 64
    entries: int = 32

    def __str__(self) -> str:
        return f"MAX_DESCRIPTORS={self.descriptors} and MAX_ENTRIES={self.entries}"

    def require_descriptors(self, count: int) -> None:
        """Raise RequestError if a request has too many descriptors."""
        if count > self.descriptors:
            raise RequestError(f"{count} descriptors exceed MAX_DESCRIPTORS={self.descriptors}")

    def require_entries(self, count: int) -> None:
        """Raise RequestError if a descriptor has too many entries."""
        if count > self.entries:
            raise RequestError(f"{count} entries in one descriptor exceed MAX_ENTRIES={self.entries}")


def decode(body: bytes, bounds: Bounds) -> LimitRequest:
    """Read a serialized ``RateLimitRequest``; raises RequestError."""
    try:
        request = _Request.FromString(body)
    except DecodeError as error:
        raise RequestError("the request is not a RateLimitRequest") from error
    if not request.domain:
        raise RequestError("rate limit domain must not be empty")
    descriptors = request.descriptors
    if not descriptors:
        raise RequestError("rate limit descriptor list must not be empty")
    bounds.require_descriptors(len(descriptors))
    decoded = tuple([_descriptor(each, bounds) for each in descriptors])
    return LimitRequest(request.domain, decoded, request.hits_addend)


def _descriptor(wire: Any, bounds: Bounds) -> Descriptor:
    bounds.require_entries(len(wire.entries))
    entries = tuple([(entry.key, entry.value) for entry in wire.entries])
    override = hits = None
    if wire.HasField("limit"):
        override = (wire.limit.requests_per_unit, _unit(wire.limit.unit))
    if wire.HasField("hits_addend"):
        hits = wire.hits_addend.value
    return Descriptor(entries, override, hits, wire.is_negative_hits)


def _unit(number: int) -> Unit:
    """Convert ``envoy.type.v3.RateLimitUnit``, which has the same numbers; unknown numbers become UNKNOWN."""
    return Unit(number) if 0 <= number <= Unit.YEAR else Unit.UNKNOWN
