"""What a client holds by leaving requests incomplete or responses unread: bytes in a sum, and its time."""

import gc

import pytest
from hyperframe.frame import HeadersFrame

from ratelimitd.transport._nghttp2 import Session
from tests.transport.servers import STREAM
from tests.transport.wire import Caller, Talk, heap, message

DEADLINE_EXCEEDED, EXHAUSTED = "4", "8"
CALLS = 1_000
SECOND = 1_000_000
HELD = pytest.mark.scenario("clients that flood, reset streams, or do not read")


def held_by(open_calls, **named):
    """Bytes of the heap, and bytes in the sum, that what ``open_calls`` says holds."""
    talk = Talk(serve=False, max_unsent=1 << 30, **named)
    said = open_calls(talk.caller)
    gc.collect()
    before, counted = heap(), talk.session.buffered
    for name_, calls in talk.session.feed(said, talk.now):
        for call in calls:
            call.respond(b"")
        assert name_ == "echo"
        call = calls.clear()
    while talk.session.flush():
        pass
    return heap() - before, talk.session.buffered - counted


def half_open(caller):
    return b"".join(caller.headers() for _ in range(CALLS))


def half_sent(caller):
    piece = message(b"x" * 5_000)[:4_000]
    return b"".join(
        caller.headers() + b"".join(caller.data(piece[at : at + 500], end=False) for at in range(0, 4_000, 500))
        for _ in range(CALLS)
    )


def unread(caller):
    return b"".join(caller.call(b"") for _ in range(CALLS))


@pytest.mark.alone
@HELD
@pytest.mark.parametrize(
    ("open_calls", "named"),
    [(half_open, {}), (half_open, {"metadata": True}), (half_sent, {}), (unread, {"settings": {4: 0}})],
    ids=["half open", "half open, headers kept", "half sent", "unread"],
)
def test_what_a_call_holds_is_counted(open_calls, named):
    """The sum has no less than a client makes the heap hold, within a quarter, and no more than twice as much."""
    if not heap():
        pytest.skip("a sanitizer's malloc does not say what it has handed out")
    heaped, counted = held_by(open_calls, **named, max_connection_buffered=1 << 30)
    assert heaped <= 1.25 * counted <= 2.5 * heaped


def connected(talk):
    """One more connection to the server of a talk, and its caller."""
    caller, session = Caller(), Session(talk.server, lambda: None, 0)
    feed(session, caller.start())
    return session, caller


def feed(session, said):
    """Feed bytes; forget the calls and what comes back."""
    session.feed(said, 1)
    while session.flush():
        pass


@pytest.mark.alone
@HELD
def test_more_bytes_sent_hold_no_more():
    """Past the bound of all connections, half-open calls of any of them hold nothing of what they send."""
    talk = Talk(max_buffered=200_000)
    connections = [connected(talk) for _ in range(10)]
    for session, caller in connections:
        feed(session, half_open(caller))
    said = [half_open(caller) for _, caller in connections]
    gc.collect()
    before = heap()
    for (session, _), each in zip(connections, said, strict=True):
        feed(session, each)
    assert heap() - before < sum(map(len, said)) / 10
    assert 190_000 < sum(session.buffered for session, _ in connections) <= 200_000


@HELD
def test_half_open_calls_have_a_bound():
    """The newest calls over the bound are refused, the oldest stay, and all is given back."""
    talk = Talk(max_connection_buffered=100_000)
    talk.say(half_open(talk.caller))
    statuses = [talk.caller.answer(1 + 2 * n).headers.get("grpc-status") for n in range(CALLS)]
    kept = statuses.index(EXHAUSTED)
    assert (set(statuses[:kept]), set(statuses[kept:])) == ({None}, {EXHAUSTED})
    assert talk.session.open_calls == kept
    assert 100_000 * 0.9 < talk.session.buffered <= 100_000
    talk.say(b"".join(talk.caller.data(message(b"whole"), stream=1 + 2 * n) for n in range(kept)))
    assert (len(talk.calls), talk.session.buffered) == (kept, 0)


@HELD
def test_a_closed_connection_gives_back_what_it_held():
    """Half-open calls and unread responses of one connection are nothing to another once it is gone."""
    talk = Talk(max_buffered=100_000, settings={4: 0})
    talk.say(b"".join(talk.caller.headers() + talk.caller.call(b"x" * 100) for _ in range(50)))
    assert 50_000 < talk.session.buffered <= 100_000
    talk.session.close()
    assert talk.session.buffered == 0
    talk.session, talk.caller = Session(talk.server, talk._wake, 0), Caller()
    talk.say(talk.caller.start() + b"".join(talk.caller.headers() for _ in range(100)))
    assert talk.session.open_calls == 100


def crowded(**bounds):
    """A server whose sum one connection has filled, and that connection."""
    talk = Talk(max_buffered=100_000, **bounds)
    stranger, crowd = connected(talk)
    feed(stranger, half_open(crowd))
    assert stranger.buffered > 99_000
    return talk, stranger


