"""What upstreams answer, on raw sockets: framing, truncation, and what goes with an answer."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from ratelimitd.http1 import UpstreamOptions
from tests.http1.rig import OK, answered, endpoint, forwarded, get, post, until


async def test_events_are_not_held_back(rig, upstream):
    """SSE unbuffered: each event arrives before the next one is made."""
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.until()
    for _ in range(3):
        await end.send(b"6\r\ndata:\n\r\n")
        assert await client.exactly(11) == b"6\r\ndata:\n\r\n"


async def test_a_body_until_close_reaches_a_1_1_client_in_chunks(rig, upstream):
    """An upstream that ends its body by closing does not cost the client its connection."""
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.0 200 OK\r\n\r\nabc")
    end.close()
    head, body = await client.answer()
    assert b"Via: 1.0 ratelimitd\r\nTransfer-Encoding: chunked\r\n" in head
    assert body == b"3\r\nabc\r\n0\r\n\r\n"
    await client.send(get())
    await (await upstream.accept()).until()


@pytest.mark.parametrize(
    "part",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
async def test_a_truncated_answer_is_seen_to_be_truncated(rig, upstream, part):
    """Upstream closes in the middle of a body: the client's body has no end either."""
    client, end = await forwarded(rig, upstream)
    await end.send(part)
    await client.until(b"abc")
    end.close()
    assert b"0\r\n\r\n" not in await client.rest()
    summary = await rig.summary()
    assert (summary.status, bool(summary.error)) == (200, True)


async def test_a_reset_is_not_the_end_of_a_body(rig, upstream):
    """An upstream's body until close that ends with a reset is cut, and so is the client's."""
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
    await client.until(b"abc")
    end.reset()
    assert b"0\r\n\r\n" not in await client.rest()


async def test_a_connection_its_upstream_gives_up_is_not_used_again(rig, upstream):
    """Connection: close of an upstream is taken at its word, even where it does not close."""
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    head, _ = await client.answer()
    assert b"close" not in head
    await end.closed()


async def test_a_broken_chunk_truncates_the_answer(rig, upstream):
    """A chunk in doubt after the head went out: the client's body has no end."""
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await client.until(b"abc")
    await end.send(b"3\r\ndef\nX")
    assert b"0\r\n\r\n" not in await client.rest()
    await end.closed()


async def test_a_truncated_answer_to_1_0_is_a_reset(rig, upstream):
    """Where the end of the connection is the end of the body, only a reset says that it is not whole."""
    client = await rig.client()
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    end = await upstream.accept()
    await end.until()
    await end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await client.until(b"abc")
    end.close()
    with pytest.raises(ConnectionResetError):
        await client.rest()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 1\n\na",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\nX",
    ],
)
async def test_a_response_in_doubt_is_502_and_never_pooled(rig, upstream, answer):
    """Bad response framing → 502 and the connection is never pooled."""
    client, end = await forwarded(rig, upstream)
    await end.send(answer)
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
    await end.closed()
    await until(lambda: rig.upstream.pools[0].open == 0)


@pytest.mark.parametrize(("size", "status"), [(50, b"200"), (150, b"502")])
async def test_a_response_head_is_bounded(rigs, upstream, size, status):
    """A head of more than max_head bytes is 502, a smaller one passes."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(max_head=120))
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Length: 0\r\n\r\n" % (b"a" * size))
    assert status == (await client.answer())[0].split()[1]


@pytest.mark.parametrize("request_", [get(), b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"])
async def test_surplus_bytes_close_the_upstream_connection(rig, upstream, request_):
    """Surplus upstream bytes after a complete response close the connection, never pool it: nobody gets them."""
    client = await rig.client()
    await client.send(request_)
    end = await upstream.accept()
    await end.until()
    await end.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    await client.until()
    await end.closed()
    await client.send(get())
    second = await upstream.accept()
    await second.until()


async def test_bytes_on_an_idle_upstream_connection_close_it(rig, upstream):
    """What an upstream says unasked is nobody's answer."""
    _client, end = await answered(rig, upstream)
    await end.send(OK)
    await end.closed()


async def test_local_answers_are_whole(rigs, upstream):
    """A local answer has its length, a date, and no body for HEAD."""

    def answer(request, exchange):
        exchange.respond(404, [(b"X", b"y")], b"gone")

    rig = await rigs(endpoint(upstream), handler=answer)
    client = await rig.client()
    head, body = await client.ask(get())
    assert head.startswith(b"HTTP/1.1 404 Not Found\r\nX: y\r\nDate: ")
    assert body == b"gone"
    await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + get())
    assert b"Content-Length: 4\r\n" in await client.until()
    assert (await client.answer())[0].startswith(b"HTTP/1.1 404 ")


