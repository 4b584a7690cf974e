"""WebSocket and other upgrades, on raw sockets."""

import asyncio

import pytest

from ratelimitd.http1 import UpstreamOptions
from tests.http1.rig import OK, endpoint, get, unsent, until

ASK = get(
    b"/ws",
    b"Connection: keep-alive, Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"sec-websocket-version: 13",
    b"Sec-WebSocket-Extensions: permessage-deflate",
)
GRANT = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: abc=\r\n\r\n"
)


async def tunnel(rig, upstream, **options):
    client = await rig.client(**options)
    await client.send(ASK)
    end = await upstream.accept()
    head = await end.until()
    await end.send(GRANT)
    return client, end, head, await client.until()


async def test_a_101_tunnels_bytes_both_ways(rig, upstream):
    """Upgrade 101 tunnels bytes both ways and counts 1 hit: one request, one summary, when both sides are done."""
    client, end, _, answer = await tunnel(rig, upstream)
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: abc=\r\n")
    assert answer.endswith(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    for text in (b"GET / HTTP/1.1\r\n\r\n", b"\x00\r\n\xff"):
        await client.send(text)
        assert text == await end.exactly(len(text))
        await end.send(text * 2)
        assert text * 2 == await client.exactly(2 * len(text))
    client.close()
    await end.closed()
    end.close()
    summary = await rig.summary()
    assert (summary.status, summary.received, summary.sent) == (101, 22, 44)
    assert 1 == len(rig.requests) == len(rig.summaries)


async def test_websocket_headers_are_not_rewritten(rig, upstream):
    """`Sec-WebSocket-*` not rewritten; Connection and Upgrade say that and nothing else."""
    _, _, head, _ = await tunnel(rig, upstream)
    for line in ASK.split(b"\r\n"):
        assert not line.lower().startswith(b"sec-") or line + b"\r\n" in head
    assert head.endswith(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert b"keep-alive" not in head


async def test_what_comes_with_the_heads_goes_through(rig, upstream):
    """Bytes sent right behind the request, or right behind the 101, are the tunnel's."""
    client = await rig.client()
    await client.send(ASK + b"early")
    end = await upstream.accept()
    await end.until()
    await end.send(GRANT + b"first")
    assert (await client.until(b"first"))[-5:] == b"first"
    assert await end.exactly(5) == b"early"


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_one_side_may_be_done_before_the_other(rig, upstream, side):
    """Half-close: who has said all is still told the rest."""
    client, end, _, _ = await tunnel(rig, upstream)
    done, other = (client, end) if side == "client" else (end, client)
    await done.send(b"last")
    done.eof()
    assert await other.rest() == b"last"
    assert rig.summaries == []
    await other.send(b"rest")
    other.eof()
    assert await done.rest() == b"rest"
    assert (await rig.summary()).error == ""


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_side_that_breaks_off_ends_the_tunnel(rig, upstream, side):
    """A reset of one side closes the other."""
    client, end, _, _ = await tunnel(rig, upstream)
    broken, other = (client, end) if side == "client" else (end, client)
    broken.reset()
    await other.closed()
    assert (await rig.summary()).status == 101
    assert rig.upstream.in_flight(0) == 0


async def test_a_tunnel_nobody_uses_is_closed(rigs, upstream):
    """Silence both ways for its time ends a tunnel."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(tunnel_timeout=0.05))
    client, end, _, _ = await tunnel(rig, upstream)
    await client.closed()
    await end.closed()
    assert (await rig.summary()).error == "tunnel was idle"


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_a_tunnel_goes_at_the_pace_of_who_reads(rig, upstream, side):
    """Who does not read stops who writes, and nothing is lost when it reads again."""
    client, end, _, _ = await tunnel(rig, upstream)
    slow, fast = (client, end) if side == "client" else (end, client)
    slow.writer.transport.pause_reading()
    piece, count = b"x" * 65536, 400
    fast.writer.write(piece * count)
    await until(lambda: "paused" in repr(rig.upstreams) if side == "client" else "not reading" in repr(rig.downstream))
    assert unsent(*rig.downstream) <= 64 * 1024
    assert unsent(*rig.upstreams) <= 64 * 1024
    slow.writer.transport.resume_reading()
    assert count * len(piece) == len(await slow.exactly(count * len(piece)))


async def test_without_a_101_there_is_no_tunnel(rig, upstream):
    """Only after a 101: another answer is an answer, and the connection goes on in HTTP."""
    client = await rig.client()
    await client.send(ASK)
    end = await upstream.accept()
    await end.until()
    await end.send(OK)
    assert (await client.answer())[0].startswith(b"HTTP/1.1 200 ")
    await client.send(get(b"/next"))
    assert (await end.until()).startswith(b"GET /next ")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n",
    ],
)
async def test_a_101_that_does_not_match_is_502(rig, upstream, answer):
    """A switch to anything else than what was asked for is refused, and its connection closed."""
    client = await rig.client()
    await client.send(ASK)
    end = await upstream.accept()
    await end.until()
    await end.send(answer)
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
    await end.closed()


@pytest.mark.parametrize(
    "request_",
    [
        get(b"/", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        get(b"/", b"Connection: Upgrade", b"Upgrade: TLS/1.0, websocket"),
        get(b"/", b"Upgrade: websocket"),
        ASK.replace(b"GET", b"POST"),
        ASK.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_other_upgrades_are_stripped(rig, upstream, request_):
    """Other upgrades are stripped: the upstream sees a plain request, and a 101 to it is 502."""
    client = await rig.client()
    await client.send(request_)
    end = await upstream.accept()
    head = await end.until()
    assert b"upgrade" not in head.lower()
    assert b"HTTP2-Settings" not in head
    await end.send(GRANT)
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")


async def test_an_upgrade_with_a_body_is_stripped(rig, upstream):
    """A GET with a body does not become a tunnel, and its body is a body."""
    client = await rig.client()
    await client.send(ASK.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\nbody"))
    end = await upstream.accept()
    assert b"upgrade" not in (await end.until()).lower()
    assert await end.exactly(4) == b"body"


async def test_connect_is_405(rig, upstream):
    """CONNECT is no request to a gateway."""
    client = await rig.client()
    head, _ = await client.ask(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405 ")
    assert upstream.untouched


async def test_a_drain_ends_tunnels_after_its_grace(rig, upstream):
    """A tunnel is in flight: it has the grace, and no longer."""
    client, end, _, _ = await tunnel(rig, upstream)
    stopping = asyncio.create_task(rig.server.stop(0.2))
    await client.send(b"still")
    assert await end.exactly(5) == b"still"
    await stopping
    await client.closed()
    await end.closed()
