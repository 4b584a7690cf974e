"""What one client holds of an upstream leaves room for others, on raw sockets."""

import asyncio
from contextlib import suppress

import pytest

from ratelimitd.http1 import BreakerOptions, ServerOptions, State, UpstreamOptions
from tests.http1.rig import OK, PATIENCE, ScriptedUpstream, endpoint, get, until
from tests.http1.test_tunnel import ASK, GRANT

UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"
OTHER, THIRD = ("127.0.0.2", 0), ("127.0.0.3", 0)


async def answer_heads(reader, writer):
    """Grant tunnels, answer GET, and wait for bodies that do not come."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"GET /"):
                writer.write(GRANT if head.startswith(b"GET /ws ") else OK)


@pytest.fixture
async def answering():
    """An upstream that answers so."""
    scripted = ScriptedUpstream()
    scripted.serve(answer_heads)
    yield await scripted.start()
    await scripted.stop()


def pool(rig):
    return repr(rig.upstream.pools[0])


async def hold(rig, request, count):
    """Let one client send as many requests, each on a connection of its own."""
    clients = [await rig.client() for _ in range(count)]
    for client in clients:
        await client.send(request)
    await until(lambda: len(rig.requests) == count)
    return clients


async def drip(client):
    while True:
        await client.send(b"x")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("request_", [UPLOAD, ASK], ids=["uploads", "tunnels"])
async def test_one_client_does_not_hold_all_connections(answering, rigs, request_):
    """As many slow uploads, or tunnels, as there are connections, and as many that wait: others are answered."""
    rig = await rigs(endpoint(answering), upstream=UpstreamOptions(max_connections=6))
    await hold(rig, request_, 12)
    await until(lambda: "3 open, 0 idle" in pool(rig))
    for _ in range(3):
        client = await rig.client(local_addr=OTHER)
        assert (await client.ask(get()))[0].startswith(b"HTTP/1.1 200 ")
    assert "9 waiting" in pool(rig)


async def test_one_client_does_not_fill_the_queue(rigs, upstream):
    """Its requests beyond a part of ``max_waiting`` are 503 at once; another client waits, and is served before it."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(max_connections=1, max_waiting=4))
    await hold(rig, get(b"/one"), 4)
    end = await upstream.accept()
    await end.until()
    assert (await (await rig.client()).ask(get()))[0].startswith(b"HTTP/1.1 503 ")
    assert rig.summaries[0].error.endswith("most that wait for one are requests of this client")
    other = await rig.client(local_addr=OTHER)
    await other.send(get(b"/other"))
    await until(lambda: "4 waiting" in pool(rig))
    assert (await (await rig.client(local_addr=THIRD)).ask(get()))[0].startswith(b"HTTP/1.1 503 ")
    assert rig.summaries[1].error == "no connection to the upstream is free"
    served = []
    for _ in range(2):
        await end.send(OK)
        served.append((await end.until()).split(b" ")[1])
    assert served == [b"/other", b"/one"]


async def test_a_share_is_that_of_the_client_that_the_handler_finds(answering, rigs):
    """Behind a proxy that all clients come from; an IPv6 network of 64 bits is one client."""
    rig = await rigs(endpoint(answering), upstream=UpstreamOptions(max_connections=4))
    rig.client_of = lambda request: dict(request.headers)[b"X-Client"].decode()
    await hold(rig, UPLOAD.replace(b"Host: a", b"Host: a\r\nX-Client: 2001:db8::1"), 4)
    await until(lambda: "2 open" in pool(rig))
    same_network, other = await rig.client(), await rig.client()
    await same_network.send(get(b"/", b"X-Client: 2001:db8::2"))
    await until(lambda: "3 waiting" in pool(rig))
    assert (await other.ask(get(b"/", b"X-Client: 192.0.2.1")))[0].startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("most", [1, 2])
async def test_max_connections_per_client_is_what_one_client_holds(rigs, upstream, most):
    """In place of its share: another connection stays free, or none does."""
    options = UpstreamOptions(max_connections=3, max_connections_per_client=most)
    rig = await rigs(endpoint(upstream), upstream=options)
    await hold(rig, get(), 3)
    await until(lambda: f"{most} open, 0 idle, 0 dialing, {3 - most} waiting" in pool(rig))


async def test_requests_that_wait_for_a_share_take_no_probe(rigs, upstream):
    """While the circuit breaker is half-open: what a client may not send yet keeps no other client from being asked."""
    breaker = BreakerOptions(open_for=PATIENCE, probes=2)
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(max_connections=2, breaker=breaker))
    for _ in range(breaker.consecutive):
        client = await rig.client()
        await client.send(get())
        (await upstream.accept()).close()
        await client.answer()
    assert State.HALF_OPEN is rig.upstream.state
    answered = len(rig.requests)
    for _ in range(3):
        await (await rig.client()).send(get(b"/held"))
    await until(lambda: len(rig.requests) == answered + 3)
    await (await upstream.accept()).until()
    other = await rig.client(local_addr=OTHER)
    await other.send(get(b"/other"))
    end = await upstream.accept()
    assert (await end.until()).startswith(b"GET /other ")
    await end.send(OK)
    assert (await other.answer())[0].startswith(b"HTTP/1.1 200 ")


async def test_a_request_after_the_end_of_the_pool_is_told_why(rigs, upstream):
    """One that had waited for a limit, say, and is forwarded when the process stops."""
    rig = await rigs(endpoint(upstream))
    await rig.upstream.close()
    assert (await (await rig.client()).ask(get()))[0].startswith(b"HTTP/1.1 503 ")
    assert rig.summaries[0].error == "the gateway shuts down"


async def test_requests_of_one_client_that_wait_are_served(rigs, upstream):
    """One after the other on the connection that it has, while another one is kept for others."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(max_connections=2))
    clients = await hold(rig, get(), 3)
    end = await upstream.accept()
    for _ in clients:
        await end.until()
        await end.send(OK)
    for client in clients:
        assert (await client.answer())[0].startswith(b"HTTP/1.1 200 ")
    assert upstream.connections == 1


@pytest.mark.parametrize("end_of", ["client", "upstream", "answer"])
async def test_a_share_is_free_again_however_its_request_ends(rigs, upstream, end_of):
    """The client leaves, the upstream does, or the answer came; none of it counts twice."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(max_connections=1))
    for _ in range(3):
        client = await rig.client()
        await client.send(get() if end_of == "answer" else UPLOAD)
        if end_of != "answer" or not upstream.connections:
            end = await upstream.accept()
        await end.until()
        if end_of == "client":
            client.close()
            await end.rest()
        elif end_of == "upstream":
            end.close()
            await client.answer()
        else:
            await end.send(OK)
            await client.answer()
        await until(lambda: rig.upstream.pools[0]._shares._held == {})


async def test_a_body_that_only_drips_is_408_and_no_evidence_against_the_upstream(rigs, upstream):
    """A byte now and then is within ``body_timeout``; on average it is less than ``min_body_rate``."""
    rig = await rigs(endpoint(upstream), server=ServerOptions(body_timeout=0.2, min_body_rate=1000))
    for _ in range(6):
        client = await rig.client()
        await client.send(UPLOAD)
        end = await upstream.accept()
        dripping = asyncio.create_task(drip(client))
        assert (await client.answer())[0].startswith(b"HTTP/1.1 408 ")
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        await end.rest()
    assert rig.upstream.state.value == "closed"
