"""Checklist 2.3 on raw sockets: what a client and an upstream see of each other through the gateway."""

import socket

import pytest

from ratelimitd.http1 import ServerOptions
from ratelimitd.net.listen import bind
from tests.http1.rig import OK, endpoint, forwarded, get, post, unsent, until

SMUGGLED = {
    "both CL+TE": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "repeated differing CL": b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "gzip, chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"X: a\nContent-Length: 44\r\n\r\n",
    "obs-fold": b"X: a\r\n Content-Length: 44\r\n\r\n",
    "NUL": b"X: a\x00\r\n\r\n",
    "blank before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Host twice": b"Host: b\r\n\r\n",
}


@pytest.mark.parametrize("case", SMUGGLED)
async def test_doubt_is_answered_with_400_and_a_close(rig, upstream, case):
    """Both CL+TE → 400 and close; so differing CL, obs-fold, bare LF, NUL in values, dup Host; no upstream sees any."""
    client = await rig.client()
    smuggled = get(b"/admin")
    head, _ = await client.ask(b"POST / HTTP/1.1\r\nHost: a\r\n" + SMUGGLED[case] + smuggled)
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Connection: close\r\n" in head
    await client.closed()
    assert upstream.untouched
    assert [refusal.status for refusal in rig.refusals] == [400]
    assert rig.requests == []


@pytest.mark.parametrize(("target", "sent"), [(b"http://evil:1/a%2Fb?c", b"/a%2Fb?c"), (b"http://evil:1", b"/")])
async def test_an_absolute_target_names_the_host_not_the_upstream(rig, upstream, target, sent):
    """Absolute-form target: sent on in origin form with its authority as Host; the handler alone says to whom."""
    client = await rig.client()
    await client.send(get(target))
    head = await (await upstream.accept()).until()
    assert head.startswith(b"GET %b HTTP/1.1\r\nHost: evil:1\r\n" % sent)


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"])
async def test_host_is_there_once(rig, request_):
    """`Host` missing/dup → 400."""
    head, _ = await (await rig.client()).ask(request_)
    assert head.startswith(b"HTTP/1.1 400 ")


async def test_host_is_written_once_and_first(rig, upstream):
    """Whatever its place, its case and what Connection says of it."""
    client = await rig.client()
    await client.send(b"GET / HTTP/1.1\r\nAccept: */*\r\nhOST: a:8\r\nConnection: Host\r\n\r\n")
    head = await (await upstream.accept()).until()
    assert head.startswith(b"GET / HTTP/1.1\r\nHost: a:8\r\nAccept: */*\r\n")
    assert head.lower().count(b"\r\nhost:") == 1


async def test_a_1_0_request_without_host_gets_the_endpoints(rig, upstream):
    """HTTP/1.0 may leave Host out; the upstream, asked in 1.1, gets one all the same."""
    client = await rig.client()
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    end = await upstream.accept()
    assert b"Host: 127.0.0.1:%d\r\n" % upstream.port in await end.until()
    await end.send(OK)
    head, body = await client.answer()
    assert b"Connection: close\r\n" in head
    assert body == b"ok"
    await client.closed()


async def test_1_0_keeps_alive_when_asked(rig, upstream):
    """A 1.0 client that says keep-alive is told keep-alive, and its connection goes on."""
    client = await rig.client()
    await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    end = await upstream.accept()
    await end.until()
    await end.send(OK)
    head, _ = await client.answer()
    assert b"Connection: keep-alive\r\n" in head
    await client.send(get())
    await end.until()


async def test_1_0_gets_a_body_of_unknown_length_until_close(rig, upstream):
    """Chunks are nothing to a 1.0 client: it gets the bytes, and the end of the connection as their end."""
    client = await rig.client()
    await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    end = await upstream.accept()
    await end.until()
    await end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
    whole = await client.rest()
    assert whole.endswith(b"\r\n\r\nabcdef")
    assert b"Transfer-Encoding" not in whole
    assert b"Connection: close\r\n" in whole


async def test_expect_is_answered_when_the_body_can_be_forwarded(rig, upstream):
    """`Expect: 100-continue` answered: when an upstream is there to take the body, and not passed on."""
    client = await rig.client()
    await client.send(post(b"", b"Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: 4"))
    end = await upstream.accept()
    assert b"xpect" not in await end.until()
    assert await client.until() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"body")
    assert await end.exactly(4) == b"body"
    await end.send(OK)
    assert (await client.answer())[0].startswith(b"HTTP/1.1 200 OK\r\n")


