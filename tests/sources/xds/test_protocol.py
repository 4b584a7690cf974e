"""What a client says on its streams, and when. The clock is an argument."""

import math

import pytest

from ratelimitd.sources.xds.protocol import (
    PACE,
    RETRY,
    TEXT_MOST,
    Load,
    Protocol,
    Refusal,
    Request,
    Response,
    Send,
    Wait,
    nack_text,
)

IDLE = Wait(math.inf)
BAD = Refusal("d: bad")


def response(version, nonce, content=""):
    """A response whose content is that of its version unless it says otherwise."""
    return Response(version, nonce, (content or version).encode(), b"")


def greeted():
    """A protocol on a new stream that has sent its first request."""
    protocol = Protocol()
    protocol.opened()
    assert protocol.next(0) == Send(Request())
    return protocol


def load(protocol, got, refusal=None, now=0.0):
    """Let a response come, be loaded, and be judged."""
    protocol.received(got)
    assert protocol.next(now) == Load(got)
    protocol.judged(got, refusal, now)


def ack(got):
    return Send(Request(got.version, got.nonce), got)


def nack(got, accepted="", text="d: bad"):
    return Send(Request(accepted, got.nonce, text), got)


def test_a_stream_begins_with_a_request_for_all():
    """It names neither a version nor a nonce, and then waits as long as the control plane is silent."""
    assert greeted().next(0) == IDLE


def test_what_is_in_force_is_acknowledged():
    """With its version and its nonce, once, and at once."""
    protocol, one = greeted(), response("1", "a")
    load(protocol, one)
    assert (protocol.next(0), protocol.next(0)) == (ack(one), IDLE)


def test_what_is_refused_is_not_acknowledged():
    """The NACK names the version that is in force, which is none at first, and the error."""
    protocol, one, two, three = greeted(), response("1", "a"), response("2", "b"), response("3", "c")
    load(protocol, one, BAD)
    assert protocol.next(0) == nack(one)
    load(protocol, two, now=1)
    assert protocol.next(1) == ack(two)
    load(protocol, three, BAD, now=2)
    assert protocol.next(2) == nack(three, accepted="2")


def test_the_newest_of_several_responses_is_the_one_to_answer():
    """A request under an older nonce would be ignored; what came before is in force, and named by a NACK."""
    protocol, one, two = greeted(), response("1", "a"), response("2", "b")
    protocol.received(one)
    assert protocol.next(0) == Load(one)
    protocol.received(two)
    protocol.judged(one, None, 0)
    assert protocol.next(0) == Load(two)
    protocol.judged(two, BAD, 0)
    assert (protocol.next(0), protocol.next(0)) == (nack(two, accepted="1"), IDLE)


def test_a_bad_version_that_is_sent_again_is_held_back():
    """go-control-plane sends it again at once, for ever: it is not loaded again, and answered once a second."""
    protocol, one = greeted(), response("1", "a")
    load(protocol, one, BAD, now=10)
    assert protocol.next(10) == nack(one)
    for turn in range(3):
        again = response("1", f"b{turn}")
        protocol.received(again)
        at = 10 + PACE * turn
        assert protocol.next(at) == Wait(at + PACE)
        assert protocol.next(at + PACE) == nack(again)


def test_a_version_that_is_always_new_and_bad_is_held_back_too():
    """A control plane that counts its attempts does not make a loop of the answers."""
    protocol = greeted()
    load(protocol, response("1", "a"), BAD)
    protocol.next(0)
    two = response("2", "b")
    load(protocol, two, BAD, now=0.1)
    assert (protocol.next(0.1), protocol.next(PACE)) == (Wait(PACE), nack(two))


def test_a_mended_policy_waits_for_nothing():
    """It is loaded and acknowledged at once, even while a NACK is held back."""
    protocol = greeted()
    load(protocol, response("1", "a"), BAD)
    protocol.next(0)
    protocol.received(response("1", "b"))
    assert protocol.next(0.1) == Wait(PACE)
    mended = response("2", "c")
    load(protocol, mended, now=0.2)
    assert protocol.next(0.2) == ack(mended)


def test_a_policy_that_was_mended_while_a_nack_was_held_back_is_in_force_within_two_seconds():
    """A control plane of go-control-plane's sends nothing before it is answered, which is PACE after the last NACK."""
    protocol, again = greeted(), response("1", "b")
    load(protocol, response("1", "a"), BAD)
    protocol.next(0)
    protocol.received(again)
    held = protocol.next(0.01)
    assert protocol.next(held.until) == nack(again)
    load(protocol, response("2", "c"), now=held.until)
    assert protocol.next(held.until) == ack(response("2", "c"))
    assert held.until <= 1


