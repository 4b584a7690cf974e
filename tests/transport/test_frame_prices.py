"""A frame is charged for what decoding it costs, where that is more than its share of bytes: counted, not timed."""

import random

import pytest
from hyperframe.frame import ContinuationFrame, HeadersFrame, SettingsFrame

from tests.transport.servers import STREAM
from tests.transport.wire import Talk, message

ENHANCE_YOUR_CALM = 11
FRAMES = 2_000


def call(caller, *headers):
    """A call, its header block in frames of the largest size."""
    block = caller.headers(*headers)[9:]
    pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    frames = [HeadersFrame(caller.last, pieces[0]), *(ContinuationFrame(caller.last, piece) for piece in pieces[1:])]
    frames[-1].flags.add("END_HEADERS")
    return b"".join(frame.serialize() for frame in frames) + caller.data(message(b"hello"))


def until_it_ends(talk, say, most):
    """How often ``say`` was heard before the connection ended for it; fails if it did not."""
    for n in range(most):
        talk.say(say())
        if talk.session.done:
            assert [code for _, code in talk.caller.goaways()] == [ENHANCE_YOUR_CALM]
            return n
    raise AssertionError("the connection did not end")


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
@pytest.mark.parametrize("bounds", [{}, {"max_header_bytes": 4_000}], ids=["within the bound", "past it"])
def test_references_to_a_large_header_are_charged_by_what_they_decode_to(bounds):
    """A block of five bytes that decodes to 15,000 costs over a hundred frames, whether the call is served or not."""
    talk = Talk(wasted_frames=FRAMES, **bounds)
    large = ("x", "v" * 3_000)
    talk.say(talk.caller.headers(large) + talk.caller.reset())
    decoded = 5 * 3_000
    most = FRAMES * 64 // (decoded - 8_192) + 2
    assert until_it_ends(talk, lambda: call(talk.caller, *[large] * 5), 2 * FRAMES) <= most


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
def test_settings_are_charged_by_the_streams_that_they_change():
    """A new window size is applied to each open stream: with 1,000 of them it costs sixteen frames, else one."""
    alone, busy = Talk(wasted_frames=FRAMES), Talk(wasted_frames=FRAMES)
    busy.say(b"".join(busy.caller.headers() for _ in range(1_000)))

    def window():
        return SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: random.randrange(1 << 16)}).serialize()

    assert until_it_ends(alone, window, 2 * FRAMES) >= FRAMES - 10
    assert until_it_ends(busy, window, 2 * FRAMES) <= FRAMES // 16 + 2


@pytest.mark.scenario("clients that flood, reset streams, or do not read")
def test_each_message_of_a_stream_is_charged():
    """A frame may have thousands of messages: they are handed out as fast as frames may come, then the stream ends."""
    talk = Talk(wasted_frames=FRAMES)
    talk.say(talk.caller.headers(path=STREAM) + talk.caller.data(message(b"") * (FRAMES - 10), end=False))
    (stream,) = talk.streams
    while stream.take() is not None:
        pass
    talk.hear()
    assert not talk.session.done
    talk.say(talk.caller.data(message(b"") * 20, end=False))
    while stream.take() is not None:
        pass
    talk.hear()
    assert [code for _, code in talk.caller.goaways()] == [ENHANCE_YOUR_CALM]


def test_headers_that_are_sent_whole_are_no_flood():
    """60 KiB of them on each call, packed as well as they can be, and a table full of those that stay the same."""
    talk = Talk(wasted_frames=FRAMES, max_header_bytes=64 << 10, max_headers=1_000)
    same = [(f"same-{n}", "s" * 300) for n in range(10)]
    for n in range(30):
        fresh = [(f"fresh-{part}", f"{n}-{part}" + "e" * 1_400) for part in range(35)]
        talk.say(call(talk.caller, *same) + call(talk.caller, *fresh, *same))
        talk.caller.frames.clear()
    assert (talk.session.done, len(talk.calls)) == (False, 60)
