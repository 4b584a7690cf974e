"""gRPC over HTTP/2 as the sans-IO session speaks it: frames made by hand, no socket, no clock."""

import gc
import gzip
import zlib

import pytest
from hyperframe.frame import PingFrame

from ratelimitd.transport._nghttp2 import Session
from tests.transport.servers import ECHO
from tests.transport.wire import Caller, Talk, message

UNIMPLEMENTED, INTERNAL, EXHAUSTED = "12", "13", "8"
ACCEPTED = "identity, deflate, gzip"


def test_a_call_is_answered():
    """Headers, message, trailers: a plain answer has these and nothing else."""
    talk = Talk()
    talk.say(talk.caller.call(b"hello"))
    answer = talk.caller.answer()
    assert answer.headers == {":status": "200", "content-type": "application/grpc"}
    assert (message(b"hello"), {"grpc-status": "0"}, None) == (answer.body, answer.trailers, answer.reset)
    assert (talk.session.open_calls, talk.session.unsent, talk.session.buffered, talk.server.calls) == (0, 0, 0, 0)


def test_a_request_may_be_cut_anywhere():
    """However the bytes of a connection are cut in two, preface and all, the call arrives once, whole."""
    caller = Caller()
    stream = caller.start() + caller.call(b"hello", path=ECHO)
    for cut in range(1, len(stream)):
        talk = Talk()
        talk.session, talk.caller = Session(talk.server, lambda: None, 0), Caller()
        talk.say(stream[:cut])
        talk.say(stream[cut:])
        talk.caller.last = 1
        assert [call.body for call in talk.calls] == [b"hello"], cut
        assert talk.caller.answer().status == ("200", "0", None), cut


def test_a_request_may_come_byte_by_byte():
    """The same, one byte a read, message in one-byte frames."""
    talk = Talk()
    request = talk.caller.headers() + b"".join(talk.caller.data(bytes([b]), end=False) for b in message(b"hello"))
    for byte in request + talk.caller.data(b""):
        talk.say(bytes([byte]))
    assert message(b"hello") == talk.caller.answer().body


def test_the_calls_of_one_read_come_together():
    """All calls that one read completed are one list for each method, in order."""
    talk = Talk()
    paths = [ECHO, ECHO, "/test.Service/Other", ECHO, "/test.Service/Other"]
    talk.say(b"".join(talk.caller.call(b"%d" % n, path=path) for n, path in enumerate(paths)))
    assert talk.groups == [("echo", 3), ("other", 2)]
    assert [call.body for call in talk.calls] == [b"0", b"1", b"3", b"2", b"4"]


def refused(talk, *extra, payload=None, **named):
    """What a call gets that never reaches a handler."""
    payload = message(b"hello") if payload is None else payload
    end = payload == b""
    talk.say(talk.caller.headers(*extra, end=end, **named) + (b"" if end else talk.caller.data(payload)))
    assert talk.calls == []
    return talk.caller.answer()


@pytest.mark.parametrize(
    ("status", "text", "request_"),
    [
        (UNIMPLEMENTED, "unknown method", {"path": "/test.Service/Nothing"}),
        (UNIMPLEMENTED, "unknown method", {"path": ECHO + "o"}),
        (INTERNAL, "missing message", {"payload": b""}),
        (INTERNAL, "truncated message", {"payload": message(b"hello")[:-1]}),
        (INTERNAL, "truncated message", {"payload": b"\0\0\0"}),
        (INTERNAL, "unary call has more than one message", {"payload": message(b"a") + message(b"b")}),
        (INTERNAL, "unary call has more than one message", {"payload": message(b"a") + b"\0"}),
        (EXHAUSTED, "message too large", {"payload": b"\0\x7f\xff\xff\xff"}),
    ],
)
def test_a_call_that_will_not_do_is_refused(status, text, request_):
    """Each is answered in one header block that says why, and the next call on the connection is served."""
    talk = Talk()
    answer = refused(talk, **request_)
    assert ("200", status, text) == answer.status
    assert (answer.body, answer.trailers) == (b"", {})
    talk.say(talk.caller.call())
    assert talk.caller.answer().status == ("200", "0", None)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_message_is_unpacked(encoding, pack):
    """The handler reads what was meant; the answer is plain, and names what is accepted."""
    talk = Talk()
    talk.say(talk.caller.headers(("grpc-encoding", encoding)) + talk.caller.data(message(pack(b"hello"), flag=1)))
    answer = talk.caller.answer()
    assert (answer.status, answer.body) == (("200", "0", None), message(b"hello"))
    assert answer.headers["grpc-accept-encoding"] == ACCEPTED
    assert (talk.session.buffered, talk.server.calls) == (0, 0)