async def test_what_goes_with_the_answer_replaces_the_upstreams(rig, upstream):
    """Headers the handler gives go with an upstream's answer, instead of those of the same name."""
    rig.response_headers = [(b"X-RateLimit-Limit", b"5"), (b"X-Request-Id", b"ours")]
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nx-request-id: theirs\r\nContent-Length: 0\r\n\r\n")
    head, _ = await client.answer()
    assert b"theirs" not in head
    assert b"X-RateLimit-Limit: 5\r\nX-Request-Id: ours\r\n" in head


async def test_a_handler_that_raises_is_500(rigs, upstream, silent_loop):
    """A fault of the handler is told to the loop, and costs its own request alone."""

    def fail(request, exchange):
        raise LookupError

    rig = await rigs(endpoint(upstream), handler=fail)
    client = await rig.client()
    assert (await client.ask(get()))[0].startswith(b"HTTP/1.1 500 ")
    assert (await client.ask(get()))[0].startswith(b"HTTP/1.1 500 ")
    assert [LookupError, LookupError] == [type(context["exception"]) for context in silent_loop]
    silent_loop.clear()


async def test_a_handler_may_answer_later(rigs, upstream):
    """An answer may come whenever the handler knows it; a second one is nothing."""
    waiting = []
    rig = await rigs(endpoint(upstream), handler=lambda request, exchange: waiting.append(exchange))
    client = await rig.client()
    await client.send(get())
    await until(lambda: waiting)
    waiting[0].respond(200, [], b"1")
    waiting[0].respond(200, [], b"2")
    assert (await client.answer())[1] == b"1"
    await client.send(get())
    await until(lambda: len(waiting) == 2)
    waiting[1].respond(200, [], b"3")
    assert (await client.answer())[1] == b"3"


async def test_a_summary_says_what_went_where(rig, upstream):
    """Status, bytes both ways, times in order, and who answered."""
    client = await rig.client()
    await client.send(post(b"four"))
    end = await upstream.accept()
    await end.until()
    await end.send(OK)
    await client.answer()
    summary = await rig.summary()
    assert (summary.status, summary.received, summary.sent, summary.error, summary.retried) == (200, 4, 2, "", False)
    assert endpoint(upstream) == summary.endpoint
    assert 0 < summary.started <= summary.first_byte <= summary.ended


@pytest.mark.parametrize("more", [b"", b"Connection: date\r\n"])
async def test_a_response_without_a_date_gets_one(rig, upstream, more):
    """RFC 9110 6.6.1: Date is added where it is missing, and not replaced, whatever Connection names; not to a 1xx."""
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    assert b"date:" not in (await client.until()).lower()
    head, _ = await client.answer()
    [added] = re.findall(rb"\r\nDate: ([^\r]+)\r\n", head)
    assert abs(parsedate_to_datetime(added.decode()) - datetime.now(UTC)) < timedelta(seconds=60)
    await client.send(get())
    await end.until()
    dated = b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    await end.send(b"HTTP/1.1 304 Not Modified\r\n" + dated + more + b"\r\n")
    head = await client.until()
    assert dated in head
    assert head.lower().count(b"\r\ndate:") == 1


async def test_forwarding_headers_reach_the_upstream(rigs, upstream):
    """X-Forwarded-*, Forwarded, Via and the request id are as headers.py makes them, on the wire too."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions())
    rig.request_id = b"id"
    client = await rig.client()
    await client.send(get(b"/", b"X-Forwarded-For: 6.6.6.6"))
    head = await (await upstream.accept()).until()
    assert b"6.6.6.6" not in head
    assert head.endswith(
        b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n"
        b"Forwarded: for=127.0.0.1;proto=http;host=a\r\nVia: 1.1 ratelimitd\r\nX-Request-Id: id\r\n\r\n"
    )


async def test_bodies_stream_whole_both_ways(rig, upstream):
    """Megabytes arrive as they were sent, in chunks and counted."""
    client = await rig.client()
    body = bytes(range(256)) * 8192
    sending = asyncio.create_task(client.send(post(body)))
    end = await upstream.accept()
    await end.until()
    assert body == await end.exactly(len(body))
    await sending
    answering = asyncio.create_task(end.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body))
    _, received = await client.answer()
    assert body == received
    await answering
