"""Who is slow, gone or full: what the other side hears, what is tried again, and what is held meanwhile."""

import asyncio
import resource
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from ratelimitd.gateway.http1 import BreakerOptions, Endpoint, ServerOptions, State, UpstreamOptions
from tests.gateway.http1.rig import OK, PATIENCE, ScriptedUpstream, endpoint, get, post, until

SOON = 0.05
SLOW = 1000


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


async def test_an_upstream_that_refuses_is_502(rigs):
    """Nobody listens: 502."""
    rig = await rigs(Endpoint("127.0.0.1", free_port()))
    head, body = await (await rig.client()).ask(get())
    assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"cannot connect to the upstream: it refuses\n" == body


async def test_a_name_nobody_knows_is_502(rigs):
    """A name that does not resolve: 502."""
    rig = await rigs(Endpoint("nowhere.invalid", 80))
    assert (await (await rig.client()).ask(get()))[0].startswith(b"HTTP/1.1 502 ")


async def test_an_upstream_that_closes_early_is_502(rig, upstream):
    """Upstream closes early → 502."""
    client = await rig.client()
    await client.send(get())
    end = await upstream.accept()
    await end.until()
    end.close()
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
    assert "upstream closed the connection before it answered" == (await rig.summary()).error


async def test_an_upstream_that_does_not_answer_is_504(rigs, upstream):
    """Times out → 504, and its connection is closed."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(response_timeout=SOON))
    client = await rig.client()
    await client.send(get())
    end = await upstream.accept()
    await end.until()
    assert (await client.answer())[0].startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    await end.closed()


async def test_a_connection_that_is_not_made_in_time_is_504(rigs):
    """Connecting has its own time: a listener whose backlog is full lets nobody in."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            rig = await rigs(Endpoint("127.0.0.1", port), upstream=UpstreamOptions(connect_timeout=SOON))
            assert (await (await rig.client()).ask(get()))[0].startswith(b"HTTP/1.1 504 ")


async def test_an_upstream_that_falls_silent_truncates_the_answer(rigs, upstream):
    """A body that stops coming is cut off, since its head is long gone."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(read_timeout=SOON))
    client = await rig.client()
    await client.send(get())
    end = await upstream.accept()
    await end.until()
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    assert (await client.rest()).endswith(b"abc")
    await end.closed()


async def test_none_healthy_is_503(rigs):
    """None healthy → 503 with Retry-After, when all endpoints are ejected."""
    ends = [Endpoint("127.0.0.1", free_port()) for _ in range(2)]
    never = BreakerOptions(consecutive=100, minimum=100)
    rig = await rigs(*ends, upstream=UpstreamOptions(breaker=never))
    client = await rig.client()
    statuses = [(await client.ask(get()))[0].split()[1] for _ in range(8)]
    assert b"502" == statuses[0]
    head, _ = await client.ask(get())
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: " in head
    assert all(rig.upstream.ejected(index, asyncio.get_running_loop().time()) for index in range(2))


async def test_an_open_breaker_is_503_with_retry_after(rigs):
    """Failures in a row open the breaker; nobody is asked then, and Retry-After says for how long."""
    breaker = BreakerOptions(consecutive=2, open_for=7.0)
    rig = await rigs(Endpoint("127.0.0.1", free_port()), upstream=UpstreamOptions(breaker=breaker))
    client = await rig.client()
    assert [b"502", b"502"] == [(await client.ask(get()))[0].split()[1] for _ in range(2)]
    head, _ = await client.ask(get())
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 7\r\n" in head
    assert State.OPEN is rig.upstream.state


async def test_another_endpoint_is_asked_where_nothing_was_sent(rigs, upstream):
    """One transparent retry only if nothing was sent: a POST goes to the endpoint that accepts, once."""
    rig = await rigs(Endpoint("127.0.0.1", free_port()), endpoint(upstream))
    client = await rig.client()
    while not any(summary.retried for summary in rig.summaries):
        count = len(rig.summaries) + 1
        await client.send(post(b"body"))
        end = await upstream.accept() if upstream.connections == 0 or not upstream.untouched else upstream.ends[-1]
        await end.until()
        assert b"body" == await end.exactly(4)
        await end.send(OK)
        assert (await client.answer())[0].startswith(b"HTTP/1.1 200 ")
        await rig.summary(count)


async def stale(rig, upstream):
    """A client, and an upstream's connection that was used before."""
    client = await rig.client()
    await client.send(get())
    end = await upstream.accept()
    await end.until()
    await end.send(OK)
    await client.answer()
    return client, end


async def test_a_get_on_a_stale_connection_is_asked_once_more(rig, upstream):
    """Stale keep-alive connection → one transparent retry for GET, on a new connection."""
    client, end = await stale(rig, upstream)
    await client.send(get(b"/again"))
    await end.until()
    end.close()
    second = await upstream.accept()
    assert (await second.until()).startswith(b"GET /again ")
    await second.send(OK)
    assert (await client.answer())[0].startswith(b"HTTP/1.1 200 ")
    assert (await rig.summary(2)).retried