@pytest.mark.parametrize(
    ("status", "encoding", "payload"),
    [
        (UNIMPLEMENTED, "snappy", message(b"packed", flag=1)),
        (UNIMPLEMENTED, "GZIP", message(b"packed", flag=1)),
        (INTERNAL, "identity", message(b"packed", flag=1)),
        (INTERNAL, None, message(b"packed", flag=1)),
        (INTERNAL, "gzip", message(gzip.compress(b"x"), flag=2)),
        (INTERNAL, "gzip", message(zlib.compress(b"x"), flag=1)),
        (INTERNAL, "deflate", message(gzip.compress(b"x"), flag=1)),
        (INTERNAL, "gzip", message(b"", flag=1)),
        (INTERNAL, "gzip", message(gzip.compress(b"hello")[:-1], flag=1)),
        (INTERNAL, "gzip", message(gzip.compress(b"hello")[:-5] + b"12345", flag=1)),
        (INTERNAL, "gzip", message(gzip.compress(b"hello") + b"more", flag=1)),
        (EXHAUSTED, "gzip", message(gzip.compress(bytes((1 << 20) + 1)), flag=1)),
        (EXHAUSTED, "gzip", b"\1\x7f\xff\xff\xff"),
    ],
)
def test_what_cannot_be_unpacked_is_refused(status, encoding, payload):
    """UNIMPLEMENTED with the accepted encodings, else the caller's error; the next call of the connection is served."""
    talk = Talk()
    answer = refused(talk, *([("grpc-encoding", encoding)] if encoding else []), payload=payload)
    assert (answer.status[0], answer.status[1], talk.server.calls) == ("200", status, 0)
    assert status != UNIMPLEMENTED or answer.headers["grpc-accept-encoding"] == ACCEPTED
    talk.say(talk.caller.call())
    assert talk.caller.answer().status == ("200", "0", None)


def test_an_encoding_is_no_matter_for_a_plain_message():
    """A caller may name an encoding and not use it."""
    talk = Talk()
    talk.say(talk.caller.headers(("grpc-encoding", "gzip")) + talk.caller.data(message(b"plain")))
    assert message(b"plain") == talk.caller.answer().body


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        ("415", {"content": "text/html"}),
        ("415", {"content": "application/grpc-web"}),
        ("415", {"content": "application/grpc+"}),
        ("415", {"content": "application/grpc+ ;x=y"}),
        ("415", {"content": "application/grpc x"}),
        ("415", {"without": ("content-type",)}),
        ("405", {"method": "GET"}),
    ],
)
def test_what_is_not_grpc_gets_an_http_status(status, request_):
    """A browser is told in its own words, and which method is served."""
    answer = refused(Talk(), **request_)
    assert (answer.headers[":status"], answer.headers["allow"]) == (status, "POST")
    assert (answer.headers["content-type"], answer.trailers) == ("text/plain", {})
    assert b"only gRPC is served here" in answer.body


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("application/grpc", "application/grpc"),
        ("application/grpc+proto", "application/grpc+proto"),
        ("application/grpc+json", "application/grpc"),
        ("application/grpc;charset=utf-8", "application/grpc"),
        ("application/grpc \t;charset=utf-8", "application/grpc"),
        ("Application/GRPC", "application/grpc"),
        ("APPLICATION/grpc+Proto ; x=y", "application/grpc+proto"),
    ],
)
def test_the_content_type_is_answered(asked, told):
    """+proto is answered with +proto."""
    talk = Talk()
    talk.say(talk.caller.call(content=asked))
    assert told == talk.caller.answer().headers["content-type"]


@pytest.mark.scenario("messages that are too large")
@pytest.mark.parametrize(
    "extra", [[("x", "y")] * 95, [("x", "y" * 16_000), ("z", "y" * 300)]], ids=["too many", "too large"]
)
def test_headers_have_bounds(extra):
    """One header too many, or one byte: RESOURCE_EXHAUSTED, and the connection lives on."""
    talk = Talk()
    assert refused(talk, *extra).status == ("200", EXHAUSTED, "header count or size exceeds the limit")
    talk.say(talk.caller.headers(*extra[:1]) + talk.caller.data(message(b"fewer")))
    assert talk.caller.answer().status == ("200", "0", None)