@HELD
def test_a_call_that_comes_whole_is_served_however_much_others_hold():
    """As many as a connection may have, in one read, though half-open calls of a stranger have used up the sum."""
    talk, _stranger = crowded()
    talk.say(b"".join(talk.caller.call(b"%d" % n) for n in range(1_024)))
    assert [call.body for call in talk.calls] == [b"%d" % n for n in range(1_024)]
    assert (talk.caller.answer().status[1], talk.session.buffered) == ("0", 0)


@HELD
def test_a_call_that_a_read_cuts_off_is_served_within_the_share_of_its_connection():
    """A connection may always hold its share: the call at the end of a read is not refused for what others hold."""
    talk, stranger = crowded(buffered_share=5_000)
    whole = talk.caller.call() + talk.caller.call(b"x" * 2_000)
    talk.say(whole[:-500])
    talk.say(whole[-500:])
    assert [len(call.body) for call in talk.calls] == [5, 2_000]
    talk.say(b"".join(talk.caller.headers() for _ in range(20)))
    assert talk.caller.answer().status[1:] == (EXHAUSTED, "too much buffered request data")
    assert 4_000 < talk.session.buffered <= 5_000
    stranger.close()
    talk.say(b"".join(talk.caller.headers() for _ in range(20)))
    assert talk.session.buffered > 15_000


@HELD
def test_unread_responses_of_all_connections_have_a_bound():
    """A client that grants no window is refused when all hold too much; one that reads is served."""
    talk = Talk(max_buffered=100_000, settings={4: 0})
    talk.say(b"".join(talk.caller.call(b"x" * 1_000) for _ in range(500)))
    for _ in range(10):
        talk.say(talk.caller.call(b"x" * 1_000))
    assert talk.caller.answer().status[1] == EXHAUSTED
    held = talk.session.buffered
    talk.say(b"".join(talk.caller.call(b"x" * 1_000) for _ in range(100)))
    assert talk.session.buffered == held
    unread, talk.session, talk.caller = talk.session, Session(talk.server, talk._wake, 0), Caller()
    talk.say(talk.caller.start() + talk.caller.call())
    assert (talk.caller.answer().status[1], unread.buffered) == ("0", held)


@HELD
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [([], 20), ([("grpc-timeout", "50S")], 20), ([("grpc-timeout", "2S")], 2)],
    ids=["no timeout", "a longer timeout", "a timeout"],
)
@pytest.mark.parametrize("piece", [b"", message(b"hello")[:7], message(b"hello")], ids=["no data", "a part", "no end"])
def test_a_request_that_stays_incomplete_ends_by_its_time(headers, seconds, piece):
    """Its own timeout or that of requests: DEADLINE_EXCEEDED, and no bytes are held for it."""
    talk = Talk()
    talk.say(talk.caller.headers(*headers) + (talk.caller.data(piece, end=False) if piece else b""))
    assert not talk.session.end_late(talk.now + seconds * SECOND - 1)
    assert talk.session.end_late(talk.now + seconds * SECOND)
    talk.hear()
    assert talk.caller.answer().status[1:] == (DEADLINE_EXCEEDED, "the request was not complete in time")
    assert (talk.session.open_calls, talk.session.buffered) == (0, 0)
    assert not talk.session.end_late(talk.now + 100 * SECOND)


@HELD
def test_a_header_block_that_stays_incomplete_ends_by_its_time():
    """And its CONTINUATION, when it comes after all, ends nothing else."""
    talk = Talk()
    frame = talk.caller.headers()
    talk.say(HeadersFrame(1, frame[9:]).serialize())
    assert talk.session.end_late(talk.now + 20 * SECOND)
    talk.hear()
    assert (talk.session.open_calls, talk.session.buffered) == (0, 0)
    talk.say(b"\0\0\0\x09\x04\0\0\0\x01" + talk.caller.call())
    assert talk.caller.answer().status[1] == "0"


def test_calls_end_by_their_own_times():
    """Each of several, in any order, and none that is complete, being served, or a stream that was opened."""
    talk = Talk(serve=False)
    talk.say(talk.caller.call() + talk.caller.headers(("grpc-timeout", "3S"), path=STREAM))
    talk.say(talk.caller.headers(("grpc-timeout", "5S")) + talk.caller.headers(("grpc-timeout", "1S")))
    ended = []
    for second in range(1, 30):
        if talk.session.end_late(talk.now + second * SECOND):
            ended.append(second)
            talk.hear()
    assert (ended, talk.session.open_calls, talk.session.in_flight) == ([1, 5], 2, 2)
    talk.calls[0].respond(b"answer")
    talk.streams[0].send(b"message")
    talk.hear()
    assert (talk.caller.answer(1).status[1], talk.caller.answer(3).body) == ("0", message(b"message"))