async def test_a_get_is_asked_once_more_and_no_more(rig, upstream):
    """A second death is a 502: exactly one retry."""
    client, end = await stale(rig, upstream)
    await client.send(get())
    await end.until()
    end.close()
    second = await upstream.accept()
    await second.until()
    second.close()
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
    assert 2 == upstream.connections


@pytest.mark.parametrize(
    "request_", [post(b""), post(b"x"), get().replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx")]
)
async def test_what_may_do_something_twice_is_not_asked_again(rig, upstream, request_):
    """No retry for POST, nor for anything with a body, on a stale connection: 502."""
    client, end = await stale(rig, upstream)
    await client.send(request_)
    await end.until()
    end.close()
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
    assert 1 == upstream.connections


async def test_the_second_time_is_on_a_new_connection(rig, upstream):
    """A retry does not try its luck with another idle connection, which may be as stale as the first."""
    clients = [await rig.client() for _ in range(2)]
    ends = []
    for client in clients:
        await client.send(get())
        ends.append(await upstream.accept())
    for client, end in zip(clients, ends, strict=True):
        await end.until()
        await end.send(OK)
        await client.answer()
    await clients[0].send(get(b"/again"))
    await ends[1].until()
    ends[1].close()
    assert (await (await upstream.accept()).until()).startswith(b"GET /again ")


async def test_who_waits_is_served_when_a_connection_dies(rigs, upstream):
    """A connection that dies makes room for another one, for those who wait."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(max_connections=1))
    first, second = await rig.client(), await rig.client()
    await first.send(post(b"x"))
    end = await upstream.accept()
    await second.send(get(b"/second"))
    await until(lambda: "1 waiting" in repr(rig.upstream.pools[0]))
    end.close()
    assert (await first.answer())[0].startswith(b"HTTP/1.1 502 ")
    assert (await (await upstream.accept()).until()).startswith(b"GET /second ")


async def test_a_connection_that_grew_old_while_idle_is_not_used(rigs, upstream):
    """The lifetime counts while a connection is idle, too."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(lifetime=SOON))
    client, _ = await stale(rig, upstream)
    await until(lambda: not any(link.usable for link in rig.upstream.pools[0]._links))
    await client.send(get(b"/new"))
    assert (await (await upstream.accept()).until()).startswith(b"GET /new ")


async def test_a_get_that_was_half_answered_is_not_asked_again(rig, upstream):
    """Once a byte of a response came there is no retry."""
    client, end = await stale(rig, upstream)
    await client.send(get())
    await end.until()
    await end.send(b"HTTP/1.1 20")
    end.close()
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
    assert 1 == upstream.connections


async def test_a_client_that_goes_takes_its_request_with_it(rig, upstream):
    """Client closes → upstream cancelled."""
    client = await rig.client()
    await client.send(get())
    end = await upstream.accept()
    await end.until()
    client.close()
    await end.closed()
    assert "client closed the connection" == (await rig.summary()).error
    assert 0 == rig.upstream.in_flight(0)


async def test_a_client_that_goes_while_a_connection_is_made(rigs, upstream):
    """A request nobody waits for is not sent when its connection comes."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(max_connections=1))
    first, second = await rig.client(), await rig.client()
    await first.send(get(b"/1"))
    end = await upstream.accept()
    await end.until()
    await second.send(get(b"/2"))
    await until(lambda: "1 waiting" in repr(rig.upstream.pools[0]))
    second.close()
    await rig.summary()
    await end.send(OK)
    await first.answer()
    assert f"<Pool 127.0.0.1:{upstream.port}: 1 open, 1 idle, 0 dialing, 0 waiting>" == repr(rig.upstream.pools[0])


async def test_the_pool_is_bounded_and_those_who_wait_are_served_in_order(rigs, upstream):
    """One connection serves three clients one after the other."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(max_connections=1))
    clients = [await rig.client() for _ in range(3)]
    await clients[0].send(get(b"/0"))
    end = await upstream.accept()
    for index in (1, 2):
        await clients[index].send(get(b"/%d" % index))
        await until(lambda waiting=f"{index} waiting": waiting in repr(rig.upstream.pools[0]))
    for index in range(3):
        assert (await end.until()).startswith(b"GET /%d " % index)
        await end.send(OK)
        await clients[index].answer()
    assert 1 == upstream.connections


@pytest.mark.parametrize("options", [{"max_waiting": 0}, {"wait_timeout": SOON}])
async def test_no_connection_free_is_503(rigs, upstream, options):
    """Where no connection is free, in time or at all, it is 503."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(max_connections=1, **options))
    first, second = await rig.client(), await rig.client()
    if "max_waiting" not in options:
        await first.send(get())
        await (await upstream.accept()).until()
    assert (await second.ask(get()))[0].startswith(b"HTTP/1.1 503 ")


async def test_the_last_used_connection_is_the_first_taken(rigs, upstream):
    """Idle connections are reused last in, first out, so that those too many grow old."""
    rig = await rigs(endpoint(upstream))
    clients = [await rig.client() for _ in range(2)]
    ends = []
    for client in clients:
        await client.send(get())
        ends.append(await upstream.accept())
    for client, end in zip(clients, ends, strict=True):
        await end.until()
        await end.send(OK)
        await client.answer()
    await clients[0].send(get(b"/last"))
    assert (await ends[1].until()).startswith(b"GET /last ")


@pytest.mark.parametrize("options", [{"idle_timeout": SOON}, {"lifetime": 0.0}])
async def test_connections_do_not_grow_old(rigs, upstream, options):
    """An idle connection is closed after its time, and one past its lifetime is not kept."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(**options))
    client = await rig.client()
    await client.send(get())
    end = await upstream.accept()
    await end.until()
    await end.send(OK)
    await client.answer()
    await end.closed()


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
    assert b"" == await client.rest()
    assert [] == rig.refusals


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
    assert b"xxxxx" == await end.rest()


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
    assert await flood(end, 100_000_000) < 100_000_000
    await rig.summary()


async def test_a_slow_client_pauses_the_upstream(rig, upstream):
    """Slow client → upstream paused: it cannot send on until the client reads, and then nothing is missing."""
    client = await rig.client()
    client.writer.transport.pause_reading()
    client.writer.write(get())
    end = await upstream.accept()
    await end.until()
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50003968\r\n\r\n")
    flooding = asyncio.create_task(flood(end, 50_003_968))
    link = next(iter(rig.upstream.pools[0]._links))
    await until(lambda: link._paused)
    assert not flooding.done()
    connection = next(iter(rig.server._connections))
    assert connection._transport.get_write_buffer_size() <= 64 * 1024
    client.writer.transport.resume_reading()
    await client.until()
    received = 0
    while received < 50_003_968:
        received += len(await client.reader.read(1 << 20))
    assert 50_003_968 == await flooding == received


async def test_a_slow_upstream_pauses_the_client(rig, upstream):
    """Slow upstream → client paused, and then nothing is missing."""
    client = await rig.client()
    total = 9 << 20
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % total)
    end = await upstream.accept()
    end.writer.transport.pause_reading()
    flooding = asyncio.create_task(flood(client, total))
    await until(lambda: rig.server.connections and not next(iter(rig.server._connections))._reading)
    assert not flooding.done()
    end.writer.transport.resume_reading()
    await end.until()
    assert total == len(await end.exactly(total)) == await flooding


