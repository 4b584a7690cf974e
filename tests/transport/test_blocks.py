"""Header blocks that repeat: one that is known means what libnghttp2 would find in it each time."""

import random

import pytest
from hyperframe.frame import HeadersFrame, SettingsFrame

from tests.transport.servers import ECHO
from tests.transport.wire import Caller, Talk, message

OTHER = "/test.Service/Other"
TIMEOUT = ("grpc-timeout", "20m")
HEADER_TABLE_SIZE = 1


def block(caller, **named):
    """The header block of the next call."""
    caller.last -= 2
    head = caller.headers(**named)
    return head[9:]


def sent(caller, header_block):
    """A call with this header block."""
    caller.last += 2
    head = HeadersFrame(caller.last, header_block, flags=["END_HEADERS"]).serialize()
    return head + caller.data(message(b"hello"))


def test_a_repeated_call_is_a_call():
    """It has its own message, a deadline from its own time, and the content type and answer of its own block."""
    talk = Talk()
    for now in range(1_000, 10_000, 1_000):
        talk.now = now
        for content in ("application/grpc", "application/grpc+proto"):
            talk.say(talk.caller.call(b"%d" % now, content=content))
            answer = talk.caller.answer()
            assert (answer.headers["content-type"], answer.body) == (content, message(b"%d" % now))
            assert answer.status == ("200", "0", None)
        talk.say(talk.caller.headers(TIMEOUT) + talk.caller.data(message(b"late")))
        assert [call.deadline for call in talk.calls[-3:]] == [0, 0, now + 20_000]
    assert (talk.session.open_calls, talk.session.buffered, talk.server.calls) == (0, 0, 0)


def test_the_same_bytes_mean_what_the_table_says():
    """A block of references is decoded again after a block that has moved what they refer to."""
    talk = Talk()
    talk.say(talk.caller.call(path=ECHO))
    references = block(talk.caller, path=ECHO)
    for _ in range(3):
        talk.say(sent(talk.caller, references))
    assert talk.groups[-1] == ("echo", 1)
    talk.say(sent(talk.caller, block(Caller(), path=OTHER)))  # four new fields, in the places of the old ones
    talk.say(sent(talk.caller, references))
    assert talk.groups[-2:] == [("other", 1), ("other", 1)]


def test_a_content_length_is_compared_each_time():
    """With each message, also when the block that has it is repeated."""
    talk = Talk()
    length = ("content-length", "10")
    for _ in range(3):
        talk.say(talk.caller.headers(length) + talk.caller.data(message(b"hello")))
        assert talk.caller.answer().status == ("200", "0", None)
    talk.say(talk.caller.headers(length) + talk.caller.data(message(b"hello, longer")))
    assert talk.caller.answer().reset == 1  # PROTOCOL_ERROR
    assert len(talk.calls) == 3


def test_metadata_of_repeated_blocks_is_kept():
    """A server that keeps metadata has it of each call."""
    talk = Talk(metadata=True)
    for _ in range(4):
        talk.say(talk.caller.headers(("x-name", "value")) + talk.caller.data(message(b"hello")))
        assert talk.calls[-1].metadata["x-name"] == [b"value"]


def test_a_known_block_is_no_request_as_trailers():
    """A client that ends a call with the block that began it breaks the rules of trailers, known block or not."""
    talk = Talk()
    for _ in range(3):
        talk.say(talk.caller.call())
    references = block(talk.caller)
    talk.caller.last += 2
    begin = talk.caller.headers() + talk.caller.data(message(b"hello"), end=False)
    talk.say(begin + HeadersFrame(talk.caller.last, references, flags=["END_HEADERS", "END_STREAM"]).serialize())
    assert (len(talk.calls), talk.caller.answer().reset) == (3, 1)


def test_repeated_calls_may_be_cut_anywhere():
    """However the bytes of several equal calls are cut, each arrives once."""
    caller = Caller()
    stream = caller.start() + b"".join(caller.call(b"%d" % n) for n in range(4))
    for cut in range(1, len(stream)):
        talk = Talk()
        talk.session, talk.caller = type(talk.session)(talk.server, lambda: None, 0), Caller()
        talk.say(stream[:cut])
        talk.say(stream[cut:])
        assert [call.body for call in talk.calls] == [b"0", b"1", b"2", b"3"], cut
        assert [talk.caller.answer(stream).status for stream in (1, 3, 5, 7)] == 4 * [("200", "0", None)], cut


