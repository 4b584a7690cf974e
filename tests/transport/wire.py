"""A caller made by hand: HTTP/2 frames out of hpack and hyperframe, for what no client would say."""

import ctypes
from typing import NamedTuple

import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from ratelimitd.transport._nghttp2 import ServerState, Session
from tests.transport.servers import ECHO, STREAM

EXCLUSIVE = "/test.Service/Exclusive"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BOUNDS = {
    "max_message": 1 << 20,
    "max_calls": 10_000,
    "max_streaming": 1000,
    "max_connection_streaming": 100,
    "max_streams": 1024,
    "max_header_bytes": 16_384,
    "max_headers": 100,
    "max_buffered": 16 << 20,
    "buffered_share": 0,
    "max_connection_buffered": 4 << 20,
    "max_bodies": 16 << 20,
    "max_unsent": 4 << 20,
    "wasted_frames": 10_240,
    "request_timeout": 20_000_000,
}


def message(body, flag=0):
    """A gRPC message in its frame."""
    return bytes([flag]) + len(body).to_bytes(4, "big") + body


class Answer(NamedTuple):
    """What came for one call; ``reset`` is an error code or None."""

    headers: dict
    body: bytes
    trailers: dict
    reset: int | None

    @property
    def status(self):
        """HTTP status, grpc-status and grpc-message."""
        both = {**self.headers, **self.trailers}
        return both[":status"], both.get("grpc-status"), both.get("grpc-message")


class Caller:
    """Builds requests and reads answers, with HPACK state of its own."""

    def __init__(self):
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.last = -1
        self.rest = b""
        self.frames = []

    def start(self, settings=None):
        """The preface and SETTINGS."""
        return PREFACE + SettingsFrame(0, settings or {}).serialize()

    def headers(self, *extra, path=ECHO, method="POST", content="application/grpc", end=False, without=()):
        """HEADERS of a new call."""
        self.last += 2
        fields = [
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", "test"),
            ("te", "trailers"),
            ("content-type", content),
            *extra,
        ]
        block = self.encoder.encode([field for field in fields if field[0] not in without])
        flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
        return HeadersFrame(self.last, block, flags=flags).serialize()

    def data(self, payload, *, end=True, stream=None):
        """DATA of the last call."""
        pieces = [payload[at : at + 16_384] for at in range(0, len(payload), 16_384)] or [b""]
        flags = [["END_STREAM"] if end and last else [] for last in [False] * (len(pieces) - 1) + [True]]
        frames = (DataFrame(stream or self.last, p, flags=f) for p, f in zip(pieces, flags, strict=True))
        return b"".join(frame.serialize() for frame in frames)

    def call(self, body=b"hello", **named):
        """A whole unary call."""
        return self.headers(**named) + self.data(message(body))

    def reset(self, stream=None, code=8):
        """RST_STREAM, CANCEL unless told otherwise."""
        return RstStreamFrame(stream or self.last, code).serialize()

    def window(self, size, stream=0):
        """WINDOW_UPDATE."""
        return WindowUpdateFrame(stream, size).serialize()

    def read(self, out):
        """Take what the server wrote."""
        out = self.rest + out
        while len(out) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(out[:9]))
            if len(out) < 9 + length:
                break
            frame.parse_body(memoryview(out[9 : 9 + length]))
            if isinstance(frame, HeadersFrame):
                frame.fields = dict(self.decoder.decode(frame.data))
            self.frames.append(frame)
            out = out[9 + length :]
        self.rest = out

    def answer(self, stream=None):
        """What came for a call so far, by default for the last one."""
        mine = [frame for frame in self.frames if frame.stream_id == (stream or self.last)]
        heads = [frame.fields for frame in mine if isinstance(frame, HeadersFrame)] + [{}, {}]
        body = b"".join(frame.data for frame in mine if isinstance(frame, DataFrame))
        resets = [frame.error_code for frame in mine if isinstance(frame, RstStreamFrame)]
        return Answer(heads[0], body, heads[1], resets[0] if resets else None)

    def goaways(self):
        """(last stream, error code) of each GOAWAY."""
        return [(f.last_stream_id, f.error_code) for f in self.frames if isinstance(f, GoAwayFrame)]


class Talk:
    """A caller and a session with nothing between them; ``calls`` gathers what the session completes."""

    def __init__(self, *, settings=None, serve=True, **bounds):
        streams = {STREAM: "stream", EXCLUSIVE: "exclusive"}
        exclusive = frozenset({EXCLUSIVE})
        self.server = ServerState(
            {ECHO: "echo", "/test.Service/Other": "other"}, streams, exclusive=exclusive, **{**BOUNDS, **bounds}
        )
        self.woken = 0
        self.session = Session(self.server, self._wake, 0)
        self.caller = Caller()
        self.serve = serve
        self.calls, self.streams, self.groups = [], [], []
        self.now = 1
        self.say(self.caller.start(settings))

    def _wake(self):
        self.woken += 1

    def say(self, data):
        """Feed bytes; echo the calls when this talk serves; read what comes back."""
        for name, calls in self.session.feed(data, self.now):
            self.groups.append((name, len(calls)))
            self.calls += calls
            if self.serve:
                for call in calls:
                    call.respond(call.body)
        self.streams += [stream for _, stream in self.session.take_opened()]
        self.hear()

    def hear(self):
        """Read what the session has to say."""
        while out := self.session.flush():
            self.caller.read(out)


class _Mallinfo(ctypes.Structure):  # struct mallinfo2 of glibc
    _fields_ = [(f"field{n}", ctypes.c_size_t) for n in range(10)]


def heap():
    """Bytes that malloc has handed out."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    info = mallinfo()
    return info.field7 + info.field4  # in arenas, and mapped on their own
