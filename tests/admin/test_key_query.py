"""How a caller of the admin API names a key."""

import pytest

from ratelimitd.admin.http import PageRequest
from ratelimitd.admin.key_query import key_request
from ratelimitd.limiter import LimitRequest
from ratelimitd.policy import Descriptor

READ = LimitRequest(b"read", ())


def asking(query="", body=b"", method="GET"):
    return key_request(PageRequest(method, "/admin/key", {}, {}, body, "127.0.0.1", query), lambda given: READ)


@pytest.mark.parametrize(
    ("query", "domain", "descriptors"),
    [
        ("domain=d&descriptor=user=alice", b"d", [[(b"user", b"alice")]]),
        ("descriptor=a=1,b=2&descriptor=c=&domain=d", b"d", [[(b"a", b"1"), (b"b", b"2")], [(b"c", b"")]]),
        ("domain=d%20e&descriptor=path%3D%2Fa%5C%2Cb%26c", b"d e", [[(b"path", b"/a,b&c")]]),
        ("domain=%ff&descriptor=user=%fe%2Bx", b"\xff", [[(b"user", b"\xfe+x")]]),
    ],
)
def test_a_key_in_the_query_is_as_check_writes_it(query, domain, descriptors):
    """key=value,key=value, one for each descriptor; any bytes, percent-encoded."""
    assert asking(query) == LimitRequest(domain, tuple(Descriptor(tuple(entries)) for entries in descriptors))


def test_a_lease_in_the_query_is_no_part_of_the_key():
    """Its entry is removed before matching, as that of a request is."""
    (asked,) = asking("domain=d&descriptor=a=1,ratelimitd.lease=none,b=2").descriptors
    assert asked == Descriptor(((b"a", b"1"), (b"b", b"2")), lease=b"none")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_key_in_the_body_is_as_json_takes_it(method):
    """A RateLimitRequest."""
    assert asking(body=b"{}", method=method) is READ


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, r"exactly one domain is required: write \?domain="),
        ({"query": "descriptor=a=1"}, "exactly one domain is required"),
        ({"query": "domain=&descriptor=a=1"}, "exactly one domain is required"),
        ({"query": "domain=a&domain=b&descriptor=a=1"}, "exactly one domain is required"),
        ({"query": "domain=d"}, "0 descriptors, but 1 to 64"),
        ({"query": "domain=d" + "&descriptor=a=1" * 65}, "65 descriptors, but 1 to 64"),
        ({"query": "domain=d&descriptor="}, "entry without a key"),
        ({"query": "domain=d&descriptor=user"}, "write user=value"),
        ({"query": "domain=d&descriptors=a=1"}, "unknown parameter 'descriptors'"),
        ({"query": "domain=d&descriptor=a=1", "body": b"{}", "method": "DELETE"}, "not in both"),
        ({"body": b"{}"}, "the body of a GET request is ignored; use POST"),
    ],
)
def test_what_names_no_key_is_an_error_that_says_what_to_write(options, why):
    """A misspelt name too, or a reset would be of another key than was meant."""
    with pytest.raises(ValueError, match=why):
        asking(**options)
