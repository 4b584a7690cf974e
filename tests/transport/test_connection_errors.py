"""What ends a connection, with which HTTP/2 error code, and what does not (RFC 9113)."""

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
)

from tests.transport.wire import Talk, message

PROTOCOL, FLOW_CONTROL, STREAM_CLOSED, FRAME_SIZE, COMPRESSION, CALM = 1, 3, 5, 6, 9, 11
REMEMBERED = 128
TRAILERS = ("x-checksum", "1")


def frame(kind, stream, payload=b"", flags=0):
    """A frame as no library would make it."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def trailers(caller, stream):
    """HEADERS that end a request."""
    return HeadersFrame(stream, caller.encoder.encode([TRAILERS]), flags=["END_HEADERS", "END_STREAM"]).serialize()


def window_overflow(caller):
    return caller.window(2**31 - 1)


def second_headers(caller):
    """A stream that was half-closed by its client, and is not answered."""
    return caller.call() + trailers(caller, caller.last)


def continuations(caller):
    caller.last += 2
    return HeadersFrame(caller.last, b"\x83").serialize() + ContinuationFrame(caller.last, b"\x86").serialize() * 50


ERRORS = {
    "DATA of no stream": (PROTOCOL, lambda caller: DataFrame.serialize(DataFrame(1, b"x"))[:5] + bytes(4) + b"x"),
    "DATA of an idle stream": (PROTOCOL, lambda caller: DataFrame(5, b"x").serialize()),
    "DATA with too much padding": (PROTOCOL, lambda caller: caller.headers() + frame(0, 1, b"\x05abcd", 8)),
    "HEADERS of no stream": (PROTOCOL, lambda caller: frame(1, 0, b"\x83", 5)),
    "HEADERS of an even stream": (PROTOCOL, lambda caller: HeadersFrame(2, b"\x83", flags=["END_HEADERS"]).serialize()),
    "HEADERS that depend on no frame size": (FRAME_SIZE, lambda caller: frame(1, 1, b"\x83" * 16_385, 5)),
    "a header block that does not decode": (COMPRESSION, lambda caller: frame(1, 1, b"\xff\xff\xff\xff\xff\xff", 5)),
    "CONTINUATION without HEADERS": (PROTOCOL, lambda caller: ContinuationFrame(1, b"\x83").serialize()),
    "a frame in a header block": (PROTOCOL, lambda caller: frame(1, 1, b"\x83") + PingFrame(0, bytes(8)).serialize()),
    "too many CONTINUATIONs": (CALM, continuations),
    "PRIORITY of no stream": (PROTOCOL, lambda caller: frame(2, 0, bytes(4) + b"\x10")),
    "RST_STREAM of no stream": (PROTOCOL, lambda caller: frame(3, 0, bytes(4))),
    "RST_STREAM of an idle stream": (PROTOCOL, lambda caller: RstStreamFrame(7, 8).serialize()),
    "RST_STREAM of a wrong size": (FRAME_SIZE, lambda caller: caller.headers() + frame(3, 1, bytes(3))),
    "SETTINGS of a stream": (PROTOCOL, lambda caller: frame(4, 1)),
    "SETTINGS of a wrong size": (FRAME_SIZE, lambda caller: frame(4, 0, bytes(5))),
    "SETTINGS with a window over 2^31-1": (FLOW_CONTROL, lambda caller: frame(4, 0, b"\0\4" + b"\xff" * 4)),
    "SETTINGS with a tiny frame size": (PROTOCOL, lambda caller: SettingsFrame(0, {5: 1}).serialize()),
    "an ACK of SETTINGS with payload": (FRAME_SIZE, lambda caller: frame(4, 0, bytes(6), 1)),
    "PUSH_PROMISE": (PROTOCOL, lambda caller: PushPromiseFrame(1, 2, b"\x83", flags=["END_HEADERS"]).serialize()),
    "PING of a stream": (PROTOCOL, lambda caller: frame(6, 1, bytes(8))),
    "PING of a wrong size": (FRAME_SIZE, lambda caller: frame(6, 0, bytes(7))),
    "WINDOW_UPDATE by nothing": (PROTOCOL, lambda caller: frame(8, 0, bytes(4))),
    "WINDOW_UPDATE over 2^31-1": (FLOW_CONTROL, window_overflow),
    "HEADERS of a stream that its client has ended": (STREAM_CLOSED, second_headers),
    "HEADERS of a stream that its client has reset": (
        STREAM_CLOSED,
        lambda caller: caller.headers() + caller.reset() + trailers(caller, 1),
    ),
    "HEADERS of a stream that was passed over": (
        STREAM_CLOSED,
        lambda caller: HeadersFrame(5, caller.headers()[9:], flags=["END_HEADERS"]).serialize() + trailers(caller, 3),
    ),
}


@pytest.mark.parametrize(("code", "say"), ERRORS.values(), ids=ERRORS)
def test_an_error_of_the_client_ends_the_connection_with_its_code(code, say):
    """As RFC 9113 says, and never with INTERNAL_ERROR, which is a fault of the server."""
    talk = Talk(serve=False)
    talk.say(say(talk.caller))
    assert [told for _, told in talk.caller.goaways()] == [code]
    assert talk.session.done


def test_headers_of_a_call_that_was_answered_end_the_connection():
    """The client had ended its side itself, so nothing of it can be on the way."""
    talk = Talk()
    talk.say(talk.caller.call())
    talk.say(trailers(talk.caller, 1))
    assert talk.caller.goaways() == [(1, STREAM_CLOSED)]


def test_what_is_on_the_way_of_a_call_that_the_server_ended_is_no_error():
    """DATA and trailers of the last calls that were refused before their end are ignored; the next call is served."""
    talk = Talk()
    for _ in range(REMEMBERED):
        talk.say(talk.caller.headers(path="/test.Service/Nothing"))
    for stream in range(1, talk.caller.last + 1, 2):
        talk.say(talk.caller.data(message(b"late"), end=False, stream=stream) + trailers(talk.caller, stream))
    talk.say(talk.caller.call())
    assert (talk.caller.goaways(), talk.caller.answer().status[1]) == ([], "0")


def test_an_older_one_is_not_remembered():
    """What the server remembers of ended streams has a bound."""
    talk = Talk()
    for _ in range(REMEMBERED + 1):
        talk.say(talk.caller.headers(path="/test.Service/Nothing"))
    talk.say(trailers(talk.caller, 3))
    assert not talk.session.done
    talk.say(trailers(talk.caller, 1))
    assert [code for _, code in talk.caller.goaways()] == [STREAM_CLOSED]


def test_trailers_of_a_refused_stream_are_no_error():
    """Of a stream over the bound, sent before the client knew it: the stream is refused, and the connection lives."""
    talk = Talk(serve=False, max_streams=1)
    talk.say(talk.caller.headers() + talk.caller.headers() + trailers(talk.caller, 3))
    assert (talk.caller.answer().reset, talk.caller.goaways()) == (7, [])
    talk.say(talk.caller.data(message(b"whole"), stream=1))
    assert [call.body for call in talk.calls] == [b"whole"]


def test_what_comes_after_the_last_goaway_is_no_error():
    """Streams that are ignored then may have trailers; calls in flight are answered."""
    talk = Talk(serve=False)
    talk.say(talk.caller.call())
    talk.session.goaway()
    talk.hear()
    talk.say(talk.caller.headers() + talk.caller.data(message(b"late"), end=False) + trailers(talk.caller, 3))
    talk.calls[0].respond(b"answer")
    talk.hear()
    assert (talk.caller.goaways(), talk.caller.answer(1).status[1]) == ([(1, 0)], "0")


def test_a_priority_of_a_stream_is_ignored():
    """RFC 9113 5.3.2: of any stream, open, idle or closed, and on itself."""
    talk = Talk()
    for stream in (1, 9):
        talk.say(PriorityFrame(stream, depends_on=stream, stream_weight=1).serialize())
    talk.say(talk.caller.call())
    talk.say(PriorityFrame(1, depends_on=0, stream_weight=1).serialize() + talk.caller.call())
    assert talk.caller.answer().status[1] == "0"


def test_an_unknown_frame_is_ignored():
    """RFC 9113 5.5."""
    talk = Talk()
    talk.say(frame(0xBE, 1, b"anything") + talk.caller.call())
    assert talk.caller.answer().status[1] == "0"
    assert not [each for each in talk.caller.frames if type(each) is Frame]
