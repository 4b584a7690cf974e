"""The messages of an ADS stream, as bytes."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

from google.protobuf.message import DecodeError

from ratelimitd.proto import message
from ratelimitd.sources.pushed import TYPE

from .protocol import Request, Response

METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"

INVALID_ARGUMENT: Final = 3
"""Code of google.rpc.Code in a NACK."""

_Request: Final = message("envoy.service.discovery.v3.DiscoveryRequest")
_Response: Final = message("ratelimitd.wire.v1.DiscoveryResponse")


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

    The digest does not depend on their order: control planes keep them in maps.
    """
    try:
        read = _Response.FromString(body)
    except DecodeError:
        raise ValueError("the control plane sent bytes that are no DiscoveryResponse") from None
    digest = sha256(read.type_url.encode())
    for resource in sorted(read.resources):
        digest.update(len(resource).to_bytes(8))
        digest.update(resource)
    return Response(read.version_info, read.nonce, digest.digest(), body)