def test_trailers_mean_ok_after_other_answers():
    """An answer whose fields enter the table moves the field of the trailers, which the next ones refer to."""
    talk = Talk()
    for turn in range(20):
        for _ in range(3):
            talk.say(talk.caller.call())
            assert talk.caller.answer().status == ("200", "0", None)
        talk.serve = False
        talk.say(talk.caller.call())
        talk.calls[-1].fail(3, f"error {turn}")
        talk.hear()
        assert talk.caller.answer().status == ("200", "3", f"error {turn}")
        talk.serve = True


@pytest.mark.parametrize("size", [0, 40, 100])
def test_trailers_follow_the_table_of_the_client(size):
    """A client that makes its table smaller forgets fields; trailers that wait for its window do not refer to them."""
    talk = Talk()
    for _ in range(4):
        talk.say(talk.caller.call())
    body = bytes(70_000)
    talk.say(talk.caller.call(body))
    assert talk.caller.answer().trailers == {}
    talk.say(SettingsFrame(0, {HEADER_TABLE_SIZE: size}).serialize())
    talk.caller.decoder.max_allowed_table_size = size
    talk.say(talk.caller.window(100_000, talk.caller.last) + talk.caller.window(1 << 20))
    assert talk.caller.answer().body == message(body)
    assert talk.caller.answer().status == ("200", "0", None)
    for _ in range(4):
        talk.say(talk.caller.call())
        assert talk.caller.answer().status == ("200", "0", None)


def test_a_message_that_waits_for_its_window_has_its_trailers_behind_it():
    """A response cut by the client's window ends with its trailers, after its last byte."""
    talk = Talk()
    for _ in range(4):
        talk.say(talk.caller.call())
    talk.say(SettingsFrame(0, {4: 7}).serialize())
    talk.say(talk.caller.call())
    talk.say(talk.caller.call(b"a longer message"))
    assert talk.caller.answer().trailers == {}
    talk.say(talk.caller.window(7, talk.caller.last))
    assert talk.caller.answer().trailers == {}
    talk.say(talk.caller.window(100, talk.caller.last))
    assert talk.caller.answer().body == message(b"a longer message")
    assert talk.caller.answer().status == ("200", "0", None)


LENGTH = ("content-length", "10")
PATHS = {ECHO: "echo", OTHER: "other", "/test.Service/Nothing": None}
EXTRAS = (
    [],
    [TIMEOUT],
    [("x-a", "1")],
    [("x-a", "2"), TIMEOUT],
    [("x-large", "v" * 2_000)],
    [LENGTH],
)


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_blocks_means_what_was_sent(seed):
    """Calls of many kinds, in reads of any size, repeat and change their fields; each is answered as it was meant."""
    chance, talk, meant = random.Random(seed), Talk(wasted_frames=1 << 20), []
    said, timed = b"", 0
    for _ in range(300):
        path, extra = chance.choice(list(PATHS)), chance.choice(EXTRAS)
        end = chance.random() < 0.05
        said += talk.caller.headers(*extra, path=path, end=end) + (b"" if end else talk.caller.data(message(b"hello")))
        status = "12" if PATHS[path] is None else "13" if end else "0"
        reset = 1 if end and extra == [LENGTH] else None  # the length of a message that is not there
        meant.append((talk.caller.last, (None if reset else status, reset)))
        timed += TIMEOUT in extra and status == "0"
        while len(said) > 4_000:
            size = chance.randrange(1, 4_000)
            talk.say(said[:size])
            said = said[size:]
    talk.say(said)
    answers = [(stream, talk.caller.answer(stream)) for stream, _ in meant]
    got = [
        (stream, ({**each.headers, **each.trailers}.get("grpc-status"), each.reset or None)) for stream, each in answers
    ]
    assert got == meant
    assert sum(call.deadline > 0 for call in talk.calls) == timed
