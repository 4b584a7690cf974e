"""Decoding of the request headers that a session records."""

import struct
from base64 import b64decode

LENGTHS = struct.Struct("=II")
"""Prefix of each recorded header: the lengths of its name and of its value, in bytes."""


def decode_metadata(recorded: bytes | None) -> dict[str, list[bytes]]:
    """Return the values by lower-case name.

    On the wire a value of a ``-bin`` header is a comma-separated list of unpadded base64 (PROTOCOL-HTTP2.md); it is
    returned decoded.
    """
    headers: dict[str, list[bytes]] = {}
    at, end = 0, len(recorded or b"")
    while recorded is not None and at < end:
        name_length, value_length = LENGTHS.unpack_from(recorded, at)
        at += LENGTHS.size
        name = recorded[at : at + name_length].decode("latin-1")
        at += name_length
        value = recorded[at : at + value_length]
        at += value_length
        headers.setdefault(name, []).extend(_binary(value) if name.endswith("-bin") else [value])
    return headers


def _binary(value: bytes) -> list[bytes]:
    try:
        return [b64decode(each + b"==") for each in value.split(b",")]
    except ValueError:
        return [value]  # invalid base64 is passed on unchanged; the client is at fault
