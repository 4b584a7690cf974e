"""What is refused before anybody acts on it. Pure: bytes in, judgement out."""

import pytest

from ratelimitd.http1.framing import SINGLE, frame_request, frame_response, grants_websocket
from ratelimitd.http1.heads import invalid_start, parse_request, parse_response, read_response
from ratelimitd.http1.model import CHUNKED, UNTIL_CLOSE, ErrorResponse, RequestHead


def judge(head):
    parsed = parse_request(head)
    return parsed if isinstance(parsed, ErrorResponse) else frame_request(parsed)


def answer(head, method=b"GET"):
    parsed = parse_response(head)
    return parsed if isinstance(parsed, ErrorResponse) else frame_response(method, parsed)


def head(*lines):
    return b"\r\n".join(lines) + b"\r\n\r\n"


POST = b"POST / HTTP/1.1", b"Host: a"
REFUSED = {
    "both CL+TE": (400, head(*POST, b"Content-Length: 1", b"Transfer-Encoding: chunked")),
    "repeated differing CL": (400, head(*POST, b"Content-Length: 1", b"Content-Length: 2")),
    "repeated equal CL": (400, head(*POST, b"Content-Length: 1", b"Content-Length: 1")),
    "a list of CL": (400, head(*POST, b"Content-Length: 1, 1")),
    "signed CL": (400, head(*POST, b"Content-Length: +1")),
    "hex CL": (400, head(*POST, b"Content-Length: 0x1")),
    "empty CL": (400, head(*POST, b"Content-Length:")),
    "CL with a leading zero": (400, head(*POST, b"Content-Length: 01")),
    "CL beyond 18 digits": (400, head(*POST, b"Content-Length: 1000000000000000000")),
    "TE on 1.0": (400, head(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked")),
    "gzip, chunked": (400, head(*POST, b"Transfer-Encoding: gzip, chunked")),
    "chunked twice": (400, head(*POST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    "chunked, identity": (400, head(*POST, b"Transfer-Encoding: chunked, identity")),
    "xchunked": (400, head(*POST, b"Transfer-Encoding: xchunked")),
    "quoted chunked": (400, head(*POST, b'Transfer-Encoding: "chunked"')),
    "vertical tab before chunked": (400, head(*POST, b"Transfer-Encoding: \x0bchunked")),
    "blank before the colon": (400, head(*POST, b"Transfer-Encoding : chunked")),
    "obs-fold": (400, head(*POST, b"X: a", b" b")),
    "obs-fold with a tab": (400, head(*POST, b"X: a", b"\tb")),
    "a fold in the first header": (400, head(b"GET / HTTP/1.1", b" Host: a")),
    "bare LF": (400, b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    "bare LF throughout": (400, b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n"),
    "bare CR": (400, head(b"GET / HTTP/1.1", b"Host: a", b"X: a\rb")),
    "CR before CRLF": (400, b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    "NUL in a value": (400, head(b"GET / HTTP/1.1", b"Host: a", b"X: a\x00b")),
    "control byte in a value": (400, head(b"GET / HTTP/1.1", b"Host: a", b"X: a\x01b")),
    "DEL in a value": (400, head(b"GET / HTTP/1.1", b"Host: a", b"X: a\x7fb")),
    "no colon": (400, head(b"GET / HTTP/1.1", b"Host: a", b"X")),
    "empty name": (400, head(b"GET / HTTP/1.1", b"Host: a", b": b")),
    "name with a blank": (400, head(b"GET / HTTP/1.1", b"Host: a", b"X Y: b")),
    "name beyond ASCII": (400, head(b"GET / HTTP/1.1", b"Host: a", b"X\xff: b")),
    "no Host": (400, head(b"GET / HTTP/1.1")),
    "two Hosts": (400, head(b"GET / HTTP/1.1", b"Host: a", b"Host: a")),
    "two Hosts on 1.0": (400, head(b"GET / HTTP/1.0", b"Host: a", b"Host: b")),
    "empty Host": (400, head(b"GET / HTTP/1.1", b"Host:")),
    "Host with a path": (400, head(b"GET / HTTP/1.1", b"Host: a/b")),
    "Host with a user": (400, head(b"GET / HTTP/1.1", b"Host: u@a")),
    "a list of Hosts": (400, head(b"GET / HTTP/1.1", b"Host: a, b")),
    "Host with two ports": (400, head(b"GET / HTTP/1.1", b"Host: a:1:2")),
    "HTTP 0.9": (505, head(b"GET /")),
    "HTTP 1.2": (505, head(b"GET / HTTP/1.2", b"Host: a")),
    "HTTP 2.0": (505, head(b"PRI * HTTP/2.0")),
    "two blanks": (400, head(b"GET  / HTTP/1.1", b"Host: a")),
    "a tab in the request line": (400, head(b"GET\t/ HTTP/1.1", b"Host: a")),
    "a blank before the method": (400, head(b" GET / HTTP/1.1", b"Host: a")),
    "a blank after the version": (400, head(b"GET / HTTP/1.1 ", b"Host: a")),
    "an empty line before the request": (400, head(b"", b"")),
    "lower-case version": (400, head(b"GET / http/1.1", b"Host: a")),
    "a method nobody knows": (501, head(b"BREW / HTTP/1.1", b"Host: a")),
    "a method that is no word": (400, head(b"G@T / HTTP/1.1", b"Host: a")),
    "CONNECT": (405, head(b"CONNECT a:443 HTTP/1.1", b"Host: a")),
    "a fragment": (400, head(b"GET /a#b HTTP/1.1", b"Host: a")),
    "a target without a slash": (400, head(b"GET a HTTP/1.1", b"Host: a")),
    "an asterisk for GET": (400, head(b"GET * HTTP/1.1", b"Host: a")),
    "another scheme": (400, head(b"GET ftp://a/ HTTP/1.1", b"Host: a")),
    "absolute with a user": (400, head(b"GET http://u@a/ HTTP/1.1", b"Host: a")),
    "absolute without a host": (400, head(b"GET http:///a HTTP/1.1", b"Host: a")),
    "a target beyond ASCII": (400, head(b"GET /\xc3\xa9 HTTP/1.1", b"Host: a")),
    "unknown expectation": (417, head(*POST, b"Content-Length: 1", b"Expect: 200-ok")),
    "two expectations": (400, head(*POST, b"Content-Length: 1", b"Expect: 100-continue", b"Expect: 100-continue")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_doubtful_requests_are_refused(case):
    """Whatever could be read in two ways is refused: both CL+TE; differing CL; obs-fold, bare LF, NUL, CR, LF; Host."""
    status, request = REFUSED[case]
    judged = judge(request)
    assert isinstance(judged, ErrorResponse), judged
    assert status == judged.status, judged


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_a_second_line_of_what_is_no_list_is_refused(name):
    """Whatever its case; the reason names the field, where not httptools has it."""
    found = judge(head(*POST[:1], *((b"Host: a",) if name != b"host" else ()), name + b": 1", name.title() + b": 1"))
    assert isinstance(found, ErrorResponse)
    assert (found.status, "more than once" in found.reason) == (400, name != b"content-length")


@pytest.mark.parametrize("name", [b"Accept", b"Cookie", b"Via", b"X-Own"])
def test_lists_and_unknown_fields_may_have_several_lines(name):
    """Cookie too, as a hop from HTTP/2 may leave its lines apart."""
    assert not isinstance(judge(head(b"GET / HTTP/1.1", b"Host: a", name + b": 1", name + b": 2")), ErrorResponse)


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ((b"GET / HTTP/1.1", b"Host: a"), 0),
        ((b"GET / HTTP/1.0",), 0),
        ((*POST, b"Content-Length: 0"), 0),
        ((*POST, b"Content-Length: 17"), 17),
        ((*POST, b"content-length:\t17 \t"), 17),
        ((*POST, b"Transfer-Encoding: Chunked"), CHUNKED),
    ],
)
def test_a_request_has_the_length_it_says(lines, length):
    """A body is as long as Content-Length says, in chunks, or not there."""
    assert length == judge(head(*lines)).length


@pytest.mark.parametrize(
    ("target", "sent", "path", "query", "authority"),
    [
        (b"/a/%2F/b?c=%20&d?e", b"/a/%2F/b?c=%20&d?e", b"/a/%2F/b", b"c=%20&d?e", b"here"),
        (b"/a?", b"/a?", b"/a", b"", b"here"),
        (b"//a", b"//a", b"//a", b"", b"here"),
        (b'/a|b"{}', b'/a|b"{}', b'/a|b"{}', b"", b"here"),
        (b"http://there:8/a?b", b"/a?b", b"/a", b"b", b"there:8"),
        (b"HTTP://there?b", b"/?b", b"/", b"b", b"there"),
        (b"http://[::1]:80", b"/", b"/", b"", b"[::1]:80"),
    ],
)
def test_targets_are_taken_apart_but_not_changed(target, sent, path, query, authority):
    """Absolute-form target: its path is taken and its authority is the Host; else every byte stays as it is."""
    framed = judge(head(b"GET %b HTTP/1.1" % target, b"X: y", b"hOST: here"))
    assert (sent, path, query, authority) == (framed.target, framed.path, framed.query, framed.authority)
    assert [(b"X", b"y"), (b"hOST", authority)] == framed.headers


def test_an_absolute_target_gives_a_request_of_1_0_a_host():
    """A 1.0 request with an absolute target and no Host gets the target's."""
    assert judge(head(b"GET http://b/ HTTP/1.0", b"X: y")).headers == [(b"Host", b"b"), (b"X", b"y")]


@pytest.mark.parametrize("target", [b"*", b"http://a"])
def test_options_may_ask_about_the_server(target):
    """The asterisk is for OPTIONS, of which an absolute target without a path is another spelling."""
    assert judge(head(b"OPTIONS %b HTTP/1.1" % target, b"Host: a")).target == b"*"


@pytest.mark.parametrize(
    ("version", "connection", "keep"),
    [
        (b"1.1", None, True),
        (b"1.1", b"close", False),
        (b"1.1", b"x, Close", False),
        (b"1.0", None, False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"keep-alive, close", False),
    ],
)
def test_persistence_is_by_version_and_connection(version, connection, keep):
    """1.1 goes on unless told to close, 1.0 closes unless told to go on."""
    lines = [b"GET / HTTP/" + version, b"Host: a"] + ([b"Connection: " + connection] if connection else [])
    assert keep is judge(head(*lines)).keep_alive


@pytest.mark.parametrize(
    ("lines", "granted"),
    [
        ((b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: WebSocket"), True),
        ((b"GET / HTTP/1.1", b"Connection: keep-alive, upgrade", b"Upgrade: websocket"), True),
        ((b"GET / HTTP/1.1", b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade: websocket"), True),
        ((b"GET / HTTP/1.1", b"Upgrade: websocket"), False),
        ((b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c"), False),
        ((b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c, websocket"), False),
        ((b"GET / HTTP/1.0", b"Connection: Upgrade", b"Upgrade: websocket"), False),
        ((b"POST / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket"), False),
        ((b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 1"), False),
        ((b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked"), False),
    ],
)
def test_only_a_get_without_a_body_may_become_a_tunnel(lines, granted):
    """Only `Upgrade: websocket` by GET without a body, on 1.1, and named in Connection."""
    assert granted is judge(head(lines[0], b"Host: a", *lines[1:])).websocket


def test_a_101_must_be_the_switch_that_was_asked_for():
    """A matching 101 names websocket in Upgrade and upgrade in Connection."""
    right = parse_response(head(b"HTTP/1.1 101 X", b"Upgrade: websocket", b"Connection: upgrade"))
    wrong = parse_response(head(b"HTTP/1.1 101 X", b"Upgrade: h2c", b"Connection: upgrade"))
    assert [grants_websocket(each) for each in (right, wrong)] == [True, False]
    assert isinstance(parse_response(head(b"HTTP/1.1 101 X", b"Upgrade: websocket")), ErrorResponse)


BAD_RESPONSES = {
    "CL and TE": head(b"HTTP/1.1 200 OK", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
    "two CL": head(b"HTTP/1.1 200 OK", b"Content-Length: 1", b"Content-Length: 1"),
    "a list of CL": head(b"HTTP/1.1 200 OK", b"Content-Length: 1, 1"),
    "TE on 1.0": head(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked"),
    "gzip, chunked": head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip, chunked"),
    "obs-fold": head(b"HTTP/1.1 200 OK", b"A: b", b" c"),
    "bare LF": b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
    "NUL": head(b"HTTP/1.1 200 OK", b"A: b\x00"),
    "HTTP 2.0": head(b"HTTP/2.0 200 OK"),
    "four digits": head(b"HTTP/1.1 2000 OK"),
    "no status": head(b"HTTP/1.1 OK"),
    "two blanks": head(b"HTTP/1.1  200 OK"),
    "blank before the colon": head(b"HTTP/1.1 200 OK", b"A : b"),
    "nonsense": head(b"hello"),
}


@pytest.mark.parametrize("case", BAD_RESPONSES)
def test_doubtful_responses_are_refused(case):
    """A response that could be read in two ways is a 502."""
    judged = answer(BAD_RESPONSES[case])
    assert isinstance(judged, ErrorResponse), judged
    assert judged.status == 502


@pytest.mark.parametrize(
    ("method", "lines", "length"),
    [
        (b"HEAD", (b"HTTP/1.1 200 OK", b"Content-Length: 5"), 0),
        (b"HEAD", (b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"), 0),
        (b"GET", (b"HTTP/1.1 204 No", b"Content-Length: 5"), 0),
        (b"GET", (b"HTTP/1.1 304 No", b"Content-Length: 5"), 0),
        (b"GET", (b"HTTP/1.1 200 OK", b"Content-Length: 5"), 5),
        (b"GET", (b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"), CHUNKED),
        (b"GET", (b"HTTP/1.1 200 OK",), UNTIL_CLOSE),
        (b"GET", (b"HTTP/1.1 200",), UNTIL_CLOSE),
    ],
)
def test_a_response_has_the_length_it_says(method, lines, length):
    """HEAD/204/304 no body; else by length, in chunks, or until the connection closes."""
    assert length == answer(head(*lines), method).length


def test_framing_does_not_lean_on_the_parser():
    """What httptools refuses as well is refused here too, should it once become lenient."""
    lines = [(b"Host", b"a"), (b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")]
    head = RequestHead(b"POST", b"/", b"1.1", lines, [b"host", b"content-length", b"transfer-encoding"])
    assert frame_request(head).status == 400


def test_what_was_judged_for_get_is_not_what_it_is_for_head():
    """The memory of heads knows that the same head has a body after GET and none after HEAD, in either order."""
    raw = head(b"HTTP/1.1 200 OK", b"Content-Length: 7")
    assert [read_response(method, raw)[1].length for method in (b"GET", b"HEAD") * 2] == [7, 0, 7, 0]


@pytest.mark.parametrize(
    ("part", "bad"),
    [(b"GET / HT", False), (b"GET / HTTP/1.1\r", False), (b"GET /\n", True), (b"\x16\x03\x01", True), (b"a\rb", True)],
)
def test_a_head_that_cannot_be_one_is_known_before_its_end(part, bad):
    """A bare LF or a TLS hello is refused at once, not when the head's time is over."""
    assert bad is bool(invalid_start(part))
