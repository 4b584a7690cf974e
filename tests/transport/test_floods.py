"""A connection whose frames do no work ends alone and early; one that only looks alike lives. Time is an argument."""

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
)

from tests.transport.servers import ECHO
from tests.transport.wire import Talk, message

pytestmark = pytest.mark.alone

ENHANCE_YOUR_CALM = 11
FRAMES = 2_000


def rapid_reset(caller):
    return caller.call() + caller.reset()


def half_opened(caller):
    return caller.headers() + caller.reset()


def empty_data(caller):
    return DataFrame(1, b"").serialize()


def padding(caller):
    return DataFrame(1, b"", pad_length=1, flags=["PADDED"]).serialize()


def settings(caller):
    return SettingsFrame(0, {}).serialize()


def ping(caller):
    return PingFrame(0, b"flooding").serialize()


def window_update(caller):
    return caller.window(1)


def stream_window_update(caller):
    return caller.window(1, 1)


def priority(caller):
    return PriorityFrame(1, depends_on=0, stream_weight=1).serialize()


def unknown(caller):
    return ExtensionFrame(0xBE, 0, body=b"").serialize()


def cut_headers(caller):
    caller.last += 2
    return HeadersFrame(caller.last, b"\x83", flags=[]).serialize() + b"".join(
        ContinuationFrame(caller.last, b"\x86").serialize() for _ in range(50)
    )


def table_references(caller):
    """A header block of one-byte references to a large header, again and again."""
    value = "v" * 3000
    return caller.headers(("x", value), *[("x", value)] * 5000)


FLOODS = [rapid_reset, half_opened, empty_data, padding, settings, ping, window_update, stream_window_update]
FLOODS += [priority, unknown, table_references]


def talk_with_open_call(**bounds):
    talk = Talk(wasted_frames=FRAMES, **bounds)
    talk.say(talk.caller.headers())
    return talk


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_ends_the_connection(flood):
    """More frames than the budget, at once: GOAWAY ENHANCE_YOUR_CALM, and nothing more is read."""
    talk = talk_with_open_call()
    for _ in range(FRAMES + 10):
        talk.say(flood(talk.caller))
        if talk.session.done:
            break
    assert [code for _, code in talk.caller.goaways()] == [(ENHANCE_YOUR_CALM)]
    assert talk.session.done
    calls = len(talk.calls)
    talk.say(talk.caller.call())
    assert calls == len(talk.calls)


@pytest.mark.parametrize("flood", FLOODS[:-1])
def test_a_flood_in_one_read_ends_the_connection(flood):
    """The same when all of it came in one read."""
    talk = talk_with_open_call()
    talk.say(b"".join(flood(talk.caller) for _ in range(FRAMES + 10)))
    assert [code for _, code in talk.caller.goaways()] == [ENHANCE_YOUR_CALM]
    assert talk.session.done


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
def test_a_continuation_flood_ends_the_connection():
    """A header block that does not end is not waited for."""
    talk = talk_with_open_call()
    talk.say(cut_headers(talk.caller))
    assert [code for _, code in talk.caller.goaways()] == [ENHANCE_YOUR_CALM]
    assert talk.session.done


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
def test_a_new_connection_has_a_part_of_the_budget():
    """Two frames for each stream, whatever the budget, so that it is not granted anew by connecting anew."""
    talk = Talk(wasted_frames=100 * FRAMES, max_streams=100)
    talk.say(window_update(talk.caller) * 300)
    assert not talk.session.done
    talk.say(window_update(talk.caller) * 100)
    assert [code for _, code in talk.caller.goaways()] == [ENHANCE_YOUR_CALM]


def test_the_budget_of_a_new_connection_grows_with_time():
    """After a second it is whole, and no more than that later."""
    for seconds in (1, 100):
        talk = Talk(wasted_frames=FRAMES, max_streams=100)
        talk.now += seconds * 1_000_000
        talk.say(window_update(talk.caller) * (FRAMES - 10))
        assert not talk.session.done
        talk.say(window_update(talk.caller) * 20)
        assert talk.session.done


