"""The cache of parsed heads."""

import tracemalloc

import pytest

from ratelimitd.http1 import heads
from ratelimitd.http1.headers import to_client, to_upstream
from ratelimitd.http1.heads import (
    MAX_HEAD_BYTES,
    MAX_HEAD_FIELDS,
    MAX_HEADS,
    MAX_SEEN,
    REQUEST_HEADS_BYTES,
    RESPONSE_HEADS_BYTES,
    read_request,
    read_response,
)
from ratelimitd.http1.model import Peer, Request
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
    """However many heads are seen twice, a bounded number is stored; those that are long or rejected never are."""
    for number in range(2 * MAX_HEADS):
        for _ in range(2):
            read_request(get(b"/twice/%d" % number))
            read_request(get(b"/long/%d" % number, b"X: " + b"x" * MAX_HEAD_BYTES))
            read_request(get(b"/wide/%d" % number, *[b"X-%d: 1" % each for each in range(MAX_HEAD_FIELDS)]))
            read_request(get(b"bad%d" % number))
    assert len(heads._requests._parsed) <= MAX_HEADS
    assert all(len(raw) <= MAX_HEAD_BYTES for raw in heads._requests._parsed)
    assert all(len(kept.names) <= MAX_HEAD_FIELDS for kept in heads._requests._parsed.values())


def use_request(raw):
    """A request is read, looked at and sent on."""
    head = read_request(raw)
    to_upstream(Request(head, Peer("192.0.2.1", 9), "http"), trusted=False, request_id=b"id")
    assert head.headers[0][1] == head.value(0)


def use_response(raw):
    """The same with a response."""
    head, _ = read_response(b"GET", raw)
    to_client(head, [(b"X-Request-Id", b"id")])
    assert head.headers[0][1] == head.value(0)


LARGEST = {
    use_request: [b"GET /%05d HTTP/1.1\r\nHost: a", b"GET /%05d HTTP/1.1\r\nX_: a\r\nHost: a"],
    use_response: [b"HTTP/1.1 200 %05d\r\nA: b", b"HTTP/1.1 200 %05d\r\nX_: a"],
}


@pytest.mark.parametrize(("use", "start"), [(use, start) for use, starts in LARGEST.items() for start in starts])
def test_the_largest_head_takes_its_share_of_memory(use, start):
    """As long and with as many fields as a cache takes, of names that nothing shares; judged, or plain."""
    count, fields = 100, MAX_HEAD_FIELDS - start.count(b"\r\n")
    padding = b"v" * ((MAX_HEAD_BYTES - len(start) - 4) // fields - len(b"\r\nX00: "))
    rest = b"".join(b"\r\nX%02d: %b" % (each, padding) for each in range(fields)) + b"\r\n\r\n"
    requests = heads._requests, REQUEST_HEADS_BYTES
    cache, most = requests if use is use_request else (heads._responses, RESPONSE_HEADS_BYTES)
    cache._parsed.clear()
    tracemalloc.start()
    for number in range(count):
        for _ in range(3):
            use(start % number + rest)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == len(cache._parsed)
    assert taken / count < most / MAX_HEADS
