"""Tunnels whose sides end one after the other: over TCP, over TLS, and after what came before on the connection."""

import asyncio

import pytest

from ratelimitd.http1 import Endpoint
from ratelimitd.http1.options import READ_BYTES
from tests.http1.rig import ScriptedUpstream, endpoint, get, unsent, until
from tests.http1.test_tunnel import ASK, GRANT, tunnel

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"x" * 8186


@pytest.fixture
async def secure_upstream(contexts):
    """An upstream over TLS that the test scripts."""
    scripted = await ScriptedUpstream().start(tls=contexts[0])
    yield scripted
    await scripted.stop()


@pytest.mark.parametrize("ends", ["client", "upstream"])
@pytest.mark.parametrize("secure", ["client", "upstream", "both"])
async def test_over_tls_the_end_of_one_side_ends_the_tunnel(rigs, upstream, secure_upstream, contexts, secure, ends):
    """TLS has no half-close: what was sent arrives, and then both sides are closed."""
    server, trusting = contexts
    options, tls = {}, {}
    if secure != "client":
        upstream = secure_upstream
        options = {"upstream_tls": trusting}
    where = endpoint(upstream) if secure == "client" else Endpoint("localhost", upstream.port, tls=True)
    if secure != "upstream":
        options["tls"] = server
        tls = {"ssl": trusting, "server_hostname": "localhost"}
    rig = await rigs(where, **options)
    client, end, _, _ = await tunnel(rig, upstream, **tls)
    done, other = (client, end) if ends == "client" else (end, client)
    sent = b"last" * 10_000
    await done.send(sent)
    done.close()
    assert await other.rest() == sent
    assert (await rig.summary()).error == ""
    other.close()
    await until(lambda: not rig.downstream and not rig.upstreams)


@pytest.mark.parametrize("ends", ["client", "upstream"])
async def test_a_side_that_hears_the_end_over_tls_may_still_be_sending(rigs, contexts, secure_upstream, ends):
    """A plain client beside an https upstream half-closes or is told of the end: it gets what was written, no reset."""
    rig = await rigs(Endpoint("localhost", secure_upstream.port, tls=True), upstream_tls=contexts[1])
    client, end, _, _ = await tunnel(rig, secure_upstream)
    await end.send(b"rest")
    if ends == "upstream":
        end.close()
        await until(lambda: not rig.upstreams)
        await client.send(b"late")
    else:
        assert await client.exactly(4) == b"rest"
        client.eof()
        assert await end.rest() == b""
    assert await client.rest() in {b"", b"rest"}


async def test_the_end_of_a_client_comes_after_all_that_it_sent(rig, upstream):
    """Also where the upstream does not read, so that what was read of the client waits."""
    client, end, _, _ = await tunnel(rig, upstream)
    end.writer.transport.pause_reading()
    sent = 0
    while not rig.downstream[0]._pending:
        await client.send(PIECE)
        sent += len(PIECE)
        await until(lambda sent=sent: sent == received(rig))
    client.eof()
    await until(lambda: rig.downstream[0]._said_all)
    end.writer.transport.resume_reading()
    assert len(await end.rest()) == sent


def received(rig):
    """Bytes of the client that the gateway has read."""
    (connection,) = rig.downstream
    return connection._exchange.received + len(connection._pending)


async def choked(rig, upstream):
    """A client whose complete request waits in the full write buffer of an upstream that does not read."""
    client = await rig.client()
    await client.send(CHUNKED)
    end = await upstream.accept()
    await end.until()
    end.writer.transport.pause_reading()
    sent = 0
    while unsent(*rig.upstreams) <= 24 << 10:
        await client.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
        sent += len(PIECE)
        await until(lambda sent=sent: sent == received(rig))
    await client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(PIECE), PIECE))
    await until(lambda: rig.downstream[0]._sink is None)
    assert "not reading" not in repr(rig.downstream)
    assert unsent(*rig.upstreams) > 32 << 10
    return client, end


async def test_a_tunnel_is_not_paused_by_the_request_before_it(rig, upstream):
    """A request is answered before its upstream has read it; the next one on the connection is for a tunnel."""
    client, end = await choked(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    assert (await client.answer())[1] == b"ok"
    await client.send(ASK)
    end = await upstream.accept()
    await end.until()
    await end.send(GRANT)
    await client.until()
    await client.send(b"heard")
    assert await end.exactly(5) == b"heard"


async def test_a_connection_that_is_full_carries_no_other_request(rig, upstream):
    """An upstream that answered and does not read would not pause the next body: another connection is made."""
    client, end = await choked(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (await client.answer())[1] == b"ok"
    await client.send(get(b"/next"))
    assert (await (await upstream.accept()).until()).startswith(b"GET /next ")
    end.writer.transport.resume_reading()
    assert (await end.rest()).endswith(b"x\r\n0\r\n\r\n")


async def test_early_bytes_and_an_end_before_the_101(rig, upstream):
    """A client that ends before the tunnel is granted has left, like that of every request."""
    client = await rig.client()
    await client.send(ASK + b"early")
    end = await upstream.accept()
    await end.until()
    client.eof()
    await end.closed()
    assert (await rig.summary()).error == "client closed the connection"


async def test_what_a_tunnel_holds_of_a_client_is_one_read(rig, upstream):
    """Reading goes on to see the end of a client, and no further."""
    client, end, _, _ = await tunnel(rig, upstream)
    end.writer.transport.pause_reading()
    client.writer.write(b"x" * (64 << 20))
    await until(lambda: "not reading" in repr(rig.downstream))
    assert len(rig.downstream[0]._pending) == READ_BYTES
    end.reset()
    await asyncio.sleep(0)
    await client.closed()
