"""Heads that come in several reads: the same outcome as if each read were searched and checked with all before it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimitd.http1 import ServerOptions, UpstreamOptions, downstream, heads, upstream_connection
from ratelimitd.http1.heads import invalid_start, read_request, read_response, take_request, take_response
from ratelimitd.http1.model import ErrorResponse
from ratelimitd.http1.options import READ_BYTES, TURN
from testkit.builds import interpreted_only
from testkit.examples import examples
from tests.http1.fakes import Gateway, Upstream
from tests.http1.shown import response, taken
from tests.http1.test_differential import SPICE, mutated, responses

SMALL = ServerOptions(max_head=60, max_target=10, max_headers=2, max_body=5)
"""Bounds that generated heads exceed."""
LONG = 32 * 1024
PIECES = [b"GET ", b"/", b"HTTP/1.1", b"HTTP/1.1 200 OK", b"Host: a", b"\r\n\r\n", b"a" * 7, *SPICE]

soup = st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join)


def request_by_definition(data, options):
    """The outcome of all bytes read so far, each time looked at as a whole."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4 or end > options.max_head:
        if len(data) > options.max_target and b"\r\n" not in data[: options.max_target + 32]:
            return ErrorResponse(414, "request target is too long")
        if len(data) > options.max_head:
            return ErrorResponse(431, "request head is too long")
        return ErrorResponse(400, flaw) if (flaw := invalid_start(data)) else None
    read = read_request(data[:end])
    if isinstance(read, ErrorResponse):
        return read
    if len(read.asked) > options.max_target:
        return ErrorResponse(414, "request target is too long")
    if len(read.headers) > options.max_headers:
        return ErrorResponse(431, "too many headers")
    if read.length > options.max_body:
        return ErrorResponse(413, "request body is too large")
    return read, data[end:]


def response_by_definition(data, method, max_head):
    """The same for a response."""
    end = data.find(b"\r\n\r\n") + 4
    if end > max_head or (end < 4 and len(data) > max_head):
        return ErrorResponse(502, "response: head is too long")
    if end < 4:
        return ErrorResponse(502, f"response: {flaw}") if (flaw := invalid_start(data)) else None
    read = read_response(method, data[:end])
    return read if isinstance(read, ErrorResponse) else (*read, data[end:])


@st.composite
def split(draw, whole):
    """The reads that some bytes come in."""
    data = draw(whole)
    cuts = sorted(draw(st.sets(st.integers(1, max(len(data) - 1, 1)), max_size=8)))
    if draw(st.integers(0, 7)) == 0:
        cuts = range(1, len(data))
    return [piece for at, to in zip([0, *cuts], [*cuts, len(data)], strict=True) if (piece := data[at:to])]


def first(outcomes):
    """The number of the read that had an outcome, and the outcome; nothing if all bytes are no head yet."""
    found = ((number, taken(outcome)) for number, outcome in enumerate(outcomes) if outcome is not None)
    return next(found, None)


def joined(pieces):
    """What was read so far, after each read."""
    return [b"".join(pieces[: count + 1]) for count in range(len(pieces))]


@settings(max_examples=examples(5))
@given(split(mutated() | soup), st.sampled_from([SMALL, ServerOptions()]))
def test_a_request_head_has_the_same_outcome_however_it_is_split(pieces, options):
    """The same head, or the same status and reason, at the same read, as the whole of what was read gives."""
    partial = bytearray()
    incremental = first(take_request(partial, piece, options) for piece in pieces)
    assert incremental == first(request_by_definition(data, options) for data in joined(pieces))


@settings(max_examples=examples(5))
@given(split(responses() | soup), st.sampled_from([b"GET", b"HEAD"]), st.sampled_from([40, 60 * 1024]))
def test_a_response_head_has_the_same_outcome_however_it_is_split(pieces, method, most):
    """As for requests."""
    partial = bytearray()
    incremental = first(take_response(partial, piece, method, most) for piece in pieces)
    assert incremental == first(response_by_definition(data, method, most) for data in joined(pieces))


@given(split(mutated()))
def test_a_head_that_was_taken_leaves_nothing_for_the_next_one(pieces):
    """After a head was taken the bytes of earlier reads are gone, and the next head begins with what is behind it."""
    partial = bytearray()
    outcome = first(take_request(partial, piece, ServerOptions()) for piece in pieces)
    if outcome is not None and not isinstance(outcome[1], ErrorResponse):
        assert bytearray() == partial


def reported_by_definition(pieces):
    """What a requester hears when each read is looked at with all that was not taken before."""
    reported, pending = [], b""
    for piece in pieces:
        pending += piece
        while (outcome := response_by_definition(pending, b"GET", UpstreamOptions().max_head)) is not None:
            if isinstance(outcome, ErrorResponse):
                return [*reported, outcome]
            head, framed, pending = outcome
            if head.status >= 200:
                return [*reported, (response((head, framed))[0], framed.length)]
            if head.status == 101:
                return [*reported, ErrorResponse(502, "response: unsolicited 101")]
            reported.append(response((head, framed))[0])
    return reported


