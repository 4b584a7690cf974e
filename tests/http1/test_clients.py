"""Clients that are slow, greedy or leaving, on raw sockets."""

import asyncio
import resource
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from ratelimitd.http1 import Endpoint, ServerOptions, UpstreamOptions
from tests.http1.rig import OK, PATIENCE, ScriptedUpstream, endpoint, forwarded, get, post, unsent, until

SOON = 0.05
SLOW = 1000
# More than every buffer of the kernel on the way holds: 4 MiB to send and, where it grows, 32 MiB to receive
FLOOD = 50_003_968


async def test_a_slow_head_is_408(rigs, upstream):
    """Slow-loris header timeout: a head that never ends, fed byte by byte, has its time all the same."""
    rig = await rigs(endpoint(upstream), server=ServerOptions(head_timeout=SOON))
    client = await rig.client()
    sending = asyncio.create_task(drip(client, b"GET / HTTP/1.1\r\nX: " + b"a" * 10_000))
    assert (await client.answer())[0].startswith(b"HTTP/1.1 408 ")
    sending.cancel()


async def drip(client, data):
    for at in range(len(data)):
        await client.send(data[at : at + 1])
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("options", [{"head_timeout": SOON}, {"idle_timeout": SOON}])
async def test_a_silent_connection_is_closed(rigs, upstream, options):
    """A connection on which nothing is asked, at first or after an answer, is closed without a word."""
    rig = await rigs(endpoint(upstream), server=ServerOptions(**options), handler=answer_at_once)
    client = await rig.client()
    if "idle_timeout" in options:
        await client.ask(get())
    assert await client.rest() == b""
    assert rig.refusals == []


def answer_at_once(request, exchange):
    exchange.respond(200, [], b"ok")


async def test_a_slow_body_is_408_and_the_upstream_is_cut_off(rigs, upstream):
    """A body that stops coming: 408, and the upstream sees that it is not whole."""
    rig = await rigs(endpoint(upstream), server=ServerOptions(body_timeout=SOON))
    client = await rig.client()
    await client.send(post(b"x" * 10)[:-5])
    end = await upstream.accept()
    await end.until()
    assert (await client.answer())[0].startswith(b"HTTP/1.1 408 ")
    assert await end.rest() == b"xxxxx"


async def flood(end, total):
    """Send as fast as it is taken, and say how much was."""
    sent = 0
    try:
        while sent < total:
            await end.send(b"x" * 16_384)
            sent += 16_384
    except ConnectionError:
        pass
    return sent


async def test_a_client_that_never_reads_is_given_up(rigs, upstream):
    """A client that takes nothing is cut off after its time, and so is what was asked for it."""
    rig = await rigs(endpoint(upstream), server=ServerOptions(send_timeout=SOON))
    client = await rig.client()
    client.writer.transport.pause_reading()
    client.writer.write(get())
    end = await upstream.accept()
    await end.until()
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        assert await flood(end, 100_000_000) < 100_000_000
    await rig.summary()


async def test_a_slow_client_pauses_the_upstream(rig, upstream):
    """Slow client → upstream paused: it cannot send on until the client reads, and then nothing is missing."""
    client = await rig.client()
    client.writer.transport.pause_reading()
    client.writer.write(get())
    end = await upstream.accept()
    await end.until()
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % FLOOD)
    flooding = asyncio.create_task(flood(end, FLOOD))
    await until(lambda: "paused" in repr(rig.upstreams))
    assert not flooding.done()
    assert unsent(*rig.downstream) <= 64 * 1024
    client.writer.transport.resume_reading()
    await client.until()
    assert FLOOD == await taken(client, FLOOD) == await flooding


async def test_a_slow_upstream_pauses_the_client(rigs, upstream):
    """Slow upstream → client paused, and then nothing is missing."""
    rig = await rigs(endpoint(upstream), server=ServerOptions(max_body=FLOOD), rcvbuf=64 << 10)
    client = await rig.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % FLOOD)
    end = await upstream.accept()
    end.writer.transport.pause_reading()
    flooding = asyncio.create_task(flood(client, FLOOD))
    await until(lambda: "not reading" in repr(rig.downstream))
    assert not flooding.done()
    end.writer.transport.resume_reading()
    await end.until()
    assert FLOOD == await taken(end, FLOOD) == await flooding


async def taken(end, total):
    """Read as many bytes, and say how many came."""
    received = 0
    while received < total and (data := await end.reader.read(1 << 20)):
        received += len(data)
    return received