async def test_expect_is_not_answered_by_a_refusal(rigs, upstream):
    """A local answer comes without 100, and ends the connection, since the body may come or not."""

    def deny(request, exchange):
        exchange.respond(429, [], b"no")

    rig = await rigs(endpoint(upstream), handler=deny)
    client = await rig.client()
    head, body = await client.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"Connection: close\r\n" in head
    assert body == b"no"
    await client.closed()


async def test_another_expectation_is_417(rig):
    """An expectation nobody knows is refused."""
    head, _ = await (await rig.client()).ask(post(b"x", b"Expect: tea"))
    assert head.startswith(b"HTTP/1.1 417 ")


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (get(), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (get(), b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    ],
)
async def test_answers_without_a_body(rig, upstream, request_, answer):
    """HEAD/204/304 no body: the connection goes on at once, on both sides."""
    client = await rig.client()
    await client.send(request_)
    end = await upstream.accept()
    await end.until()
    await end.send(answer)
    head = await client.until()
    assert (b"Content-Length: 5" in answer) == (b"Content-Length: 5" in head)
    await client.send(get(b"/next"))
    assert (await end.until()).startswith(b"GET /next ")


async def test_trailers_are_forwarded_knowingly_to_the_client(rig, upstream):
    """Trailers forwarded knowingly: those that only inform go on behind the last chunk, the others do not."""
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
    await end.send(b"2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n")
    head = await client.until()
    assert b"Trailer" not in head.replace(b"Transfer", b"")
    assert await client.until(b"X-Sum: 1\r\n\r\n") == b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"


async def test_a_trailer_of_a_response_says_nothing_that_its_head_may_not(rig, upstream):
    """Neither what Connection nominates nor what the gateway itself says, nor when to try again."""
    rig.response_headers = [(b"X-Request-Id", b"1"), (b"X-RateLimit-Limit", b"5")]
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\n\r\n0\r\n")
    await end.send(b"x-hop: 1\r\nx-ratelimit-limit: 9\r\nX-REQUEST-ID: 2\r\nRetry-After: 1\r\nX-Sum: 1\r\n\r\n")
    await client.until()
    assert await client.until(b"\r\n\r\n") == b"0\r\nX-Sum: 1\r\n\r\n"


