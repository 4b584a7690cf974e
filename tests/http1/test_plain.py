"""What ``plain`` takes is what ``heads`` and ``framing`` take, and what goes on is the same to the byte."""

from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimitd.http1.headers import to_client, to_upstream, trailers_to_client
from ratelimitd.http1.heads import judged_request, judged_response, read_request, read_response
from ratelimitd.http1.model import ErrorResponse, Peer, Request
from ratelimitd.http1.plain import KNOWN, plain_request, plain_response
from testkit.examples import examples
from tests.http1 import shown
from tests.http1.framing_table import REQUESTS, RESPONSES
from tests.http1.test_differential import SPICE, mutated, responses
from tests.http1.test_framing import BAD_RESPONSES, REFUSED

PEER = Peer("192.0.2.1", 9)
READ = (frozenset(), frozenset((b"x-own-key", b"cookie")), None)
OURS = (
    [],
    [(b"X-RateLimit-Limit", b"5"), (b"X-Own", b"1")],
    [(b"server", b"me"), (b"Set-Cookie", b"a"), (b"ETag", b"")],
)
LINES = (
    *(b"Host: a", b"host: b.example:80", b"Host: [::1]:8", b"Host: a/b", b"Host:a", b"Host:  a", b"Host: "),
    *(
        b"Accept: */*",
        b"accept: a, b",
        b"X-Own-Key: k",
        b"x_own_key: k",
        b"X.Own.Key: k",
        b"COOKIE: a=b",
        b"Cookie: c: d",
    ),
    *(b"Connection: keep-alive", b"connection: close", b"Connection: Keep-Alive", b"Connection: Close", b"Close: 1"),
    *(b"Connection: x-own-key", b"Connection: host", b"Content-Length: 5", b"content-length: 05", b"Content-Length: 0"),
    *(b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: gzip", b"TE: trailers"),
    *(b"Expect: 100-continue", b"Upgrade: websocket", b"Connection: Upgrade", b"Via: 1.1 x", b"X-Request-Id: 7"),
    *(b"X-Forwarded-For: 1.1.1.1", b"x-forwarded-port: 1", b"Forwarded: for=1.1.1.1", b"X-Real-IP: 1.1.1.1"),
    *(b"Keep-Alive: 5", b"Proxy-Connection: close", b"Alt-Svc: a", b"Trailer: a", b"X-Blank: a ", b"X-Tab: a\tb"),
    *(b"X-High: \xe9", b"X-Empty:", b"X-Empty: ", b"X-\xe9: a", b" folded", b"X-Space : a", b"Authorization: b"),
    *(
        b"Cookie: c: d",
        b"Server: up",
        b"Set-Cookie: a=b",
        b"set-cookie: c=d",
        b'ETag: "1"',
        b"Date: Mon, 30 Nov 2026 17:00:00 GMT",
    ),
)
STARTS = (
    b"GET /a?b=c HTTP/1.1",
    b"POST /x HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"GET http://b/ HTTP/1.1",
    b"GET / HTTP/1.0",
)
STATUSES = (
    *(
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified",
        b"HTTP/1.1 404 \xe9",
        b"HTTP/1.1 200",
    ),
    *(b"HTTP/1.1 200 ", b"HTTP/1.1 599  x", b"HTTP/1.1 103 Early", b"HTTP/1.1 101 Switch", b"HTTP/1.0 200 OK"),
)


def both_take(raw):
    """Whether a request head is plain; then both readings of it, and what goes on, are the same."""
    plain = plain_request(raw)
    if plain is None:
        return False
    judged = judged_request(raw)
    assert shown.request(plain) == shown.request(judged)
    for trusted, request_id, read, without in product((False, True), (b"", b"id"), READ, (frozenset(), {b"cookie"})):
        of = {"trusted": trusted, "request_id": request_id, "read": read, "without": frozenset(without)}
        sent = [to_upstream(Request(head, PEER, "https"), **of) for head in (judged, plain, plain)]
        assert sent[0] == sent[1] == sent[2]
    assert [plain.value(index) for index in range(len(plain.names))] == [value for _, value in judged.headers]
    return True


def both_take_response(raw, method=b"GET"):
    """The same for a response."""
    plain = plain_response(method, raw)
    if plain is None:
        return False
    judged = judged_response(method, raw)
    assert shown.response(plain) == shown.response(judged)
    for ours in OURS:
        sent = [to_client(head, ours) for head in (judged[0], plain[0], plain[0])]
        assert sent[0] == sent[1] == sent[2]
        trailers = [(b"X-Sum", b"1"), (b"Connection", b"close"), (b"X-Own", b"2")]
        assert trailers_to_client(plain[0], trailers, ours) == trailers_to_client(judged[0], trailers, ours)
    return True


def head(start, lines):
    return b"\r\n".join((start, *lines)) + b"\r\n\r\n"


def end_of(data):
    """The head alone, if there is a complete one."""
    end = data.find(b"\r\n\r\n") + 4
    return data[:end] if end >= 4 else data


def changed(draw, data):
    """Bytes with up to two changes."""
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from(SPICE) | st.binary(max_size=2)) + data[at + draw(st.integers(0, 2)) :]
    return data


