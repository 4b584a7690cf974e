"""Request headers, as the session notes them and as a handler reads them."""

import struct
from base64 import b64decode

LENGTHS = struct.Struct("=II")
"""Before each header: the bytes of its name and of its value."""


def decode_metadata(noted: bytes | None) -> dict[str, list[bytes]]:
    """Return values by lower-case name; those of ``-bin`` are lists of unpadded base64 (PROTOCOL-HTTP2.md)."""
    found: dict[str, list[bytes]] = {}
    at, end = 0, len(noted or b"")
    while noted is not None and at < end:
        name_length, value_length = LENGTHS.unpack_from(noted, at)
        at += LENGTHS.size
        name = noted[at : at + name_length].decode("latin-1")
        at += name_length
        value = noted[at : at + value_length]
        at += value_length
        found.setdefault(name, []).extend(_binary(value) if name.endswith("-bin") else [value])
    return found


def _binary(value: bytes) -> list[bytes]:
    try:
        return [b64decode(each + b"==") for each in value.split(b",")]
    except ValueError:
        return [value]  # as it came: what is no base64 is the caller's affair