async def test_no_trailer_of_a_request_is_forwarded(rig, upstream):
    """A program that merges trailers into the head would take one for what the gateway removed from it."""
    client = await rig.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n")
    await client.send(b"2;x=y\r\nhi\r\n0\r\nX-Sum: 1\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
    end = await upstream.accept()
    head = await end.until()
    assert b"TE: trailers\r\n" in head
    assert b"Transfer-Encoding: chunked\r\n" in head
    assert await end.until(b"0\r\n\r\n") == b"2\r\nhi\r\n0\r\n\r\n"


async def test_what_connection_names_is_stripped(rig, upstream):
    """`Connection: X-Foo` strips X-Foo, both ways."""
    client = await rig.client()
    await client.send(get(b"/", b"Connection: X-Foo", b"X-Foo: a", b"X-Bar: b"))
    end = await upstream.accept()
    head = await end.until()
    assert b"X-Foo" not in head
    assert b"X-Bar: b\r\n" in head
    await end.send(b"HTTP/1.1 200 OK\r\nConnection: X-Baz\r\nX-Baz: a\r\nX-Bar: b\r\nContent-Length: 0\r\n\r\n")
    head, _ = await client.answer()
    assert b"X-Baz" not in head
    assert b"X-Bar: b\r\n" in head


async def test_1xx_are_forwarded(rig, upstream):
    """1xx forwarded: early hints come before the answer; a 100 nobody waits for does not."""
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    hints = await client.until()
    assert hints.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n")
    await end.send(OK)
    assert (await client.answer())[0].startswith(b"HTTP/1.1 200 OK\r\n")


async def test_1_0_clients_get_no_1xx(rig, upstream):
    """A 1.0 client would take a 103 for the answer."""
    client = await rig.client()
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    end = await upstream.accept()
    await end.until()
    await end.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    assert (await client.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_endless_row_of_1xx_is_502(rig, upstream):
    """An upstream that never comes to the point is given up."""
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 20)
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")


async def test_a_pipeline_is_answered_in_order(rig, upstream):
    """Pipelined requests answered in order, each asked for when the one before is done."""
    client = await rig.client()
    await client.send(get(b"/1") + post(b"two") + get(b"/3"))
    end = await upstream.accept()
    for number, start in enumerate((b"GET /1 ", b"POST / ", b"GET /3 ")):
        assert (await end.until()).startswith(start)
        if start.startswith(b"POST"):
            assert await end.exactly(3) == b"two"
        await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
    assert [(await client.answer())[1] for _ in range(3)] == [b"0", b"1", b"2"]
    assert upstream.connections == 1


async def test_a_long_pipeline_of_local_answers_is_answered_in_order(rigs, upstream):
    """Hundreds of requests in one read are all answered, whatever the loop's turns."""

    def echo(request, exchange):
        exchange.respond(200, [], request.path)

    rig = await rigs(endpoint(upstream), handler=echo)
    client = await rig.client()
    await client.send(b"".join(get(b"/%d" % number) for number in range(500)))
    assert [b"/%d" % number for number in range(500)] == [(await client.answer())[1] for _ in range(500)]


async def test_a_pipeline_waits_for_who_reads(rigs, upstream):
    """A client that asks on and does not read is not answered on: what is held for it stays bounded."""
    answered = []

    def answer(request, exchange):
        answered.append(request.path)
        exchange.respond(200, [], b"x" * 50_000)

    rig = await rigs(endpoint(upstream), handler=answer, sndbuf=8192)
    client = await rig.client()
    client.writer.transport.pause_reading()
    client.writer.write(get() * 400)
    await until(lambda: "blocked" in repr(rig.downstream))
    assert unsent(*rig.downstream) < 200_000
    assert len(answered) < 400
    client.writer.transport.resume_reading()
    for _ in range(400):
        await client.answer()


async def test_bytes_of_paths_and_headers_stay(rig, upstream):
    """Percent-encoded path kept byte-identical; Set-Cookie not merged; order/case kept; Content-Encoding untouched."""
    client = await rig.client()
    await client.send(get(b"/%7Ea%2f/../b//c?%41=%zz", b"x-LOWER: \xff\xfe", b"Accept-Encoding: br", b"COOKIE: a=b"))
    end = await upstream.accept()
    head = await end.until()
    start = b"GET /%7Ea%2f/../b//c?%41=%zz HTTP/1.1\r\nHost: a\r\nx-LOWER: \xff\xfe\r\n"
    assert head.startswith(start + b"Accept-Encoding: br\r\nCOOKIE: a=b\r\n")
    lines = b"SERVER: s\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX:\r\nSet-Cookie: c=3\r\nContent-Encoding: gzip\r\n"
    body = bytes(range(256))
    await end.send(b"HTTP/1.1 299 Odd Reason\r\n" + lines + b"Content-Length: 256\r\n\r\n" + body)
    head, received = await client.answer()
    assert head.startswith(b"HTTP/1.1 299 Odd Reason\r\n" + lines.replace(b"X:", b"X: "))
    assert body == received


async def test_a_malformed_chunk_is_400_and_the_upstream_is_cut_off(rig, upstream):
    """Doubt about a chunk ends both sides; no last chunk is made up."""
    client = await rig.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    end = await upstream.accept()
    await end.until()
    await end.exactly(7)
    await client.send(b"2 \r\ncd\r\n0\r\n\r\n")
    assert (await client.answer())[0].startswith(b"HTTP/1.1 400 ")
    await end.closed()


async def test_an_early_answer_of_an_upstream_ends_both_connections(rig, upstream):
    """An upstream may answer before it has the body: the client hears it, and neither connection is used again."""
    client = await rig.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx")
    end = await upstream.accept()
    await end.until()
    await end.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    head, _ = await client.answer()
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"Connection: close\r\n" in head
    assert await end.rest() == b"x"
    await until(lambda: rig.upstream.pools[0].open == 0)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_an_ipv4_client_of_a_dual_stack_listener_is_ipv4(rigs, upstream):
    """To the upstream, to the handler, and where its head is rejected: the system shows ``::ffff:127.0.0.1``."""
    refused = []
    rig = await rigs(endpoint(upstream), sock=bind("", 0))
    rig.server.refused = lambda error, peer: refused.append(peer.address)
    client = await rig.client()
    await client.send(get())
    sent = await (await upstream.accept()).until()
    assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in sent
    assert b"\r\nForwarded: for=127.0.0.1;" in sent
    assert rig.requests[0].peer.address == "127.0.0.1"
    await (await rig.client()).ask(b"BAD\r\n\r\n")
    rig.server.options = ServerOptions(max_connections_per_address=1)
    assert (await (await rig.client()).answer())[0].startswith(b"HTTP/1.1 503 ")
    assert refused == ["127.0.0.1"] * 2