@pytest.mark.parametrize(
    ("value", "microseconds"),
    [
        ("1H", 3_600_000_000),
        ("2M", 120_000_000),
        ("3S", 3_000_000),
        ("20m", 20_000),
        ("99999999u", 99_999_999),
        ("1500n", 2),
        ("0S", 0),
    ],
)
def test_grpc_timeout_becomes_a_deadline(value, microseconds):
    """Each unit is read; the deadline is that long after the headers arrived."""
    talk = Talk()
    talk.now = 1_000_000
    talk.say(talk.caller.headers(("grpc-timeout", value)))
    talk.now += 5_000
    talk.say(talk.caller.data(message(b"")))
    assert 1_000_000 + microseconds == talk.calls[0].deadline


@pytest.mark.parametrize("value", ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", "+1S"])
def test_a_malformed_grpc_timeout_is_an_error(value):
    """A budget that cannot be read is not taken for none."""
    assert refused(Talk(), ("grpc-timeout", value)).status[1] == INTERNAL


def test_metadata_is_readable_when_it_is_kept():
    """ASCII values as they are, binary ones decoded, repeated ones as a list; nothing without the option."""
    fields = [("x-one", "1"), ("x-one", "2"), ("x-two-bin", "AAE,/w"), ("grpc-timeout", "1S")]
    for kept in (True, False):
        talk = Talk(metadata=kept)
        talk.say(talk.caller.headers(*fields) + talk.caller.data(message(b"")))
        metadata = talk.calls[0].metadata
        assert ({"x-one": [b"1", b"2"], "x-two-bin": [b"\0\1", b"\xff"]} if kept else {}) == {
            name: values for name, values in metadata.items() if name.startswith("x-")
        }


def test_a_call_cancelled_in_the_same_read_reaches_nobody():
    """A call and its reset in one read: no handler works for nobody."""
    talk = Talk()
    talk.say(talk.caller.call() + talk.caller.reset())
    assert (talk.calls, talk.session.open_calls, talk.server.calls) == ([], 0, 0)


def test_a_cancelled_call_can_still_be_answered():
    """An answer after the reset says nothing, wakes nobody into a loop, and is counted off."""
    talk = Talk(serve=False)
    talk.say(talk.caller.call() + talk.caller.call())
    one, two = talk.calls
    talk.say(talk.caller.reset(1) + talk.caller.reset(3))
    before = len(talk.caller.frames)
    one.respond(b"late")
    two.fail(14, "late")
    talk.hear()
    assert (before, 0, True) == (len(talk.caller.frames), talk.server.calls, one.answered)


def test_a_closed_session_has_nothing_to_say():
    """Whatever is asked of a session after ``close`` does nothing."""
    talk = Talk(serve=False)
    talk.say(talk.caller.call())
    talk.session.close()
    talk.session.close()
    talk.session.shutdown_notice()
    talk.session.goaway()
    assert talk.session.feed(talk.caller.call(), 2) == ()
    assert (talk.session.flush(), talk.session.done, talk.session.open_calls) == (b"", True, 0)


def test_a_call_that_is_dropped_ends():
    """A call that its service forgets is INTERNAL with the next answer, not a caller that waits for ever."""
    talk = Talk(serve=False)
    talk.say(talk.caller.call() + talk.caller.call())
    del talk.calls[1]
    talk.calls[0].respond(b"")
    talk.hear()
    assert talk.caller.answer().status[1] == INTERNAL
    assert talk.server.calls == 0


def test_a_call_that_is_dropped_later_asks_for_a_flush():
    """Nothing else need happen on the connection for its caller to be told; nobody is woken by a collection."""
    talk = Talk(serve=False)
    talk.say(talk.caller.call())
    assert not talk.session.call_dropped
    talk.calls.clear()
    assert (talk.session.call_dropped, talk.woken) == (True, 0)
    talk.hear()
    assert (talk.caller.answer().status[1], talk.session.call_dropped) == (INTERNAL, False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (" a reason ", "%20a reason%20"),
        (" ", "%20"),
        ("100 %\n", "100 %25%0A"),
        ("x" + "\u00e9" * 600, "x" + "%C3%A9" * 511),
    ],
)
def test_an_error_says_all_its_text(text, told):
    """What a header cannot carry is encoded, spaces at its ends among it; what is too long ends with a character."""
    talk = Talk(serve=False)
    talk.say(talk.caller.call())
    talk.calls[0].fail(13, text)
    talk.hear()
    assert told == talk.caller.answer().status[2]


