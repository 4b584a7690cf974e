"""What the sans-IO session holds at most, of one connection and of all."""

import gc
import gzip

import pytest

from ratelimitd.transport import GrpcError, GrpcStatus
from ratelimitd.transport._nghttp2 import Session
from tests.transport.servers import STREAM
from tests.transport.wire import Caller, Talk, heap, message

pytestmark = pytest.mark.alone

INTERNAL, EXHAUSTED = "13", "8"
GZIP = ("grpc-encoding", "gzip")
BOMB = message(gzip.compress(bytes(128 << 10)), flag=1)  # 166 bytes


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
def test_unread_answers_have_a_bound():
    """A caller that grants no window gets RESOURCE_EXHAUSTED once too much waits for it."""
    talk = Talk(settings={4: 0}, max_unsent=10_000)
    for _ in range(5):
        talk.say(talk.caller.call(b"x" * 4000))
    assert talk.session.unsent <= 10_000 + 4005
    assert talk.caller.answer().status[1] == EXHAUSTED


def test_requests_in_flight_have_a_bound_in_bytes():
    """A connection has as much in flight as is free, so others have the rest; what is answered is free again."""
    talk, other = (Talk(serve=False, max_bodies=10_000) for _ in range(2))
    other.session, other.caller = Session(talk.server, other._wake, 0), Caller()
    other.say(other.caller.start())
    for each in (talk, other):
        each.say(b"".join(each.caller.call(bytes(1_000)) for _ in range(20)))
    assert (len(talk.calls), len(other.calls)) == (5, 2)
    assert talk.caller.answer().status == ("200", "8", "too much request data in flight")
    for call in talk.calls:
        call.respond(b"")
    talk.calls.clear()
    talk.say(b"".join(talk.caller.call(bytes(1_000)) for _ in range(20)))
    assert len(talk.calls) == 4
    talk.session.close()
    talk.calls.clear()
    other.say(b"".join(other.caller.call(bytes(1_000)) for _ in range(20)))
    assert len(other.calls) == 5


def test_unread_answers_of_calls_in_flight_have_a_bound():
    """Calls that were taken before too much waited are RESOURCE_EXHAUSTED, not more bytes that wait."""
    talk = Talk(serve=False, settings={4: 0}, max_unsent=10_000)
    talk.say(b"".join(talk.caller.call() for _ in range(50)))
    for call in talk.calls:
        call.respond(b"x" * 4000)
    talk.hear()
    assert talk.session.unsent <= 10_000 + 4005
    assert (talk.caller.answer().status[1], talk.server.calls) == (EXHAUSTED, 0)


