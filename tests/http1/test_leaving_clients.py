"""Clients that leave while their request is answered, with bytes behind it, or that send on after their answer."""

import pytest

from ratelimitd.http1 import Endpoint, ServerOptions
from ratelimitd.http1.options import READ_BYTES
from tests.http1.rig import OK, endpoint, get, post, until

BEHIND = [b"", b"G", get(b"/next"), post(b"body"), b"x" * (READ_BYTES - 1)]


@pytest.mark.parametrize("leaves", ["close", "reset", "eof"])
@pytest.mark.parametrize("behind", BEHIND, ids=len)
async def test_a_client_that_leaves_is_seen_behind_what_it_sent(rig, upstream, behind, leaves):
    """Its request is canceled, and what it pipelined is not asked for: a client that half-closes has left, too."""
    client = await rig.client()
    await client.send(get() + behind)
    end = await upstream.accept()
    await end.until()
    getattr(client, leaves)()
    await end.closed()
    assert (await rig.summary()).error == "client closed the connection"
    await until(lambda: not rig.downstream)
    assert len(rig.requests) == 1


@pytest.mark.parametrize("leaves", ["close", "reset"])
async def test_a_client_that_leaves_is_seen_behind_a_body_that_is_not_read(rigs, upstream, leaves):
    """A request that waits, say for its turn, is over within seconds, though its body is longer than what is read."""
    rig = None

    def wait(request, exchange):
        rig.watch(request, exchange)

    rig = await rigs(endpoint(upstream), handler=wait)
    client, stays = await rig.client(), await rig.client()
    for each in (client, stays):
        await each.send(post(b"x" * (3 * READ_BYTES)))
    await until(lambda: len(rig.requests) == 2)
    getattr(client, leaves)()
    assert (await rig.summary()).error == "client closed the connection"
    await until(lambda: len(rig.downstream) == 1)
    assert len(rig.summaries) == 1


async def test_a_client_that_leaves_is_seen_over_tls(rigs, upstream, contexts):
    """The same behind a TLS listener."""
    server, trusting = contexts
    rig = await rigs(endpoint(upstream), tls=server)
    client = await rig.client(ssl=trusting, server_hostname="localhost")
    await client.send(get() + b"G")
    end = await upstream.accept()
    await end.until()
    client.close()
    await end.closed()


async def test_what_is_read_behind_a_request_is_bounded(rig, upstream):
    """One read of it is held while a request is answered, and reading pauses; all of it is answered in the end."""
    client = await rig.client()
    count = 3 * READ_BYTES // len(get())
    client.writer.write(get() * count)
    end = await upstream.accept()
    await end.until()
    await until(lambda: "not reading" in repr(rig.downstream))
    assert len(rig.downstream[0]._pending) == READ_BYTES
    for number in range(count):
        if number:
            await end.until()
        await end.send(OK)
        await client.answer()


async def test_an_answer_that_is_sent_reaches_a_client_that_closed_its_side(rigs):
    """What was written before its end was seen is sent: only requests that are not answered are canceled."""
    body = b"x" * 200_000
    rig = await rigs(Endpoint("127.0.0.1", 1), handler=lambda _, exchange: exchange.respond(200, [], body), sndbuf=8192)
    client = await rig.client(limit=1024)
    await client.send(get())
    client.eof()
    assert (await client.rest()).endswith(body)


async def test_a_client_that_closed_its_side_and_does_not_read_is_given_up(rigs):
    """Its end is seen while much is unsent: it has the time of every client that does not read."""
    rig = await rigs(
        Endpoint("127.0.0.1", 1),
        server=ServerOptions(send_timeout=0.05),
        handler=lambda _, exchange: exchange.respond(200, [], b"x" * (64 << 20)),
    )
    client = await rig.client()
    client.writer.transport.pause_reading()
    await client.send(get())
    client.eof()
    await until(lambda: rig.requests or rig.server.connections)
    await until(lambda: not rig.downstream)


async def test_an_upload_of_any_size_is_read_over_after_its_refusal(rigs):
    """The answer arrives although the client reads it only after all was sent; none of it is held."""
    rig = await rigs(Endpoint("127.0.0.1", 1), handler=lambda _, exchange: exchange.respond(429, [], b"no"))
    client = await rig.client()
    client.writer.transport.pause_reading()
    whole = post(b"x" * (9 << 20))
    for at in range(0, len(whole), 1 << 20):
        await client.send(whole[at : at + (1 << 20)])
        if at:
            assert rig.downstream[0]._pending == b""
    client.writer.transport.resume_reading()
    head, body = await client.answer()
    assert (head.split()[1], body, await client.rest()) == (b"429", b"no", b"")


async def test_an_upload_over_tls_is_read_over_after_its_refusal(rigs, contexts):
    """Without a half-close: a close would reset what still comes, and cost the client its answer."""
    server, trusting = contexts
    rig = await rigs(Endpoint("127.0.0.1", 1), handler=lambda _, exchange: exchange.respond(429, [], b"no"), tls=server)
    client = await rig.client(ssl=trusting, server_hostname="localhost")
    whole = post(b"x" * (9 << 20))
    await client.send(whole)
    assert (await client.answer())[1] == b"no"
