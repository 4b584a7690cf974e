"""``POST /json``: request and response as protojson, decided by the gRPC service.

A JSON body costs more than the same request over gRPC, so what it holds is counted before it is parsed, and it is
converted in slices. ``json_format`` takes 5 to 10 µs per object; it converts all but entries, which are most of a body.
"""

import asyncio
import json
from typing import Any, Final

from google.protobuf import json_format

from ratelimitd.limiter import LimitRequest
from ratelimitd.observe.loop import batches
from ratelimitd.proto import message
from ratelimitd.transport import GrpcStatus

from .decode import Bounds, RequestError, decode
from .service import RateLimitService

_Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
_Response = message("envoy.service.ratelimit.v3.RateLimitResponse")

VALUES: Final = 4
"""Commas per object that a body may have: an entry needs two, one in it and one behind it. As many again are for
commas in texts. A value costs up to 0.4 µs to scan, and this is the only bound on numbers and lists: a body of the
default MAX_REQUEST_BYTES takes at most 4 ms to scan, whatever is in it."""

SLICE: Final = 16
"""Descriptors that are converted before yielding to the event loop: 1 ms if each has 32 entries."""

ENTRY: Final = frozenset(("key", "value"))

NOT_JSON: Final = "the body is not a RateLimitRequest as JSON"


class _JsonCall:
    """A ``Call`` for ``serve`` whose response is a future of (status, message)."""

    __slots__ = ("answer", "body", "deadline", "metadata")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.deadline = 0
        self.metadata: dict[str, list[bytes]] = {}
        self.answer: asyncio.Future[tuple[GrpcStatus, bytes]] = asyncio.get_running_loop().create_future()

    @property
    def answered(self) -> bool:
        return self.answer.done()

    def respond(self, body: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result((GrpcStatus.OK, body))

    def fail(self, status: GrpcStatus, message: str) -> None:
        if not self.answer.done():
            self.answer.set_result((status, message.encode()))


def read_json(body: bytes, bounds: Bounds) -> LimitRequest:
    """Read a protojson ``RateLimitRequest``; raises RequestError."""
    fields, descriptors = _loaded(body, bounds)
    return decode(_head(fields) + _part(descriptors, bounds), bounds)


async def decide_json(service: RateLimitService, body: bytes) -> tuple[GrpcStatus, bytes]:
    """Decide a protojson ``RateLimitRequest``.

    Returns OK and a protojson ``RateLimitResponse``, or a status and an error text: INVALID_ARGUMENT for a body that
    is not a ``RateLimitRequest``.
    """
    try:
        fields, descriptors = _loaded(body, service.bounds)
        serialized = [_head(fields)]
        await asyncio.sleep(0)
        for part in batches(descriptors, SLICE):
            serialized.append(_part(part, service.bounds))
            await asyncio.sleep(0)
    except RequestError as error:
        return GrpcStatus.INVALID_ARGUMENT, str(error).encode(errors="backslashreplace")
    call = _JsonCall(b"".join(serialized))
    service.serve((call,))
    status, answer = await call.answer
    if status is GrpcStatus.OK:
        return status, json_format.MessageToJson(_Response.FromString(answer), indent=None).encode()
    return status, answer


def _loaded(body: bytes, bounds: Bounds) -> tuple[dict[str, Any], list[Any]]:
    """Return the fields of a body without its descriptors, and the descriptors; raises RequestError.

    A request has an object, and one for each descriptor, its override and its entries.
    """
    objects = 1 + bounds.descriptors * (bounds.entries + 2)
    if body.count(b"{") > objects or body.count(b",") > VALUES * objects:
        raise RequestError(f"more objects or values than {bounds} allow")
    try:
        fields = json.loads(body.decode(), object_pairs_hook=_fields)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{NOT_JSON}: {error}") from error
    if not isinstance(fields, dict):
        raise RequestError(NOT_JSON)
    if not isinstance(fields.get("descriptors"), list):
        return fields, []
    descriptors = fields.pop("descriptors")
    bounds.require_descriptors(len(descriptors))
    return fields, descriptors


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is given twice")
    return fields


def _head(fields: dict[str, Any]) -> bytes:
    """Serialize a request without its descriptors."""
    request = _Request()
    _convert(fields, request)
    return bytes(request.SerializeToString())


def _part(descriptors: list[Any], bounds: Bounds) -> bytes:
    """Serialize descriptors of a request; serialized messages may be concatenated."""
    request = _Request()
    for fields in descriptors:
        _descriptor(fields, request.descriptors.add(), bounds)
    return bytes(request.SerializeToString())


def _descriptor(fields: Any, into: Any, bounds: Bounds) -> None:
    if not isinstance(fields, dict):
        raise RequestError(f"{NOT_JSON}: a descriptor is not an object")
    if isinstance(fields.get("entries"), list):
        entries = fields.pop("entries")
        bounds.require_entries(len(entries))
        for entry in entries:
            _entry(entry, into.entries)
    if fields:
        _convert(fields, into)


def _entry(fields: Any, into: Any) -> None:
    if not isinstance(fields, dict) or not fields.keys() <= ENTRY:
        raise RequestError(f"{NOT_JSON}: an entry has the fields key and value")
    try:
        into.add(**fields)
    except (TypeError, ValueError) as error:
        raise RequestError(f"{NOT_JSON}: {error}") from error


def _convert(fields: dict[str, Any], into: Any) -> None:
    try:
        json_format.ParseDict(fields, into)
    except Exception as error:  # as json_format.Parse does: the body is at fault
        raise RequestError(f"{NOT_JSON}: {error}") from error