@st.composite
def request_heads(draw):
    """Request heads of usual lines, most of them plain."""
    lines = [b"Host: a", *draw(st.lists(st.sampled_from(LINES), max_size=4))]
    return changed(draw, head(draw(st.sampled_from(STARTS[:2] * 3 + STARTS)), draw(st.permutations(lines))))


@st.composite
def response_heads(draw):
    """The same of responses."""
    lines = draw(st.lists(st.sampled_from(LINES[7:]), max_size=4))
    return changed(draw, head(draw(st.sampled_from(STATUSES)), lines))


@settings(max_examples=examples(10), deadline=None)
@given(st.one_of(request_heads(), mutated().map(end_of)))
def test_a_plain_request_is_read_and_sent_on_as_the_judges_do(raw):
    """Fields, framing and lines to the upstream are equal, for a trusted peer or not, with and without an id."""
    both_take(raw)


@settings(max_examples=examples(10), deadline=None)
@given(st.one_of(response_heads(), responses().map(end_of)), st.sampled_from([b"GET", b"HEAD"]))
def test_a_plain_response_is_read_and_sent_on_as_the_judges_do(raw, method):
    """Fields, framing and lines to the client are equal, whatever headers of ours replace some."""
    both_take_response(raw, method)


def spoilt(raw):
    """Every head that differs from this one in one byte: changed, added, or left out."""
    for at in range(len(raw)):
        yield raw[:at] + raw[at + 1 :]
        for byte in range(256):
            yield raw[:at] + bytes((byte,)) + raw[at + 1 :]
            yield raw[:at] + bytes((byte,)) + raw[at:]


def test_no_single_byte_makes_the_readings_differ():
    """All changes of one byte in a request and in a response; some leave a plain head, most do not."""
    asked = head(b"GET /a?b HTTP/1.1", [b"Host: a:8", b"X-B: c d", b"Content-Length: 7", b"Connection: close"])
    answered = head(b"HTTP/1.1 200 OK", [b"Server: s", b"X-B: c d", b"Content-Length: 7", b"Connection: close"])
    taken = Counter(both_take(raw) for raw in spoilt(asked))
    assert min(taken.values()) > 1_000, taken
    taken = Counter(both_take_response(raw) for raw in spoilt(answered))
    assert min(taken.values()) > 1_000, taken


@pytest.mark.parametrize("line", LINES)
def test_no_usual_line_makes_the_readings_differ(line):
    """Alone, and beside each other one."""
    for start, other in product(STARTS, LINES):
        both_take(head(start, [b"Host: a", line]))
        both_take(head(start, [b"Host: a", other, line]))
    for start, other in product(STATUSES, LINES):
        both_take_response(head(start, [line]))
        both_take_response(head(start, [other, line]))


@pytest.mark.parametrize("raw", [*map(end_of, REQUESTS.values()), *(raw for _, raw in REFUSED.values())])
def test_what_the_table_refuses_is_not_plain(raw):
    """docs/http-framing.md, and what tests refuse: the judges alone word it. What they take, both take alike."""
    assert not (both_take(raw) and isinstance(judged_request(raw), ErrorResponse))
    assert shown.request(read_request(raw)) == shown.request(judged_request(raw))


@pytest.mark.parametrize("raw", [*map(end_of, RESPONSES.values()), *BAD_RESPONSES.values()])
def test_what_the_table_refuses_of_responses_is_not_plain(raw):
    """The same for responses."""
    assert not (both_take_response(raw) and isinstance(judged_response(b"GET", raw), ErrorResponse))
    assert shown.response(read_response(b"GET", raw)) == shown.response(judged_response(b"GET", raw))


BROWSER = (b"Host: a", b"User-Agent: Mozilla/5.0 (X11; Linux)", b"Accept: */*", b"Cookie: a=b; c=d", b"X-Mine: 1")


def test_what_most_clients_and_upstreams_send_is_plain():
    """Or nothing is gained."""
    assert both_take(head(b"GET /a?b=c HTTP/1.1", BROWSER))
    assert both_take(head(b"POST /a HTTP/1.1", [*BROWSER, b"Content-Length: 3", b"Connection: keep-alive"]))
    assert both_take(head(b"GET / HTTP/1.1", [*BROWSER, b"X-Forwarded-For: 192.0.2.9", b"X-Request-Id: 1"]))
    assert both_take_response(head(b"HTTP/1.1 200 OK", [b"Content-Length: 3", b"Set-Cookie: a", b"Set-Cookie: b"]))
    assert both_take_response(head(b"HTTP/1.1 404 Not Found", [b"Transfer-Encoding: chunked", b"Connection: close"]))


@pytest.mark.parametrize("name", [b"X_Forwarded_For", b"x.forwarded-for", b"Cont\xe9nt", b"A!", b"X`Y"])
def test_a_name_that_is_read_as_another_one_is_not_plain(name):
    """Such names are dropped by the judges' path, which looks at what each is read as."""
    assert plain_request(head(b"GET / HTTP/1.1", [b"Host: a", name + b": 1"])) is None


def test_known_names_do_not_grow():
    """Names that a client makes up are not remembered."""
    size = len(KNOWN)
    for number in range(100):
        both_take(head(b"GET / HTTP/1.1", [b"Host: a", b"X-%d: 1" % number]))
    assert len(KNOWN) == size
