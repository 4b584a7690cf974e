"""Bounds on raw sockets: targets, heads and bodies that are too large, and bodies that nothing reads."""

import pytest

from ratelimitd.http1 import ServerOptions
from tests.http1.rig import endpoint, get, post


@pytest.mark.parametrize("target", [b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /" + b"a" * 9000])
async def test_a_target_over_its_limit_is_414(rig, target):
    """A URI over its limit is 414, whole or not."""
    head, _ = await (await rig.client()).ask(target)
    assert head.startswith(b"HTTP/1.1 414 ")


@pytest.mark.parametrize("lines", [[b"X: " + b"a" * 40_000], [b"X: a"] * 101])
async def test_headers_over_their_limit_are_431(rig, upstream, lines):
    """Header over limit → 431, by bytes and by count."""
    client = await rig.client()
    head, _ = await client.ask(get(b"/", *lines))
    assert head.startswith(b"HTTP/1.1 431 ")
    await client.closed()
    assert upstream.untouched


@pytest.mark.parametrize(
    ("option", "sized", "status"),
    [
        ("max_target", lambda size: get(b"/" + b"a" * size), b"414"),
        ("max_head", lambda size: get(b"/", b"X: " + b"a" * size), b"431"),
        ("max_headers", lambda size: get(b"/", *[b"X: a"] * size), b"431"),
    ],
)
async def test_a_bound_of_request_heads_is_its_option(rigs, upstream, option, sized, status):
    """With 200 as the option a size of 100 passes, and one of 300 is 414 or 431."""
    rig = await rigs(endpoint(upstream), server=ServerOptions(**{option: 200}), handler=answer_at_once)
    heads = [(await (await rig.client()).ask(sized(size)))[0] for size in (100, 300)]
    assert [b"200", status] == [head.split()[1] for head in heads]


def answer_at_once(request, exchange):
    exchange.respond(200, [], b"ok")


async def test_a_body_that_says_it_is_too_large_is_413_before_the_upstream_sees_it(rigs, upstream):
    """Body over limit → 413 before upstream sees it."""
    rig = await rigs(endpoint(upstream), server=ServerOptions(max_body=3))
    client = await rig.client()
    head, _ = await client.ask(post(b"four"))
    assert head.startswith(b"HTTP/1.1 413 ")
    await client.closed()
    assert upstream.untouched


async def test_chunks_over_the_body_limit_are_cut(rigs, upstream):
    """A body that does not say its length is cut where it is too long, and the upstream sees that it is not whole."""
    rig = await rigs(endpoint(upstream), server=ServerOptions(max_body=3))
    client = await rig.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
    end = await upstream.accept()
    await end.until()
    assert await end.exactly(7) == b"2\r\nab\r\n"
    await client.send(b"2\r\ncd\r\n0\r\n\r\n")
    head, _ = await client.answer()
    assert head.startswith(b"HTTP/1.1 413 ")
    await end.closed()
    assert (await rig.summary()).status == 413


async def test_small_bodies_nobody_wants_are_read_over(rigs, upstream):
    """A local answer to a POST does not cost the connection where the rest of the body is short."""

    def deny(request, exchange):
        exchange.respond(429, [], b"no")

    rig = await rigs(endpoint(upstream), handler=deny)
    client = await rig.client()
    whole = post(b"x" * 1000)
    await client.send(whole[:-500])
    assert b"Connection: close" not in (await client.answer())[0]
    await client.send(whole[-500:] + get())
    assert (await client.answer())[0].startswith(b"HTTP/1.1 429 ")


async def test_large_bodies_nobody_wants_end_the_connection_gently(rigs, upstream):
    """The answer to a large upload arrives although the client still sends: no reset takes it away."""

    def deny(request, exchange):
        exchange.respond(429, [], b"no")

    rig = await rigs(endpoint(upstream), handler=deny)
    client = await rig.client()
    whole = post(b"x" * 400_000)
    await client.send(whole[:200_000])
    head, body = await client.answer()
    assert (body, b"Connection: close\r\n" in head) == (b"no", True)
    await client.send(whole[200_000:])
    assert await client.rest() == b""