def test_a_policy_that_goes_back_to_the_one_in_force_is_acknowledged_unloaded():
    """After a bad version, the control plane sends the content of the last good one under a new number."""
    protocol, one = greeted(), response("1", "a", content="x")
    load(protocol, one)
    protocol.next(0)
    load(protocol, response("2", "b"), BAD)
    protocol.next(0)
    back = response("3", "c", content="x")
    protocol.received(back)
    assert protocol.next(PACE) == ack(back)
    load(protocol, response("4", "d"), BAD, now=5)
    assert protocol.next(5).request.version == "3"


def test_what_was_refused_before_an_ack_is_loaded_again():
    """So that it is told again: an operator who takes a change back and makes it again has it rejected twice."""
    protocol, one = greeted(), response("1", "a", content="x")
    load(protocol, one)
    protocol.next(0)
    load(protocol, response("2", "b", content="y"), BAD, now=1)
    protocol.next(1)
    protocol.received(response("3", "c", content="x"))
    protocol.next(2)
    again = response("4", "d", content="y")
    load(protocol, again, BAD, now=3)
    assert protocol.next(3) == nack(again, accepted="3")


def test_a_response_that_brings_nothing_new_is_acknowledged_once_a_second():
    """A control plane that answers each request would make a loop of the ACKs."""
    protocol, one = greeted(), response("1", "a")
    load(protocol, one)
    protocol.next(0)
    again = response("1", "b")
    protocol.received(again)
    assert (protocol.next(0.5), protocol.next(PACE)) == (Wait(PACE), ack(again))


def test_a_new_stream_begins_anew():
    """No version and no nonce of the old one is named; the same policy again costs no load, and its ACK is at once."""
    protocol, one = greeted(), response("1", "a")
    load(protocol, one)
    protocol.next(0)
    protocol.closed()
    assert protocol.next(0.1) == IDLE
    protocol.opened()
    assert protocol.next(0.1) == Send(Request())
    again = response("1", "a")
    protocol.received(again)
    assert protocol.next(0.1) == ack(again)


def test_another_policy_under_the_number_in_force_is_loaded():
    """A control plane that was restarted counts from 1 again."""
    protocol = greeted()
    load(protocol, response("1", "a"))
    protocol.next(0)
    protocol.opened()
    protocol.next(0)
    other = response("1", "a", content="other")
    protocol.received(other)
    assert protocol.next(0) == Load(other)


def test_what_a_stream_brought_last_is_loaded_after_its_end_and_not_answered():
    """It is the policy that the control plane wants; nonces belong to their stream."""
    protocol, one = greeted(), response("1", "a")
    protocol.received(one)
    protocol.closed()
    assert protocol.next(0) == Load(one)
    protocol.judged(one, None, 0)
    assert protocol.next(0) == IDLE


def test_a_load_that_outlives_its_stream_is_not_answered_on_the_next():
    """The next stream brings the policy again, with a nonce of its own."""
    protocol, one = greeted(), response("1", "a")
    protocol.received(one)
    protocol.next(0)
    protocol.closed()
    protocol.opened()
    assert protocol.next(0) == Send(Request())
    protocol.judged(one, None, 0)
    assert protocol.next(0) == IDLE
    again = response("1", "z")
    protocol.received(again)
    assert protocol.next(0) == ack(again)


def test_a_refused_policy_is_known_on_the_next_stream():
    """It is not loaded again there, so it is counted and logged once."""
    protocol, one = greeted(), response("1", "a")
    load(protocol, one, BAD)
    protocol.next(0)
    protocol.closed()
    protocol.opened()
    protocol.next(9)
    protocol.received(one)
    assert protocol.next(9) == nack(one)


@pytest.mark.parametrize(("lasting", "step"), [(True, Send), (False, Load)])
def test_a_failure_that_may_pass_is_tried_again(lasting, step):
    """After a minute, if the control plane sends the policy again; an error of the policy itself stays one."""
    protocol, one = greeted(), response("1", "a")
    load(protocol, one, Refusal("no memory", lasting=lasting))
    protocol.next(0)
    protocol.received(one)
    assert isinstance(protocol.next(RETRY - 1), Send)
    protocol.received(one)
    assert isinstance(protocol.next(RETRY + 1), step)


def test_the_text_of_a_nack_has_all_errors_and_is_bounded():
    """The first comes first; where they are more than a server reads, their number is told."""
    assert nack_text(["a: x", "b: y"]) == "a: x; b: y"
    text = nack_text([f"{number:04}" * 25 for number in range(10_000)])
    assert len(text) < TEXT_MOST * 1.1
    shown = text.count("; ")
    assert text.endswith(f"and {10_000 - shown} more")
    assert len(nack_text(["a" * (TEXT_MOST + 1)])) == TEXT_MOST


def test_no_more_errors_are_written_than_a_nack_has_room_for():
    """A policy may have 50,000, and to write each would hold the event loop."""
    written = []

    class Error:
        def __str__(self):
            written.append(self)
            return "e" * 100

    nack_text([Error()] * 50_000)
    assert len(written) <= TEXT_MOST // 100 + 1
