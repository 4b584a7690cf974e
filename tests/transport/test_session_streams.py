"""Streaming calls as the sans-IO session speaks them."""

import pytest
from hyperframe.frame import WindowUpdateFrame

from ratelimitd.transport._nghttp2 import Session
from tests.transport.servers import STREAM
from tests.transport.wire import EXCLUSIVE, Caller, Talk, message

EXHAUSTED = "8"


def test_a_stream_takes_and_sends_messages():
    """Messages as they become whole, answers as they are sent, trailers when it finishes."""
    talk = Talk()
    talk.say(talk.caller.headers(path=STREAM) + talk.caller.data(message(b"one") + message(b"two")[:3], end=False))
    stream = talk.streams[0]
    assert (stream.take(), stream.take(), stream.half_closed) == (b"one", None, False)
    talk.say(talk.caller.data(message(b"two")[3:]))
    assert (stream.take(), stream.take(), stream.half_closed) == (b"two", None, True)
    stream.send(b"answer")
    talk.hear()
    stream.finish(5, "gone")
    talk.hear()
    answer = talk.caller.answer()
    assert (message(b"answer"), {"grpc-status": "5", "grpc-message": "gone"}) == (answer.body, answer.trailers)
    stream.send(b"late")
    assert (stream.closed, talk.session.unsent) == (True, 0)


def test_a_stream_that_is_not_taken_gets_no_more_window():
    """Messages nobody takes stay within the window; taking them gives it back."""
    talk = Talk()
    talk.say(talk.caller.headers(path=STREAM) + talk.caller.data(message(b"x" * 10_000) * 6, end=False))

    def granted():
        return [f for f in talk.caller.frames if isinstance(f, WindowUpdateFrame) and f.stream_id == 1]

    assert granted() == []
    stream = talk.streams[0]
    while stream.take() is not None:
        pass
    talk.hear()
    assert sum(frame.window_increment for frame in granted()) == 60_030


def test_a_stream_message_larger_than_the_window_arrives():
    """A message that is not whole does not hold its own window back."""
    talk = Talk()
    payload = message(b"x" * 300_000)
    talk.say(talk.caller.headers(path=STREAM))
    window = 65_535
    while payload:
        piece, payload = payload[: min(window, 16_384)], payload[min(16384, window) :]
        window -= len(piece)
        before = len(talk.caller.frames)
        talk.say(talk.caller.data(piece, end=False))
        window += sum(
            f.window_increment for f in talk.caller.frames[before:] if f.stream_id and hasattr(f, "window_increment")
        )
        assert window > 0
    assert len(talk.streams[0].take()) == 300_000


def test_an_oversized_stream_message_ends_the_stream():
    """RESOURCE_EXHAUSTED as trailers when answers are under way."""
    talk = Talk()
    talk.say(talk.caller.headers(path=STREAM))
    talk.streams[0].send(b"hello")
    talk.hear()
    talk.say(talk.caller.data(b"\0\x7f\xff\xff\xff", end=False))
    assert talk.caller.answer().trailers["grpc-status"] == EXHAUSTED
    assert talk.streams[0].closed


def test_a_stream_that_ends_is_counted_off():
    """Whoever still holds it: a call that its caller reset is in flight no more."""
    talk = Talk()
    talk.say(talk.caller.headers(path=STREAM))
    assert (len(talk.streams), talk.server.calls) == (1, 1)
    talk.say(talk.caller.reset())
    assert talk.server.calls == 0
    talk.streams.clear()
    assert talk.server.calls == 0


@pytest.mark.parametrize("bound", ["max_streaming", "max_connection_streaming"])
def test_streams_have_a_bound_of_their_own(bound):
    """One stream too many is RESOURCE_EXHAUSTED, unary calls are not, and one that ends makes room."""
    talk = Talk(**{bound: 2}, max_calls=1)
    talk.say(b"".join(talk.caller.headers(path=STREAM) for _ in range(3)))
    assert (len(talk.streams), talk.caller.answer().status[1]) == (2, EXHAUSTED)
    talk.say(talk.caller.call())
    assert talk.caller.answer().status[1] == "0"
    talk.say(talk.caller.reset(1) + talk.caller.headers(path=STREAM))
    assert len(talk.streams) == 3


def test_streams_of_another_connection_count_for_the_server_alone():
    """The bound of one connection is not spent by another."""
    talk = Talk(max_connection_streaming=1, max_streaming=2)
    talk.say(talk.caller.headers(path=STREAM))
    opened = []
    for admitted in (1, 1):
        other, caller = Session(talk.server, lambda: None, 0), Caller()
        other.feed(caller.start() + caller.headers(path=STREAM), 1)
        opened += other.take_opened()  # their streams keep the sessions
        assert admitted == len(opened)


def test_a_stream_that_is_dropped_ends():
    """A stream that its service forgets is INTERNAL with the next flush, and is counted off."""
    talk = Talk()
    talk.say(talk.caller.headers(path=STREAM))
    talk.streams.clear()
    assert (talk.session.call_dropped, talk.server.calls) == (True, 0)
    talk.hear()
    assert talk.caller.answer().status[1] == "13"


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
@pytest.mark.parametrize("ended", ["half-closed", "reset", "finished", "dropped"])
def test_an_exclusive_call_is_alone(ended):
    """A second one on the connection is refused, other streams are not; after the first, one may follow."""
    talk = Talk()
    talk.say(talk.caller.headers(path=EXCLUSIVE))
    first = talk.caller.last
    for _ in range(2):
        talk.say(talk.caller.headers(path=EXCLUSIVE))
        assert talk.caller.answer().status[1] == "8"
    talk.say(talk.caller.headers(path=STREAM))
    assert len(talk.streams) == 2
    if ended == "finished":
        talk.streams[0].finish(0, "")
        talk.hear()
    elif ended == "dropped":
        del talk.streams[0]
        talk.hear()
    else:
        talk.say(talk.caller.data(b"", stream=first) if ended == "half-closed" else talk.caller.reset(first))
    known = len(talk.streams)
    talk.say(talk.caller.headers(path=EXCLUSIVE) + talk.caller.headers(path=EXCLUSIVE))
    assert len(talk.streams) == known + 1
    assert talk.caller.answer().status[1] == "8"


def test_an_exclusive_call_that_came_whole_makes_way():
    """Calls whose messages are all there hold no place: each of many in one read is served."""
    talk = Talk()
    talk.say(b"".join(talk.caller.call(path=EXCLUSIVE) for _ in range(5)))
    assert len(talk.streams) == 5
