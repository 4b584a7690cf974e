"""The ids of requests."""

import re

from ratelimitd.gateway.request_ids import SERIES, RequestIds, request_id

from .files import request_of


def test_new_ids_are_unique_uuids():
    """Within a series, from one to the next, and between processes."""
    one, other = RequestIds(), RequestIds()
    made = [one.next() for _ in range(SERIES + 2)]
    assert len({*made, other.next(), other.next()}) == SERIES + 4
    form = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(map(form.fullmatch, made))


def test_a_request_without_a_valid_id_gets_a_new_one():
    """A valid one stays."""
    assert request_id(request_of(headers=[("X-Request-Id", "a/b=1")])) == b"a/b=1"
    new = {
        request_id(request_of(headers=headers)) for headers in ([], [("X-Request-Id", "a b")], [("X-Request-Id", "")])
    }
    assert len(new) == 3
    assert not new & {b"a b", b""}
