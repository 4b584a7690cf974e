"""Against h11: we may refuse more, and must never frame otherwise."""

from collections import Counter

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimitd.http1 import ServerOptions
from ratelimitd.http1.bodies import BodyError, Endless, chunk, last_chunk, response_body
from ratelimitd.http1.framing import frame_response
from ratelimitd.http1.heads import parse_response
from ratelimitd.http1.model import ErrorResponse
from tests.http1.fakes import Gateway

pytestmark = [pytest.mark.slow, pytest.mark.alone]

NEXT = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n"
EXAMPLES = 3000
SPICE = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b"\x0b", b":", b";", b",", b"0", b"1", b"+", b"-", b"x", b"\xff"),
    *(b"\r\n ", b"chunked", b"\r\nContent-Length: 1", b"\r\nTransfer-Encoding: chunked", b"\r\nHost: b", b"1.0"),
]


def read_by_h11(connection, head):
    """The message that h11 has been given: (head, body, end), or None where it is no such message."""
    try:
        first = connection.next_event()
        if not isinstance(first, head):
            return None
        body = b""
        while isinstance(event := connection.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError:
        return None
    return first, body, event


def by_h11(data):
    """The first request as h11 reads it, or None."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    read = read_by_h11(connection, h11.Request)
    if read is None or not isinstance(read[2], h11.EndOfMessage):
        return None
    request, body, _ = read
    return request.method, request.target, list(request.headers), body, connection.trailing_data[0]


def same(asked):
    method, target, headers, body, rest = asked
    lowered = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in headers]
    return method, target, lowered, body, rest


METHODS = [b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"PATCH"]
OTHERS = [
    b"BREW",
    b"GETS",
    b"PUTPUT",
    b"X-Y",
    b"DESCRIBE",
    b"SOURCE",
    b"PRI",
    b"!#$%&'*+.^_`|~",
    b"post",
    b"G",
    b"B",
    b"W-3",
]
token = st.sampled_from([b"Accept", b"x-Y", b"COOKIE", b"Connection", b"Te", b"Expect", b"Via", b"X_z", b"Upgrade"])
value = st.sampled_from(
    [b"", b"a", b"a b", b" a ", b"\ta", b"close", b"keep-alive", b"100-continue", b"\xe9", b"a, b", b'"\\"']
)
header = st.builds(
    lambda name, text, blank: name + b":" + blank + text, token, value, st.sampled_from([b"", b" ", b"\t"])
)
target = st.sampled_from([b"/", b"/a?b=c", b"/%2F%00", b"//a/../b", b"/a;b", b"/|", b"*"])
pieces = st.lists(st.binary(min_size=1, max_size=9), max_size=3)


@st.composite
def requests(draw, methods=METHODS):
    """A request that is mostly as it should be."""
    method = draw(st.sampled_from(methods))
    version = draw(st.sampled_from([b"1.1"] * 8 + [b"1.0"]))
    lines = [b"Host: a", *draw(st.lists(header, max_size=3))]
    body = b"".join(parts := draw(pieces))
    kind = draw(st.sampled_from(["none", "counted", "chunked"]))
    if kind == "counted":
        lines.append(
            draw(st.sampled_from([b"Content-Length: %d", b"content-length:%d ", b"CONTENT-LENGTH:\t%d"])) % len(body)
        )
    elif kind == "chunked":
        lines.append(draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked"])))
        extension = draw(st.sampled_from([b"\r\n", b"\r\n", b";a=b\r\n", b';q="x"\r\n']))
        trailers = draw(st.sampled_from([[], [(b"A", b"b")]]))
        body = b"".join(chunk(part).replace(b"\r\n", extension, 1) for part in parts) + last_chunk(trailers)
    else:
        body = b""
    lines = draw(st.permutations(lines))
    head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, draw(target), version, b"".join(line + b"\r\n" for line in lines))
    return head + body


@st.composite
def mutated(draw, methods=METHODS):
    """The same, with something put in, taken out or said twice; or, as often, without."""
    data = draw(requests(methods))
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 2))
        data = data[:at] + draw(st.sampled_from([b"", *SPICE])) + data[at + cut :]
    return data


@pytest.mark.parametrize(("methods", "options"), [(METHODS, None), (OTHERS, ServerOptions(methods="any"))])
def test_whenever_both_accept_a_request_it_is_the_same_request(methods, options):
    """Method, target, headers, body and the start of the next request are equal; about half the time both accept."""
    seen = Counter()

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(mutated(methods))
    def compare(data):
        ours, theirs = Gateway(options).feed(data + NEXT), by_h11(data + NEXT)
        seen["all"] += 1
        if ours and theirs is not None:
            seen["both"] += 1
            assert same(theirs) == same(ours[0])
        elif ours:
            seen["we alone"] += 1

    compare()
    assert seen["both"] >= seen["all"] * 2 / 5, seen
    assert seen["all"] - seen["both"] >= seen["all"] / 10, seen


@settings(max_examples=300, deadline=None)
@given(mutated(), st.data())
def test_a_request_is_the_same_however_it_comes(data, draw):
    """Where reads end changes nothing about what was asked."""
    wire = data + NEXT
    whole = [asked[:4] for asked in Gateway().feed(wire)]
    parts, at = Gateway(), 0
    for cut in [*sorted(draw.draw(st.lists(st.integers(0, len(wire)), max_size=5))), len(wire)]:
        parts.feed(wire[at:cut])
        at = cut
    assert whole == [asked[:4] for asked in parts.asked]


@st.composite
def responses(draw):
    """A response, now and then with something wrong."""
    body = b"".join(parts := draw(pieces))
    status = draw(st.sampled_from([b"200 OK", b"204 No", b"304 No", b"404 Not Found", b"200", b"299 \xe9"]))
    lines = draw(st.lists(header, max_size=2))
    kind = draw(st.sampled_from(["close", "counted", "chunked"]))
    if kind == "counted":
        lines.append(b"Content-Length: %d" % len(body))
    elif kind == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        body = b"".join(map(chunk, parts)) + last_chunk([])
    data = b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, b"".join(line + b"\r\n" for line in lines), body)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from(SPICE)) + data[at + draw(st.integers(0, 2)) :]
    return data


def response_by_us(method, data):
    end = data.find(b"\r\n\r\n") + 4
    head = parse_response(data[:end])
    if isinstance(head, ErrorResponse) or isinstance(framed := frame_response(method, head), ErrorResponse):
        return None
    body = response_body(framed.length)
    try:
        content, rest = body.feed(data[end:]) if not body.done else (b"", data[end:])
    except BodyError:
        return None
    if not body.done and not isinstance(body, Endless):
        return None
    return head.status, [(name.lower(), text) for name, text in head.headers], content, rest


def response_by_h11(method, data):
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    read = read_by_h11(connection, h11.Response)
    if read is None:
        return None
    head, body, _ = read
    return head.status_code, list(head.headers), body, connection.trailing_data[0]


def test_whenever_both_accept_a_response_it_is_the_same_response():
    """Status, headers and body are equal, and so is what is left over; half the time both do."""
    seen = Counter()

    @settings(max_examples=EXAMPLES // 3, deadline=None)
    @given(st.sampled_from([b"GET", b"HEAD"]), responses())
    def compare(method, data):
        ours, theirs = response_by_us(method, data), response_by_h11(method, data)
        seen["all"] += 1
        if ours is not None and theirs is not None:
            seen["both"] += 1
            status, headers, body, rest = theirs
            lowered = [(name, text.lower() if name == b"transfer-encoding" else text) for name, text in ours[1]]
            assert (status, headers, body, rest) == (ours[0], lowered, *ours[2:])

    compare()
    assert seen["both"] >= seen["all"] / 2, seen
