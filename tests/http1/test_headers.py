"""What goes on and what is added. Pure."""

import pytest

from ratelimitd.http1.framing import frame_request
from ratelimitd.http1.headers import CLAIMS, to_client, to_upstream
from ratelimitd.http1.heads import parse_request, parse_response
from ratelimitd.http1.model import Peer, Request
from tests.http1.shown import headers_of


def request(*lines, version=b"1.1", address="192.0.2.1"):
    head = parse_request(b"GET / HTTP/" + version + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n")
    return Request(frame_request(head), Peer(address, 9), "https")


def upstream_gets(*lines, trusted=False, request_id=b"", **of):
    return onward(request(*lines, **of), trusted=trusted, request_id=request_id)


def onward(sent, **of):
    return headers_of(to_upstream(sent, **of))


HOP = [b"Alt-Svc", b"Proxy-Connection", b"Keep-Alive", b"Proxy-Authenticate", b"Proxy-Authorization", b"Te", b"Trailer"]


@pytest.mark.parametrize("name", [*HOP, b"Upgrade", b"Connection", b"Expect"])
def test_hop_by_hop_headers_are_dropped(name):
    """Caddy's list goes, whether Connection names it or not."""
    assert name.lower() not in [got.lower() for got, _ in upstream_gets(b"Host: a", name + b": 100-continue")]


def test_ours_replace_those_of_the_upstream_except_vary():
    """Vary is a list that both add to; what is withheld does not pass, replaced or not."""
    head = parse_response(b"HTTP/1.1 200 OK\r\nvary: A\r\nX-One: up\r\nX-TWO: up\r\nX-Three: up\r\n\r\n")
    got = headers_of(to_client(head, [(b"Vary", b"B"), (b"X-One", b"ours")], frozenset((b"x-two",))))[1:]
    shown = [(b"vary", b"A"), (b"X-Three", b"up"), (b"Vary", b"B"), (b"X-One", b"ours")]
    assert [header for header in got if header[0] != b"Via"] == shown
    assert b"X-TWO" not in to_client(head, [], frozenset((b"x-two",)))


def test_what_is_kept_is_kept_to_the_byte():
    """Order, case, repeated lines and odd bytes stay; Host is the sender's, who writes it first."""
    lines = [(b"X-b", b"\xff"), (b"Cookie", b"1"), (b"x-B", b""), (b"cookie", b"2"), (b"Accept", b"*")]
    assert lines == upstream_gets(b"hOsT: a", *(b"%b: %b" % line for line in lines))[:5]


def test_connection_cannot_take_away_what_frames_or_what_we_say():
    """Hop-by-hop first, then our own: naming Host, Content-Length or X-Forwarded-For in Connection changes nothing."""
    named = b"Connection: Host, Content-Length, X-Forwarded-For, X-Request-Id, Via, X-Foo"
    got = dict(upstream_gets(b"Host: a", b"Content-Length: 0", named, b"X-Foo: 1", request_id=b"id"))
    assert b"X-Foo" not in got
    assert {b"Content-Length", b"X-Forwarded-For", b"X-Request-Id", b"Via"} <= got.keys()


SAID = (
    b"Host: a:8",
    b"X-Forwarded-For: 1.1.1.1",
    b"x-forwarded-for: 2.2.2.2",
    b"X-Forwarded-Proto: ftp",
    b"X-Forwarded-Host: b",
    b"X-Forwarded-Port: 1",
    b"Forwarded: for=1.1.1.1",
)


def test_an_untrusted_peer_says_nothing_about_the_way():
    """What it says is dropped, and replaced by what we saw."""
    assert upstream_gets(*SAID) == [
        (b"X-Forwarded-For", b"192.0.2.1"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"a:8"),
        (b"Forwarded", b'for=192.0.2.1;proto=https;host="a:8"'),
        (b"Via", b"1.1 ratelimitd"),
    ]


def test_a_trusted_peer_is_appended_to():
    """What it says stays, lines of one name joined in their order, and we come after it."""
    assert upstream_gets(*SAID, trusted=True) == [
        (b"X-Forwarded-Port", b"1"),
        (b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2, 192.0.2.1"),
        (b"X-Forwarded-Proto", b"ftp"),
        (b"X-Forwarded-Host", b"b"),
        (b"Forwarded", b'for=1.1.1.1, for=192.0.2.1;proto=https;host="a:8"'),
        (b"Via", b"1.1 ratelimitd"),
    ]


def test_an_ipv6_peer_is_quoted_in_forwarded():
    """RFC 7239 6: in brackets and quotes; X-Forwarded-For has it bare."""
    got = dict(upstream_gets(b"Host: a", address="2001:db8::1"))
    assert (got[b"X-Forwarded-For"], got[b"Forwarded"]) == (b"2001:db8::1", b'for="[2001:db8::1]";proto=https;host=a')


def test_a_unix_socket_has_no_address():
    """A peer without an address is unknown, as RFC 7239 spells it."""
    got = dict(upstream_gets(b"Host: a", address=""))
    assert (got[b"X-Forwarded-For"], got[b"Forwarded"]) == (b"unknown", b"for=unknown;proto=https;host=a")


def test_via_is_appended_with_the_version_it_came_in():
    """Via grows by a line; those before it stay."""
    assert [value for name, value in upstream_gets(b"Via: 1.0 x", version=b"1.0") if name == b"Via"] == [
        b"1.0 x",
        b"1.0 ratelimitd",
    ]


def test_the_request_id_replaces_the_clients():
    """A request id that is given goes instead of any the client sent; without one the client's stays."""
    sent = b"Host: a", b"x-request-id: 1", b"X-Request-Id: 2"
    assert [header for header in upstream_gets(*sent, request_id=b"new") if header[0].lower() == b"x-request-id"] == [
        (b"X-Request-Id", b"new")
    ]
    assert (b"x-request-id", b"1") in upstream_gets(*sent)


LIKE_OTHERS = [
    b"X_Forwarded_For",
    b"X.Forwarded-Proto",
    b"x_forwarded_port",
    b"X_Request-Id",
    b"X_Real_IP",
    b"X-Own_Key",
]
LIKE_OTHERS += [b"Transfer_Encoding", b"Proxy.Authorization", b"Content_Length", b"X-Forwarded_"]


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("name", LIKE_OTHERS)
def test_a_name_that_programs_read_as_another_one_is_dropped(name, trusted):
    """WSGI, CGI and PHP read each such character as a hyphen, so it would stand for what is removed or counted."""
    read = frozenset((b"x-own-key",))
    sent = request(b"Host: a", name + b": 1", b"X_Other: 2", b"X-Own-Key: 3")
    got = onward(sent, trusted=trusted, read=read)
    assert (name not in dict(got), (b"X_Other", b"2") in got, (b"X-Own-Key", b"3") in got) == (True, True, True)
    assert (name, b"1") in onward(sent, trusted=trusted, read=None)


def test_a_name_that_is_read_as_it_is_stays():
    """A header with an underscore that a limit reads."""
    assert (b"x_key", b"1") in onward(
        request(b"Host: a", b"x_key: 1"), trusted=False, read=frozenset((b"x_key", b"x-key"))
    )


@pytest.mark.parametrize("name", sorted(CLAIMS))
def test_a_claim_of_an_address_or_a_url_is_a_trusted_peers(name):
    """Anybody could write X-Real-IP or X-Original-URL, and programs believe it."""
    sent = request(b"Host: a", name + b": 192.0.2.9")
    assert (name, b"192.0.2.9") in onward(sent, trusted=True)
    assert name not in dict(onward(sent, trusted=False))


def test_te_trailers_is_said_by_ourselves():
    """TE is for one hop, but we do pass trailers on, so we say so to the next where the client did."""
    assert (b"TE", b"trailers") in upstream_gets(b"Host: a", b"te: gzip, Trailers")
    assert b"TE" not in dict(upstream_gets(b"Host: a", b"TE: gzip"))


def client_gets(*lines, status=b"200 OK", ours=()):
    head = parse_response(b"HTTP/1.1 " + status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n")
    start, _, lines = to_client(head, list(ours)).partition(b"\r\n")
    assert start == b"HTTP/1.1 " + status
    return headers_of(lines)


def test_a_response_loses_its_hop_headers_and_nothing_else():
    """Order, case and repeated Set-Cookie stay, hop-by-hop goes, Via is added."""
    lines = (
        b"SET-Cookie: a",
        b"Keep-Alive: 5",
        b"Set-Cookie: b",
        b"Connection: x-hop",
        b"X-Hop: 1",
        b"Content-Length: 3",
    )
    assert client_gets(*lines) == [
        (b"SET-Cookie", b"a"),
        (b"Set-Cookie", b"b"),
        (b"Content-Length", b"3"),
        (b"Via", b"1.1 ratelimitd"),
    ]


@pytest.mark.parametrize(("status", "kept"), [(b"204 No Content", False), (b"304 Not Modified", True)])
def test_a_length_goes_where_there_can_be_no_body(status, kept):
    """A 204 has no Content-Length (RFC 9110 8.6), a 304 may."""
    assert kept is (b"Content-Length" in dict(client_gets(b"Content-Length: 3", status=status)))


def test_ours_stand_in_for_the_upstreams():
    """Headers of ours replace those of the same name, whatever their case."""
    assert client_gets(b"x-id: 2", b"X-ID: 3", ours=[(b"X-Id", b"1")]) == [(b"Via", b"1.1 ratelimitd"), (b"X-Id", b"1")]
