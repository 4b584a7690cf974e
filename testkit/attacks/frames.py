"""HTTP/2 frames and gRPC requests as bytes. An attacker makes them once and sends them often: that is its advantage."""

from collections.abc import Sequence
from typing import Final

from ratelimitd.proto import message
from testkit.server import METHOD

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM, END_HEADERS = 1, 4

DOMAIN: Final = "attacked"
"""The domain of every request; ``table`` has its policy."""

WATCH: Final = "/grpc.health.v1.Health/Watch"
REFLECTION: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

LARGEST: Final = 16_384
"""Payload of the largest frame that a server takes by default (RFC 9113 4.2)."""

WINDOW: Final = 65_535
"""Bytes that a connection and a stream may receive at first (RFC 9113 6.9.2)."""

_REQUEST: Final = message("envoy.service.ratelimit.v3.RateLimitRequest")


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def start() -> bytes:
    """Return the preface of a client that reads as much as is written."""
    window = (1 << 31) - 1
    wide = (4).to_bytes(2, "big") + window.to_bytes(4, "big")
    whole = frame(WINDOW_UPDATE, 0, 0, (window - WINDOW).to_bytes(4, "big"))
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, wide) + whole


def header(name: str, value: str, *, keep: bool = False) -> bytes:
    """Return a literal header (RFC 7541 6.2), which the receiver keeps in its dynamic table if it is told to."""
    return (b"\x40" if keep else b"\x00") + _text(name) + _text(value)


def _text(text: str) -> bytes:
    size, most = len(text), 127
    if size < most:
        return bytes((size,)) + text.encode()
    size -= most
    prefix = bytearray((most,))
    while size >= 128:
        prefix.append(size % 128 + 128)
        size //= 128
    return bytes((*prefix, size)) + text.encode()


def block(path: str = METHOD, *more: tuple[str, str], keep: bool = False) -> bytes:
    """Return the header block of a call."""
    fields = [(":path", path), (":authority", "a"), ("te", "trailers"), ("content-type", "application/grpc"), *more]
    return b"\x83\x86" + b"".join(header(*field, keep=keep) for field in fields)  # POST, http


def kept(entries: int = 4) -> bytes:
    """Return the block of a call whose other headers an earlier ``block`` with ``keep`` left in the table."""
    return b"\x83\x86" + bytes(0x80 + 61 + entries - n for n in range(entries))


def prefixed(body: bytes, flag: int = 0) -> bytes:
    """Return a gRPC message."""
    return bytes((flag,)) + len(body).to_bytes(4, "big") + body


def data(stream: int, payload: bytes, *, end: bool = True) -> bytes:
    """Return DATA frames."""
    pieces = [payload[at : at + LARGEST] for at in range(0, len(payload), LARGEST)] or [b""]
    ends = [0] * (len(pieces) - 1) + [END_STREAM if end else 0]
    return b"".join(frame(DATA, flags, stream, piece) for piece, flags in zip(pieces, ends, strict=True))


def call(stream: int, body: bytes, head: bytes, flag: int = 0) -> bytes:
    """Return a whole unary call."""
    return frame(HEADERS, END_HEADERS, stream, head) + data(stream, prefixed(body, flag))


def request(*entries: tuple[str, str], times: int = 1, limit: int = 0) -> bytes:
    """Return a RateLimitRequest with these entries in each of its descriptors, and an override if ``limit`` is set."""
    built = _REQUEST(domain=DOMAIN)
    for n in range(times):
        descriptor = built.descriptors.add()
        for key, value in entries:
            descriptor.entries.add(key=key, value=f"{value}-{n}" if times > 1 else value)
        if limit:
            descriptor.limit.requests_per_unit, descriptor.limit.unit = limit, 4
    return bytes(built.SerializeToString())


class Calls:
    """Unary calls in a row, of less than a frame each, made once and sent on other streams each time."""

    def __init__(self, bodies: Sequence[bytes], head: bytes, flag: int = 0) -> None:
        self.size = len(bodies)
        self._parts: list[bytes] = []
        for body in bodies:
            message = prefixed(body, flag)
            opening = len(head).to_bytes(3, "big") + bytes((HEADERS, END_HEADERS))
            middle = head + len(message).to_bytes(3, "big") + bytes((DATA, END_STREAM))
            self._parts += opening, b"", middle, b"", message

    def on(self, streams: Sequence[int]) -> bytes:
        """Return the calls, each on the next one of these streams."""
        self._parts[1::5] = self._parts[3::5] = [stream.to_bytes(4, "big") for stream in streams]
        return b"".join(self._parts)