def test_calls_outlive_their_session():
    """A call answered after its connection closed, or its session is gone, does nothing."""
    talk = Talk(serve=False)
    talk.say(talk.caller.call() + talk.caller.call() + talk.caller.headers())
    one, two = talk.calls
    service = talk.server
    talk.session.close()
    one.respond(b"late")
    del talk
    gc.collect()
    two.fail(14, "later")
    assert service.calls == 0


@pytest.mark.parametrize("size", [0, 1, 20_000, 1 << 20])
def test_an_answer_passes_any_window(size):
    """Whatever the windows are, an answer arrives whole, never more at once than was granted."""
    talk = Talk(serve=False, settings={4: 1})
    talk.say(talk.caller.call())
    body = bytes(n % 251 for n in range(size))
    talk.calls[0].respond(body)
    talk.hear()
    granted = 1
    while len(talk.caller.answer().body) < size + 5:
        assert granted == len(talk.caller.answer().body)
        step = min(granted * 3 + 1, 60_000)
        granted = min(granted + step, size + 5)
        talk.say(talk.caller.window(step, 1) + talk.caller.window(step))
    assert message(body) == talk.caller.answer().body
    assert talk.caller.answer().trailers == {"grpc-status": "0"}
    assert talk.session.unsent == 0


def test_a_request_that_does_not_end_is_not_being_served():
    """Calls that are not whole are open and do not keep a connection from being idle; whole ones do until answered."""
    talk = Talk(serve=False)
    talk.say(talk.caller.headers() + talk.caller.call())
    assert (talk.session.open_calls, talk.session.in_flight) == (2, 1)
    talk.calls[0].respond(b"")
    talk.hear()
    assert (talk.session.open_calls, talk.session.in_flight) == (1, 0)


def test_a_refused_caller_is_told_to_stop_sending():
    """A call that is over before its caller has sent all is reset with NO_ERROR after its trailers."""
    talk = Talk()
    talk.say(talk.caller.headers(path="/test.Service/Nothing"))
    assert (talk.caller.answer().status[1], talk.caller.answer().reset) == (UNIMPLEMENTED, 0)
    assert talk.session.open_calls == 0


def test_one_wake_for_many_answers():
    """Answers given later ask for one flush, and none when the flush is due anyway."""
    talk = Talk(serve=False)
    talk.say(b"".join(talk.caller.call() for _ in range(3)))
    assert talk.woken == 0
    for call in talk.calls:
        call.respond(b"")
    assert talk.woken == 1


def test_a_drain_is_a_notice_a_ping_and_a_last_call():
    """GOAWAY 2^31-1 and PING; calls are still taken; PONG; GOAWAY with the last call; later ones are ignored."""
    talk = Talk()
    talk.session.shutdown_notice()
    talk.hear()
    assert talk.caller.goaways() == [(2**31 - 1, 0)]
    assert any(isinstance(frame, PingFrame) for frame in talk.caller.frames)
    talk.say(talk.caller.call(b"taken"))
    assert not talk.session.pong
    talk.say(PingFrame(0, bytes(8), flags=["ACK"]).serialize())
    assert talk.session.pong
    talk.session.goaway()
    talk.hear()
    assert talk.caller.goaways() == [(2**31 - 1, 0), (1, 0)]
    talk.say(talk.caller.call(b"ignored"))
    assert [call.body for call in talk.calls] == [b"taken"]
    assert talk.session.done


def test_a_drained_session_is_not_done_before_its_calls():
    """What was accepted is answered after the last GOAWAY."""
    talk = Talk(serve=False)
    talk.say(talk.caller.call(b"taken"))
    talk.session.goaway()
    talk.hear()
    assert not talk.session.done
    talk.calls[0].respond(b"answer")
    talk.hear()
    assert (message(b"answer"), True) == (talk.caller.answer().body, talk.session.done)


def test_a_garbage_preface_ends_the_connection():
    """What is not HTTP/2 gets GOAWAY and nothing else."""
    talk = Talk()
    talk.session = Session(talk.server, lambda: None, 0)
    talk.caller = Caller()
    talk.say(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
    assert talk.caller.goaways() == [(0, 1)]
    assert talk.session.done