def test_unfinished_messages_of_all_connections_have_a_bound():
    """What one connection holds, another cannot; when it is gone, another can."""
    talk = Talk(max_buffered=100_000)
    other = Session(talk.server, lambda: None, 0)
    caller = Caller()
    piece = message(b"x" * 900_000)[:60_000]
    other.feed(caller.start() + caller.headers() + caller.data(piece, end=False), 1)
    talk.say(talk.caller.headers() + talk.caller.data(piece, end=False))
    assert talk.caller.answer().status[1:] == (EXHAUSTED, "too much buffered request data")
    other.close()
    talk.say(talk.caller.headers() + talk.caller.data(piece, end=False))
    assert (talk.caller.answer().headers, talk.session.buffered // 1_000) == ({}, 60)


def test_unfinished_messages_have_a_bound():
    """Many calls that each send most of a large message: the ones over the bound are refused."""
    talk = Talk(max_connection_buffered=1 << 20)
    piece = message(b"x" * 900_000)[:60_000]
    for _ in range(20):
        talk.say(talk.caller.headers() + talk.caller.data(piece, end=False))
    assert talk.session.buffered <= 1 << 20
    assert talk.caller.answer().status[1] == EXHAUSTED


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
def test_texts_that_wait_for_a_window_have_a_bound():
    """What is not gRPC is told so in a text, which waits for the client's window; past the bound there is no text."""
    talk = Talk(settings={4: 0}, max_connection_buffered=100_000)
    for _ in range(500):
        talk.say(talk.caller.headers(method="GET", end=True))
    assert talk.session.buffered <= 101_000
    assert talk.session.open_calls < 200
    assert talk.caller.answer().headers[":status"] == "405"


def test_a_head_gets_no_text():
    """RFC 9110 9.3.2."""
    talk = Talk()
    talk.say(talk.caller.headers(method="HEAD", end=True))
    assert (talk.caller.answer().headers[":status"], talk.caller.answer().body) == ("405", b"")


def test_one_call_too_many_is_refused():
    """Over max_calls, and until an earlier one is answered or dropped."""
    talk = Talk(serve=False, max_calls=2)
    talk.say(b"".join(talk.caller.call() for _ in range(3)))
    assert 2 == len(talk.calls) == talk.server.calls
    assert talk.caller.answer().status[1] == EXHAUSTED
    talk.calls.pop().respond(b"")
    assert talk.server.calls == 1
    talk.calls.clear()
    assert talk.server.calls == 0


@pytest.mark.slow
@pytest.mark.scenario("clients that flood, reset streams, or do not read")
def test_memory_stays_flat():
    """Ten thousand calls of every fate leave no memory behind."""

    def live():
        talk = Talk(serve=False, wasted_frames=1 << 30, metadata=True)
        for _ in range(100):
            talk.say(b"".join(talk.caller.call(b"x" * 100) for _ in range(10)))
            for n, call in enumerate(talk.calls):
                if n % 3:
                    call.respond(b"y" * 1000)
            talk.calls.clear()
            talk.say(talk.caller.call() + talk.caller.reset())
            talk.say(talk.caller.headers(path="/nothing") + talk.caller.headers() + talk.caller.reset())
            talk.say(talk.caller.headers(path=STREAM) + talk.caller.data(message(b"m"), end=False))
            talk.streams.pop().send(b"unread")
            talk.caller.frames.clear()
            for stream in range(talk.caller.last - 40, talk.caller.last + 1, 2):
                talk.say(talk.caller.reset(max(1, stream)))
        talk.session.close()

    for _ in range(3):
        live()
    gc.collect()
    before = heap()
    for _ in range(10):
        live()
    gc.collect()
    assert heap() - before < 100_000


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
def test_what_one_read_unpacks_to_has_a_bound():
    """Of a read full of small messages that unpack to the maximum, three are unpacked; the others are refused alone."""
    talk = Talk(serve=False, max_message=128 << 10)
    talk.say(b"".join(talk.caller.headers(GZIP) + talk.caller.data(BOMB) for _ in range(200)))
    assert [len(call.body) for call in talk.calls] == [128 << 10] * 3
    statuses = [talk.caller.answer(1 + 2 * n).status for n in range(3, 200)]
    assert statuses == [("200", EXHAUSTED, "too many compressed messages at once")] * 197
    assert (talk.session.buffered, talk.server.calls, talk.session.open_calls) == (0, 3, 3)
    talk.say(talk.caller.headers(GZIP) + talk.caller.data(BOMB) + talk.caller.call())
    assert len(talk.calls) == 5


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (EXHAUSTED, gzip.compress(bytes((128 << 10) + 1))),
        (INTERNAL, gzip.compress(bytes(128 << 10))[:-1] + b"x"),
    ],
)
def test_messages_that_fail_to_unpack_count_too(status, payload):
    """A message that is refused costs as much work as the largest one: after three of a read no more are unpacked."""
    talk = Talk(serve=False, max_message=128 << 10)
    bomb = message(payload, flag=1)
    talk.say(b"".join(talk.caller.headers(GZIP) + talk.caller.data(bomb) for _ in range(200)))
    answers = [talk.caller.answer(1 + 2 * n).status for n in range(200)]
    assert [answer[1] for answer in answers[:3]] == [status] * 3
    assert answers[3:] == [("200", EXHAUSTED, "too many compressed messages at once")] * 197


def test_a_stream_unpacks_within_the_bound_of_a_message():
    """A message that unpacks to more ends the stream's iteration with the status that its handler must give."""
    talk = Talk(max_message=128 << 10)
    over = message(gzip.compress(bytes((128 << 10) + 1)), flag=1)
    talk.say(talk.caller.headers(GZIP, path=STREAM) + talk.caller.data(BOMB + message(b"plain") + over, end=False))
    stream = talk.streams[0]
    assert (len(stream.take()), stream.take()) == (128 << 10, b"plain")
    with pytest.raises(GrpcError, match="too large") as caught:
        stream.take()
    assert caught.value.status is GrpcStatus.RESOURCE_EXHAUSTED
