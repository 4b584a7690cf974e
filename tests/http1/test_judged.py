"""The memory of heads."""

from ratelimitd.http1 import judged
from ratelimitd.http1.judged import MAX_HEAD_BYTES, MAX_HEADS, MAX_SEEN, judge_request
from tests.http1.rig import get


def test_what_comes_again_is_judged_once():
    """The third time a head comes, what was made of it the second time is given; and it is equal to the first."""
    head = get(b"/again")
    first, second, third = (judge_request(head) for _ in range(3))
    assert first == second
    assert second is third


def test_what_comes_once_is_not_kept():
    """A flood of heads that are all different leaves nothing behind but numbers, and not many of those."""
    before = len(judged._requests._known)
    for number in range(2 * MAX_SEEN):
        judge_request(get(b"/once/%d" % number))
    assert before >= len(judged._requests._known)
    assert len(judged._requests._seen) <= MAX_SEEN


def test_the_memory_is_bounded():
    """However many heads come twice, so many are kept; long ones and refused ones never are."""
    for number in range(2 * MAX_HEADS):
        for _ in range(2):
            judge_request(get(b"/twice/%d" % number))
            judge_request(get(b"/long/%d" % number, b"X: " + b"x" * MAX_HEAD_BYTES))
            judge_request(get(b"bad%d" % number))
    assert len(judged._requests._known) <= MAX_HEADS
    assert all(len(raw) <= MAX_HEAD_BYTES for raw in judged._requests._known)