@pytest.mark.parametrize("bound", ["max_connections", "max_connections_per_address"])
async def test_one_connection_too_many_is_503(rigs, upstream, bound):
    """Total and per address, while requests are in flight: excess 503 and close; when one leaves another may come."""
    held = []

    def hold_the_first(request, exchange):
        (answer_at_once if held else lambda *pair: held.append(pair))(request, exchange)

    rig = await rigs(endpoint(upstream), server=ServerOptions(**{bound: 1}), handler=hold_the_first)
    first = await rig.client()
    await first.send(get())
    await until(lambda: held)
    second = await rig.client()
    assert (await second.answer())[0].startswith(b"HTTP/1.1 503 ")
    await second.closed()
    assert [(refusal.status, rig.server.connections) for refusal in rig.refusals] == [(503, 1)]
    first.close()
    await until(lambda: rig.server.connections == 0)
    assert (await (await rig.client()).ask(get()))[0].startswith(b"HTTP/1.1 200 ")


async def test_draining_ends_connections_between_requests(rig, upstream):
    """Graceful drain: idle ones closed, those in flight finish with Connection: close, nobody new comes in."""
    idle, busy = await rig.client(), await rig.client()
    await busy.send(get())
    end = await upstream.accept()
    await end.until()
    stopping = asyncio.create_task(rig.server.stop(PATIENCE))
    assert await idle.rest() == b""
    await end.send(OK)
    head, body = await busy.answer()
    assert (body, b"Connection: close\r\n" in head) == (b"ok", True)
    await busy.closed()
    idle.close()
    busy.close()
    await stopping
    with pytest.raises(ConnectionRefusedError):
        await rig.client()


async def test_an_answer_that_had_begun_ends_its_connection_when_draining(rig, upstream):
    """An answer whose head promised more is finished, and then the connection is closed, long before the grace ends."""
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
    await client.until()
    stopping = asyncio.create_task(rig.server.stop(1000))
    await until(lambda: rig.server.leaving)
    await end.send(b"k")
    assert await client.rest() == b"ok"
    client.close()
    await stopping


async def test_leaving_says_close_with_the_next_answer(rigs, upstream):
    """Before the end each answer is the last, while new connections are still taken."""
    rig = await rigs(endpoint(upstream), handler=answer_at_once)
    client = await rig.client()
    await client.ask(get())
    rig.server.leave()
    assert b"Connection: close\r\n" in (await client.ask(get()))[0]
    await client.closed()
    assert b"Connection: close\r\n" in (await (await rig.client()).ask(get()))[0]


async def test_what_does_not_finish_in_its_grace_is_ended(rig, upstream):
    """After the grace nothing is left."""
    client, end = await forwarded(rig, upstream)
    await rig.server.stop(SOON)
    assert rig.server.connections == 0
    await client.closed()
    await end.closed()


async def test_tls_on_both_sides(rigs):
    """A context makes the listener speak TLS, and an endpoint may want TLS as well."""
    import trustme

    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    inner = await rigs(Endpoint("127.0.0.1", 1), handler=answer_at_once, tls=server)
    outer = await rigs(Endpoint("localhost", inner.port, tls=True), tls=server, upstream_tls=client)
    end = await outer.client(ssl=client, server_hostname="localhost")
    head, body = await end.ask(get())
    assert (body, head.startswith(b"HTTP/1.1 200 ")) == (b"ok", True)
    assert (await end.ask(get()))[1] == b"ok"
    assert outer.requests[0].scheme == "https"


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def endless(reader, writer):
    """Answer with more than anybody reads, as fast as it is taken, and hold none of it."""
    writer.transport.set_write_buffer_limits(0)
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 8192)
            await writer.drain()


@pytest.mark.alone
@pytest.mark.slow
async def test_a_thousand_slow_clients_do_not_cost_memory(rigs, slow_upstream):
    """Memory flat under 1,000 slow clients: half send heads and half take answers as slowly as they can."""
    rig = await rigs(
        endpoint(slow_upstream),
        server=ServerOptions(max_connections_per_address=2 * SLOW, head_timeout=2 * PATIENCE),
        upstream=UpstreamOptions(max_connections=SLOW),
        sndbuf=8192,
    )
    before, clients = resident(), []
    for index in range(SLOW):
        client = await rig.client(limit=1024)
        client.writer.transport.pause_reading()
        client.writer.write(get() if index % 2 else get()[:-2])
        clients.append(client)
    await until(lambda: repr(rig.downstream).count("blocked") == SLOW // 2, every=0.1)
    await until(lambda: repr(rig.downstream).count("partial head") == SLOW // 2, every=0.1)
    assert max(map(unsent, rig.downstream)) <= 64 * 1024  # one read of an upstream and what was there before it
    assert resident() - before < 150 << 20
    for client in clients:
        client.reset()
    await until(lambda: rig.server.connections == 0)


@pytest.fixture
async def slow_upstream():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8 * SLOW, hard)), hard))
    scripted = ScriptedUpstream()
    scripted.serve(endless)
    yield await scripted.start()
    await scripted.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
