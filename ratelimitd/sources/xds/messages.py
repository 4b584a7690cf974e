"""The messages of an ADS stream, as bytes."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Final

from ratelimitd.proto import message
from ratelimitd.sources.pushed import TYPE

from .protocol import Request, Response

METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"

INVALID_ARGUMENT: Final = 3
"""Code of google.rpc.Code in a NACK."""

_Request: Final = message("envoy.service.discovery.v3.DiscoveryRequest")


def node(identity: str, metadata: Iterable[tuple[str, str]]) -> Any:
    """Return the node that a client is, for ``encode``."""
    made = _Request().node
    made.id = identity
    if metadata:
        made.metadata.update(dict(metadata))
    return made


def encode(request: Request, of: Any) -> bytes:
    """Return a request of this node. Without names of resources it asks for all; a name, even ``*``, would be one."""
    made = _Request(version_info=request.version, node=of, type_url=TYPE, response_nonce=request.nonce)
    if request.error:
        made.error_detail.code, made.error_detail.message = INVALID_ARGUMENT, request.error
    return bytes(made.SerializeToString())


def read_response(body: bytes) -> Response:
    """Read a response without its resources, which are only compared. Raises ValueError.

    It runs in a thread, and is written in Python so that the event loop has its turns: protobuf would make an object of
    each resource in one step, which takes 50 ms for 50,000. The digest does not depend on the order of the resources:
    control planes keep them in maps.
    """
    texts = {VERSION: "", TYPE_URL: "", NONCE: ""}
    resources = 0
    try:
        for number, value in _fields(memoryview(body)):
            if number == RESOURCES:
                resources += int.from_bytes(sha256(value).digest())
            elif number in texts:
                texts[number] = str(value, "utf-8")
    except (IndexError, ValueError):
        raise ValueError("the control plane sent bytes that are no DiscoveryResponse") from None
    digest = sha256(b"%b %d" % (texts[TYPE_URL].encode(), resources)).digest()
    return Response(texts[VERSION], texts[NONCE], digest, body)


VERSION, RESOURCES, TYPE_URL, NONCE = 1, 2, 4, 5
"""Fields of a DiscoveryResponse."""

BYTES: Final = 2
"""Wire type of texts and messages."""

FIXED: Final = {1: 8, 5: 4}
"""Bytes of the wire types that have a fixed size."""


def _fields(body: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of each field that is a text or a message. Raises ValueError or IndexError."""
    at = 0
    while at < len(body):
        tag, at = _varint(body, at)
        kind = tag & 7
        size = FIXED.get(kind, 0)
        if kind == BYTES:
            size, at = _varint(body, at)
            yield tag >> 3, body[at : at + size]
        elif not kind:
            _, at = _varint(body, at)
        elif not size:
            raise ValueError(f"wire type {kind}")
        at += size
        if at > len(body):
            raise ValueError("a field is longer than the message")


def _varint(body: memoryview, at: int) -> tuple[int, int]:
    """Return a number, and where it ends. Raises ValueError or IndexError."""
    number = shift = 0
    while (byte := body[at]) > LOW:
        number |= (byte & LOW) << shift
        shift += 7
        at += 1
        if shift > SHIFT_MOST:
            raise ValueError("a number of more than 64 bits")
    return number | byte << shift, at + 1


SHIFT_MOST: Final = 63

LOW: Final = 0x7F
"""Bits of a byte of a varint that are of the number; the highest says that another byte follows."""
