"""Decoding of compressed messages (grpc/doc/compression.md)."""

import zlib
from typing import Final

from .api import GrpcError, GrpcStatus

WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}
"""zlib's parameter for each accepted ``grpc-encoding``; gRPC's deflate is zlib's format (RFC 1950)."""


def decompressed(message: bytes, encoding: str, most: int) -> bytes:
    """Return the message, of at most ``most`` bytes, that a compressed one contains; raises GrpcError."""
    unpacking = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        plain = unpacking.decompress(message, most + 1)
    except zlib.error as error:
        raise GrpcError(GrpcStatus.INTERNAL, f"the message is not valid {encoding}") from error
    if len(plain) > most:
        raise GrpcError(GrpcStatus.RESOURCE_EXHAUSTED, "message too large after decompression")
    if not unpacking.eof or unpacking.unused_data:
        raise GrpcError(GrpcStatus.INTERNAL, f"the message is not one whole {encoding} stream")
    return plain