def test_a_new_connection_may_make_all_its_calls_at_once():
    """As grpc core does, with a WINDOW_UPDATE for each before anything is answered, and others of the connection."""
    talk = Talk(serve=False)
    talk.say(b"".join(talk.caller.call() + talk.caller.window(14, talk.caller.last) for _ in range(1_024)))
    talk.say(b"".join(ping(talk.caller) + talk.caller.window(1_000) for _ in range(100)))
    assert (talk.session.done, len(talk.calls)) == (False, 1_024)


@pytest.mark.slow
@pytest.mark.parametrize("flood", FLOODS[:-1])
def test_the_same_frames_at_an_ordinary_rate_are_no_flood(flood):
    """Half the budget's rate, for ten times the budget: the connection lives and serves."""
    talk = talk_with_open_call()
    for _ in range(10 * FRAMES):
        talk.now += 2 * 1_000_000 // FRAMES
        talk.say(flood(talk.caller))
        talk.caller.frames.clear()
    talk.say(talk.caller.call())
    assert talk.caller.answer().status == ("200", "0", None)


def test_a_window_granted_byte_by_byte_earns_nothing():
    """An answer read in DATA frames of one byte is a flood of window updates like any other."""
    talk = Talk(wasted_frames=FRAMES, settings={4: 0})
    talk.say(talk.caller.call(b"x" * 10 * FRAMES))
    for _ in range(FRAMES + FRAMES // 10):
        talk.say(talk.caller.window(1, 1))
    assert [code for _, code in talk.caller.goaways()] == [ENHANCE_YOUR_CALM]


def test_a_frame_in_many_reads_earns_once():
    """What the reads of a frame are is no work: pings are not paid for by a message that drips in."""
    talk = talk_with_open_call()
    drip = talk.caller.data(b"\0\0\1\0\0" + b"x" * FRAMES, end=False)
    for _ in range(3):
        talk.say(ping(talk.caller) * (FRAMES // 2))
        for byte in drip:
            talk.say(bytes([byte]))
    assert [code for _, code in talk.caller.goaways()] == [ENHANCE_YOUR_CALM]


@pytest.mark.slow
@pytest.mark.parametrize("rate", [5_000, 20_000, 50_000])
def test_timed_out_calls_survive(rate):
    """So many calls a second that one client resets after 20 ms, well over the budget."""
    talk = Talk(serve=False, wasted_frames=FRAMES)
    open_ = []
    for n in range(2 * FRAMES + rate):
        talk.now += 1_000_000 // rate
        talk.say(talk.caller.call() + talk.caller.window(5, talk.caller.last))  # as grpc core
        open_.append(talk.caller.last)
        if len(open_) > rate // 50:
            talk.say(talk.caller.reset(open_.pop(0)))
        if n % 500 == 0:
            del talk.calls[: -rate // 50]
        talk.caller.frames.clear()
    assert not talk.session.done
    talk.serve = True
    talk.say(talk.caller.call())
    assert talk.caller.answer().status == ("200", "0", None)


def test_busy_connections_earn_what_their_callers_need():
    """Every answer may be followed by a PING and two window updates, at any rate."""
    talk = Talk(wasted_frames=FRAMES)
    for _ in range(5 * FRAMES):
        talk.say(talk.caller.call() + talk.caller.window(14) + talk.caller.window(14, 1))
        talk.caller.frames.clear()
    assert not talk.session.done
    assert len(talk.calls) == 5 * FRAMES


def test_a_message_in_small_frames_is_no_flood():
    """Any number of DATA frames that carry something is work."""
    talk = Talk(wasted_frames=FRAMES)
    body = b"x" * (3 * FRAMES)
    talk.say(talk.caller.headers(path=ECHO))
    talk.say(b"".join(talk.caller.data(bytes([byte]), end=False) for byte in message(body)))
    talk.say(talk.caller.data(b""))
    assert [len(body)] == [len(call.body) for call in talk.calls]
