"""Decoding of request bytes to ``limiter.LimitRequest``: a walk over the form that Envoy writes, protobuf otherwise."""

from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from ratelimitd.limiter import LimitRequest
from ratelimitd.policy import LEASE, Descriptor, Override, Unit, described
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
    request = walk(body, bounds)
    return parse(body, bounds) if request is None else request


def parse(body: bytes, bounds: Bounds) -> LimitRequest:
    """Read a request of any form with the protobuf library; raises RequestError."""
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
    decoded = tuple([_parsed(each, bounds) for each in descriptors])
    return LimitRequest(request.domain, decoded, request.hits_addend)


def _parsed(wire: Any, bounds: Bounds) -> Descriptor:
    bounds.require_entries(len(wire.entries))
    entries = tuple([(entry.key, entry.value) for entry in wire.entries])
    override = hits = None
    if wire.HasField("limit"):
        limit = wire.limit
        override = Override(limit.requests_per_unit, _unit(limit.unit), limit.unit_multiplier.value or 1)
    if wire.HasField("hits_addend"):
        hits = wire.hits_addend.value
    return described(entries, override, hits, wire.is_negative_hits)


def _unit(number: int) -> Unit:
    """Convert ``envoy.type.v3.RateLimitUnit``, which has the same numbers; unknown numbers become UNKNOWN."""
    return Unit(number) if 0 <= number <= Unit.YEAR else Unit.UNKNOWN


WALK_BYTES: Final = 1 << 13
"""A larger body is parsed by the library. A body may be of tiny fields alone: 8 KiB of them take the walk up to 1.6 ms
interpreted, and the library 0.2. Requests of 64 descriptors, each of two entries of 50 bytes, are smaller."""

VARINT_BITS: Final = 63
"""Of the largest number that the walk reads, nine bytes: all but negative units and a hits_addend of 2**63 or more."""

DOMAIN: Final = 0x0A
DESCRIPTOR: Final = 0x12
HITS: Final = 0x18
ENTRY: Final = 0x0A
LIMIT: Final = 0x12
OWN_HITS: Final = 0x1A
NEGATIVE: Final = 0x20
KEY: Final = 0x0A
VALUE: Final = 0x12
PER_UNIT: Final = 0x08
UNIT: Final = 0x10
MULTIPLIER: Final = 0x1A
WRAPPED: Final = 0x08
"""Tags: the number of the field times 8, and 2 for bytes and messages or 0 for numbers."""


LEASE_BYTES: Final = len(LEASE)
"""Compared first: it costs less than to compare bytes, and each entry of each call is."""


class _FormError(Exception):
    """The body is not of the form that the walk reads; it may be valid."""


def walk(body: bytes, bounds: Bounds) -> LimitRequest | None:
    """Read a request of the form that Envoy writes; None for any other body, also for an invalid one.

    A descriptor of one entry takes the library 2.3 to 3.5 µs, most of it to make an object for each message and field
    that is read, and the walk 1.4 µs, compiled 0.2. INVARIANT: a request that is returned equals that of ``parse``.

    Fields may come in any order, and the last of equal ones counts. Any other form: a message that occurs twice, which
    protobuf merges; unknown fields, groups, other wire types; numbers with needless bytes; what ends within a field.
    """
    if len(body) > WALK_BYTES:
        return None
    try:
        return _request(body, bounds)
    except (IndexError, _FormError):  # IndexError: the body ends within a field
        return None


# Each function below reads the fields of one message, body[at:end]: a tag, and a number, which for bytes and messages
# is their length. One that is too long ends behind the message, and the check after the loop finds that.


def _request(body: bytes, bounds: Bounds) -> LimitRequest | None:
    domain, hits, at, end = b"", 0, 0, len(body)
    descriptors: list[Descriptor] = []
    while at < end:
        tag, number, at = body[at], body[at + 1], at + 2
        if number > 0x7F:
            number, at = _varint(body, at - 1)
        if tag == DESCRIPTOR:
            descriptors.append(_descriptor(body, at, at + number, bounds.entries))
            if len(descriptors) > bounds.descriptors:
                return None
            at += number
        elif tag == DOMAIN:
            domain = body[at : at + number]
            at += number
        elif tag == HITS:
            hits = number & 0xFFFFFFFF
        else:
            return None
    if at != end or not domain or not descriptors:
        return None
    return LimitRequest(domain, tuple(descriptors), hits)


def _descriptor(body: bytes, at: int, end: int, most: int) -> Descriptor:
    entries: list[tuple[bytes, bytes]] = []
    override: Override | None = None
    hits: int | None = None
    lease: bytes | None = None
    negative = False
    while at < end:
        tag, number, at = body[at], body[at + 1], at + 2
        if number > 0x7F:
            number, at = _varint(body, at - 1)
        if tag == ENTRY:
            entry = _entry(body, at, at + number)
            if len(entry[0]) == LEASE_BYTES and entry[0] == LEASE:
                lease, most = entry[1], most - 1
            else:
                entries.append(entry)
            if len(entries) > most:
                raise _FormError
            at += number
        elif tag == NEGATIVE:
            negative = number != 0
        elif tag == LIMIT and override is None:
            override = _override(body, at, at + number)
            at += number
        elif tag == OWN_HITS and hits is None:
            hits = _wrapped(body, at, at + number)
            at += number
        else:
            raise _FormError
    if at != end:
        raise _FormError
    return Descriptor(tuple(entries), override, hits, negative, lease)


def _entry(body: bytes, at: int, end: int) -> tuple[bytes, bytes]:
    key = value = b""
    while at < end:
        tag, number, at = body[at], body[at + 1], at + 2
        if number > 0x7F:
            number, at = _varint(body, at - 1)
        if tag == KEY:
            key = body[at : at + number]
        elif tag == VALUE:
            value = body[at : at + number]
        else:
            raise _FormError
        at += number
    if at != end:
        raise _FormError
    return key, value


def _override(body: bytes, at: int, end: int) -> Override:
    requests_per_unit = unit = 0
    multiplier: int | None = None
    while at < end:
        tag = body[at]
        number, at = _varint(body, at + 1)
        if tag == PER_UNIT:
            requests_per_unit = number & 0xFFFFFFFF
        elif tag == UNIT:
            unit = number & 0xFFFFFFFF
        elif tag == MULTIPLIER and multiplier is None:
            multiplier = _wrapped(body, at, at + number) & 0xFFFFFFFF
            at += number
        else:
            raise _FormError
    if at != end:
        raise _FormError
    return Override(requests_per_unit, _unit(unit), multiplier or 1)


def _wrapped(body: bytes, at: int, end: int) -> int:
    value = 0
    while at < end:
        tag = body[at]
        value, at = _varint(body, at + 1)
        if tag != WRAPPED:
            raise _FormError
    if at != end:
        raise _FormError
    return value


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Read a number; return it and its end."""
    byte = body[at]
    number = byte & 0x7F
    shift = 0
    while byte > 0x7F:
        at += 1
        shift += 7
        byte = body[at]
        if byte == 0 or shift == VARINT_BITS:
            raise _FormError
        number |= (byte & 0x7F) << shift
    return number, at + 1
