"""Methods that llhttp does not know: refused, or with ``methods: any`` framed by the rules of all others."""

import pytest

from ratelimitd.http1 import ServerOptions
from ratelimitd.http1.heads import parse_request, read_other_method, read_request
from ratelimitd.http1.model import ErrorResponse
from tests.http1 import shown
from tests.http1.framing_table import REQUESTS
from tests.http1.rig import OK, endpoint

ANY = ServerOptions(methods="any")
HOST = b"Host: a\r\n"
REFUSED = ErrorResponse(501, "unknown method")


async def test_any_method_is_forwarded_where_the_option_says_so(rigs, upstream):
    """With its body and framing as sent, and the connection goes on."""
    rig = await rigs(endpoint(upstream), server=ANY)
    client = await rig.client()
    for method, version in ((b"BREW", b"1.1"), (b"VERSION-CONTROL", b"1.1"), (b"DESCRIBE", b"1.0")):
        head = b"%b /a?b HTTP/%b\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n" % (method, version)
        await client.send(head + b"abc")
        end = await upstream.accept() if not rig.summaries else end  # noqa: F821 -- of the round before
        assert (await end.until()).startswith(b"%b /a?b HTTP/1.1\r\n" % method)
        assert await end.exactly(3) == b"abc"
        await end.send(OK)
        assert (await client.answer())[1] == b"ok"
    assert [request.method for request in rig.requests] == [b"BREW", b"VERSION-CONTROL", b"DESCRIBE"]


async def test_by_default_it_is_501_also_after_a_listener_that_forwarded_it(rigs, upstream):
    """The heads of a listener that knows any method are not found by one that does not."""
    asked = b"BREW / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    knowing = await rigs(endpoint(upstream), server=ANY)
    for _ in range(3):
        client = await knowing.client()
        await client.send(asked)
        end = await upstream.accept()
        await end.until()
        end.close()
        await client.rest()
    plain = await rigs(endpoint(upstream))
    head, _ = await (await plain.client()).ask(asked)
    assert head.startswith(b"HTTP/1.1 501 ")


@pytest.mark.parametrize(
    "start",
    [
        *(b"CONNECT a:443", b"CONNECT /", b"PRI /", b"PRI *", b"BREW *", b"BREW a", b"BREW  /", b" BREW /", b"BREW\t/"),
        *(
            b"post /",
            b"Brew /",
            b"gEt /",
            b"BR(EW /",
            b"BR/EW /",
            b'BR"EW /',
            b"BR\xe9W /",
            b"BR\x00W /",
            b"BREW: /",
            b" /",
        ),
        *(b"X" * 65 + b" /", b"HTTP/1.1 200"),
    ],
)
def test_what_is_no_method_stays_refused(start):
    """No token, lower case, too long, CONNECT, and the beginning of HTTP/2; and targets are as strict as ever."""
    raw = start + b" HTTP/1.1\r\n" + HOST + b"\r\n"
    refused = read_request(raw)
    assert isinstance(refused, ErrorResponse)
    found = read_other_method(raw, refused)
    assert isinstance(found, ErrorResponse)
    assert found.status in {400, 405, 501, 505}


@pytest.mark.parametrize("name", REQUESTS)
def test_framing_is_as_strict_as_with_a_known_method(name):
    """Each message of docs/http-framing.md is taken or refused with another method as it is with PUT."""
    line, separator, rest = REQUESTS[name].partition(b" ")
    head = (separator + rest)[: (separator + rest).find(b"\r\n\r\n") + 4]
    if line == b"CONNECT" or len(head) < 4:
        pytest.skip("of the method itself, or without an end")
    known, other = read_request(b"PUT" + head), read_other_method(b"BREW" + head, REFUSED)
    if isinstance(known, ErrorResponse):
        assert other == known
    else:
        other.method = b"PUT"
        assert shown.request(other) == shown.request(known)


def test_a_known_method_is_read_as_without_the_option():
    """A head that is refused for another reason is refused for the same one."""
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
    refused = read_request(raw)
    assert read_other_method(raw, refused) == refused
    assert isinstance(parse_request(b"GET /\r\n\r\n"), ErrorResponse)