interim = st.sampled_from([b"", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 100 \r\n\r\n"])


def heard_as(reported):
    """What the requester heard, as a value: an interim head, a head with its length, or a failure."""
    if isinstance(reported, ErrorResponse):
        return reported
    if isinstance(reported, tuple):
        return response((reported[0], None))[0], reported[1]
    return response((reported, None))[0]


@settings(max_examples=examples(5))
@given(split(st.builds(lambda before, after: before + after, interim, responses() | soup)))
def test_a_requester_hears_the_same_however_heads_are_split(pieces):
    """Interim heads, the final head and failures reach the requester in the same order, whatever the reads were."""
    upstream = Upstream()
    upstream.ask()
    for piece in pieces:
        upstream.feed(piece)
    heard = [heard_as(each) for each in upstream.reported]
    expected = reported_by_definition(pieces)
    assert expected == heard[: len(expected)]
    assert all(isinstance(surplus, ErrorResponse) for surplus in heard[len(expected) :])  # of the body, if there is any


class Meter(bytearray):
    """Counts the bytes that are searched, copied or appended."""

    touched = 0

    def _count(self, size):
        Meter.touched += size

    def find(self, sub, start=0, end=None):
        end = len(self) if end is None else min(end, len(self))
        self._count(end - start)
        return super().find(sub, start, end)

    def __contains__(self, item):
        self._count(len(self))
        return super().__contains__(item)

    def __getitem__(self, item):
        taken = super().__getitem__(item)
        self._count(len(taken) if isinstance(item, slice) else 1)
        return taken

    def __iadd__(self, data):
        self._count(len(data))
        super().__iadd__(data)
        return self

    def __add__(self, data):
        self._count(len(self) + len(data))
        return Meter(super().__add__(data))

    def __bytes__(self):
        self._count(len(self))
        return bytes(memoryview(self))

    def translate(self, *arguments):
        self._count(len(self))
        return super().translate(*arguments)


@pytest.fixture
def meter(monkeypatch):
    """Connections hold incomplete heads in a ``Meter``; checks of what they take from it count too."""

    def counted(head):
        Meter.touched += len(head)
        return checked(head)

    checked = heads.invalid_bytes
    monkeypatch.setattr(Meter, "touched", 0)
    monkeypatch.setattr(heads, "invalid_bytes", counted)
    for module in (downstream, upstream_connection):
        monkeypatch.setattr(module, "bytearray", Meter, raising=False)
    return Meter


FILLED = {
    "one long value": lambda size: b"X: " + b"x" * size,
    "lines": lambda size: b"\r\n".join([b"X: " + b"x" * (size // 50)] * 48),
}


@interpreted_only
@pytest.mark.parametrize("filled", FILLED)
def test_a_request_head_in_single_bytes_is_linear_work(meter, filled):
    """A head of 32 KiB that comes in single bytes costs a few looks at each byte, and no copy of all at each read."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % FILLED[filled](LONG - 500)
    gateway = Gateway()
    for at in range(len(head)):
        gateway.feed(head[at : at + 1])
    assert [asked[1] for asked in gateway.asked] == [b"/"]
    assert meter.touched <= 16 * len(head)


@interpreted_only
def test_a_target_in_single_bytes_is_linear_work(meter):
    """The end of a long request line is not searched for again with each byte after it."""
    head = b"GET /%b HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"a" * 8176, b"x" * 20_000)
    gateway = Gateway()
    for at in range(len(head)):
        gateway.feed(head[at : at + 1])
    assert [len(asked[1]) for asked in gateway.asked] == [8177]
    assert meter.touched <= 16 * len(head)


@interpreted_only
@pytest.mark.parametrize("filled", FILLED)
def test_a_response_head_in_single_bytes_is_linear_work(meter, filled):
    """As for requests."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n%b\r\n\r\n" % FILLED[filled](LONG - 500)
    upstream = Upstream()
    upstream.ask()
    for at in range(len(head)):
        upstream.feed(head[at : at + 1])
    assert [length for _, length in upstream.reported] == [5]
    assert meter.touched <= 16 * len(head)


@interpreted_only
def test_a_head_in_one_read_is_not_held(meter):
    """The usual head, which one read brings, is neither appended to anything nor copied once more."""
    gateway, upstream = Gateway(), Upstream()
    upstream.ask()
    request = b"GET /in-one-read HTTP/1.1\r\nHost: a\r\n\r\n"
    response = b"HTTP/1.1 200 In One Read\r\nContent-Length: 5\r\n\r\n"
    gateway.feed(request)
    upstream.feed(response)
    assert (len(gateway.asked), len(upstream.reported)) == (1, 1)
    assert meter.touched == 0  # plain heads are split where they are


def test_of_a_pipeline_one_read_is_held_while_its_requests_wait():
    """More requests than one turn of the loop answers: as much is read on as there is room for."""
    later = []
    gateway = Gateway()
    gateway.clock.call_soon = later.append
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    one_read = READ_BYTES // len(request)
    gateway.feed(request * one_read)
    room = READ_BYTES - len(gateway.connection._pending)
    assert len(gateway.connection.get_buffer(-1)) == room < READ_BYTES
    assert room == READ_BYTES - (one_read - TURN) * len(request)
    gateway.feed(request * (room // len(request)))
    assert len(gateway.connection._pending) < READ_BYTES
    while later:
        later.pop()()
    assert len(gateway.asked) == one_read + room // len(request)
