"""The cache of parsed heads."""

from ratelimitd.http1 import heads
from ratelimitd.http1.heads import MAX_HEAD_BYTES, MAX_HEADS, MAX_SEEN, read_request
from tests.http1.rig import get
from tests.http1.shown import request


def test_a_repeated_head_is_parsed_twice_at_most():
    """The third request with a head gets the result of the second one, which is equal to that of the first."""
    head = get(b"/again")
    first, second, third = (read_request(head) for _ in range(3))
    assert request(first) == request(second)
    assert third is second


def test_a_head_that_is_seen_once_is_not_stored():
    """A flood of heads that are all different stores nothing but hashes, and a bounded number of these."""
    before = len(heads._requests._parsed)
    for number in range(2 * MAX_SEEN):
        read_request(get(b"/once/%d" % number))
    assert before >= len(heads._requests._parsed)
    assert len(heads._requests._seen) <= MAX_SEEN


def test_the_cache_is_bounded():
    """However many heads are seen twice, a bounded number is stored; long and rejected heads never are."""
    for number in range(2 * MAX_HEADS):
        for _ in range(2):
            read_request(get(b"/twice/%d" % number))
            read_request(get(b"/long/%d" % number, b"X: " + b"x" * MAX_HEAD_BYTES))
            read_request(get(b"bad%d" % number))
    assert len(heads._requests._parsed) <= MAX_HEADS
    assert all(len(raw) <= MAX_HEAD_BYTES for raw in heads._requests._parsed)