@pytest.mark.parametrize("bound", ["max_connections", "max_connections_per_address"])
async def test_one_connection_too_many_is_503(rigs, upstream, bound):
    """Connections total and per address: excess 503 and close; when one leaves another may come."""
    rig = await rigs(endpoint(upstream), server=ServerOptions(**{bound: 1}), handler=answer_at_once)
    first = await rig.client()
    await first.ask(get())
    second = await rig.client()
    assert (await second.answer())[0].startswith(b"HTTP/1.1 503 ")
    await second.closed()
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
    assert b"" == await idle.rest()
    await end.send(OK)
    head, body = await busy.answer()
    assert (b"ok", True) == (body, b"Connection: close\r\n" in head)
    await busy.closed()
    await stopping
    with pytest.raises(ConnectionRefusedError):
        await rig.client()


async def test_an_answer_that_had_begun_ends_its_connection_when_draining(rig, upstream):
    """An answer whose head promised more is finished, and then the connection is closed, long before the grace ends."""
    client = await rig.client()
    await client.send(get())
    end = await upstream.accept()
    await end.until()
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
    await client.until()
    stopping = asyncio.create_task(rig.server.stop(1000))
    await until(lambda: rig.server.leaving)
    await end.send(b"k")
    assert b"ok" == await client.rest()
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
    client = await rig.client()
    await client.send(get())
    end = await upstream.accept()
    await end.until()
    await rig.server.stop(SOON)
    assert 0 == rig.server.connections
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
    assert (b"ok", True) == (body, head.startswith(b"HTTP/1.1 200 "))
    assert b"ok" == (await end.ask(get()))[1]
    assert "https" == outer.requests[0].scheme


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


async def test_a_thousand_slow_clients_do_not_cost_memory(rigs, slow_upstream):
    """Memory flat under 1,000 slow clients: half send heads and half take answers as slowly as they can."""
    rig = await rigs(
        endpoint(slow_upstream),
        server=ServerOptions(max_connections_per_address=2 * SLOW),
        upstream=UpstreamOptions(max_connections=SLOW),
        sndbuf=8192,
    )
    before, clients = resident(), []
    for index in range(SLOW):
        client = await rig.client(limit=1024)
        client.writer.transport.pause_reading()
        client.writer.write(get() if index % 2 else get()[:-2])
        clients.append(client)
    await until(lambda: sum(connection._choked for connection in rig.server._connections) == SLOW // 2, every=0.01)
    await until(lambda: sum(connection._begun for connection in rig.server._connections) == SLOW // 2, every=0.01)
    held = [connection._transport.get_write_buffer_size() for connection in rig.server._connections]
    assert max(held) <= 64 * 1024  # one read of an upstream and what was there before it
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
