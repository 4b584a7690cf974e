"""Routes and limits read the headers that the upstream gets. Pure."""

import pytest

from ratelimitd.gateway.heard import heard
from ratelimitd.http1.framing import frame_request
from ratelimitd.http1.headers import CLAIMS, to_upstream
from ratelimitd.http1.heads import parse_request
from ratelimitd.http1.model import Peer, Request


def request(*lines):
    head = parse_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n")
    return Request(frame_request(head), Peer("192.0.2.1", 9), "http")


def read(*lines, trusted=False):
    return [(name.lower(), value) for name, value in heard(request(*lines), trusted=trusted, claims=True).headers]


@pytest.mark.parametrize(
    "named", [b"X-API-Key", b"close, x-api-key", b" Authorization ,X-API-KEY", b"a\r\nConnection: X-Api-Key"]
)
@pytest.mark.parametrize("trusted", [True, False])
def test_what_connection_names_is_not_read(named, trusted):
    """A key that ends at the gateway counts for nothing: the upstream serves the request as one without it."""
    names = [name for name, _ in read(b"X-API-Key: 1", b"X-Other: 2", b"Connection: " + named, trusted=trusted)]
    assert b"x-api-key" not in names
    assert b"x-other" in names


@pytest.mark.parametrize("claim", sorted({*CLAIMS, b"x-forwarded-for", b"x-forwarded-user", b"forwarded"}))
def test_the_claims_of_a_stranger_are_not_read(claim):
    """They do not reach the upstream; X-Forwarded-* are read as the gateway sends them."""
    assert (claim, b"9.9.9.9") not in read(claim + b": 9.9.9.9")
    assert (claim, b"9.9.9.9") in read(claim + b": 9.9.9.9", trusted=True)
    assert (b"x-forwarded-for", b"192.0.2.1") in read(claim + b": 9.9.9.9")


@pytest.mark.parametrize("trusted", [True, False])
def test_what_is_read_is_what_the_upstream_gets(trusted):
    """Each line that is read goes on with the same value; X-Forwarded-For of a trusted proxy is added to."""
    asked = request(b"X-Real-IP: 1", b"X-A: 1", b"X-B: 2", b"X-Forwarded-Proto: ftp", b"Connection: X-B, X-Real-IP")
    lines = to_upstream(asked, trusted=trusted).split(b"\r\n")[:-1]
    gets = {(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)}
    reads = {(name.lower(), value) for name, value in heard(asked, trusted=trusted, claims=True).headers}
    assert (b"x-forwarded-for", b"192.0.2.1") in reads
    assert {pair for pair in reads if pair[0] not in {b"connection", b"host"}} <= gets


def test_the_gateway_adds_to_what_a_trusted_proxy_says():
    """X-Forwarded-For has one line more, and what it does not say is what the connection shows."""
    said = read(b"X-Forwarded-For: 9.9.9.9", b"X-Forwarded-Host: b", trusted=True)
    assert said[1:] == [
        (b"x-forwarded-for", b"9.9.9.9"),
        (b"x-forwarded-host", b"b"),
        (b"x-forwarded-for", b"192.0.2.1"),
        (b"x-forwarded-proto", b"http"),
        (b"via", b"1.1 ratelimitd"),
    ]


def test_without_claims_and_names_the_lines_are_those_of_the_request():
    """Nothing is copied where nothing is to be taken out."""
    asked = request(b"X-Forwarded-For: 1", b"Connection: keep-alive")
    assert heard(asked, trusted=False, claims=False) is asked.head
