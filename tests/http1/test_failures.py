"""Who is slow, gone or full: what the other side hears, what is tried again, and what is held meanwhile."""

import asyncio
import socket

import pytest

from ratelimitd.http1 import BreakerOptions, Endpoint, State, Sweeper, UpstreamOptions
from tests.http1.rig import OK, PATIENCE, Rig, answered, endpoint, forwarded, get, post, until

SOON = 0.05


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


async def test_an_upstream_that_refuses_is_502(rigs):
    """Nobody listens: 502."""
    rig = await rigs(Endpoint("127.0.0.1", free_port()))
    head, body = await (await rig.client()).ask(get())
    assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert body == b"cannot connect to the upstream: it refuses\n"


async def test_a_name_nobody_knows_is_502(rigs):
    """A name that does not resolve: 502."""
    rig = await rigs(Endpoint("nowhere.invalid", 80))
    assert (await (await rig.client()).ask(get()))[0].startswith(b"HTTP/1.1 502 ")


async def test_an_upstream_that_closes_early_is_502(rig, upstream):
    """Upstream closes early → 502."""
    client, end = await forwarded(rig, upstream)
    end.close()
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
    assert (await rig.summary()).error == "upstream closed the connection before it answered"


async def test_a_short_response_timeout_does_not_wait_for_the_check_of_all_deadlines(upstream):
    """It has a timer of its own; the check here is too rare to notice."""
    rig = Rig()
    rig.sweeper = Sweeper(10 * PATIENCE)
    await rig.start([endpoint(upstream)], upstream=UpstreamOptions(response_timeout=SOON))
    try:
        head, _ = await (await rig.client()).ask(get())
        assert head.startswith(b"HTTP/1.1 504 ")
        assert (await rig.summary()).error == "upstream did not answer"
    finally:
        await rig.stop()


async def test_an_upstream_that_does_not_answer_is_504(rigs, upstream):
    """Times out → 504, and its connection is closed."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(response_timeout=SOON))
    client, end = await forwarded(rig, upstream)
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


async def test_a_name_whose_first_address_swallows_attempts_is_served_by_another(rigs, upstream, monkeypatch):
    """Each address gets its attempt soon, not the whole ``connect_timeout``: a name has one that answers no packet."""
    found = asyncio.get_running_loop().getaddrinfo

    async def lookup(host, port, **options):
        names = ("127.0.0.2", "127.0.0.1") if host == "two.test" else (host,)
        return [each for name in names for each in await found(name, port, **options)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    with socket.socket() as full:
        full.bind(("127.0.0.2", upstream.port))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            rig = await rigs(Endpoint("two.test", upstream.port), upstream=UpstreamOptions(connect_timeout=PATIENCE))
            client, end = await forwarded(rig, upstream)
            await end.send(OK)
            assert (await client.answer())[0].startswith(b"HTTP/1.1 200 ")


async def test_an_upstream_that_falls_silent_truncates_the_answer(rigs, upstream):
    """A body that stops coming is cut off, since its head is long gone."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(read_timeout=SOON))
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    assert (await client.rest()).endswith(b"abc")
    await end.closed()


async def test_an_open_breaker_is_503_with_retry_after(rigs):
    """Failures in a row open the breaker; nobody is asked then, and Retry-After says for how long."""
    breaker = BreakerOptions(consecutive=2, open_for=7.0)
    rig = await rigs(Endpoint("127.0.0.1", free_port()), upstream=UpstreamOptions(breaker=breaker))
    client = await rig.client()
    assert [(await client.ask(get()))[0].split()[1] for _ in range(2)] == [b"502", b"502"]
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
        assert await end.exactly(4) == b"body"
        await end.send(OK)
        assert (await client.answer())[0].startswith(b"HTTP/1.1 200 ")
        await rig.summary(count)


async def two_stale(rig, upstream):
    """Two clients, and the upstream's connections that were used by each."""
    clients = [await rig.client() for _ in range(2)]
    ends = []
    for client in clients:
        await client.send(get())
        ends.append(await upstream.accept())
    for client, end in zip(clients, ends, strict=True):
        await end.until()
        await end.send(OK)
        await client.answer()
    return clients, ends


async def test_a_get_on_a_stale_connection_is_asked_once_more(rig, upstream):
    """Stale keep-alive connection → one transparent retry for GET, on a new connection."""
    client, end = await answered(rig, upstream)
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
    client, end = await answered(rig, upstream)
    await client.send(get())
    await end.until()
    end.close()
    second = await upstream.accept()
    await second.until()
    second.close()
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
    assert upstream.connections == 2


@pytest.mark.parametrize(
    "request_", [post(b""), post(b"x"), get().replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx")]
)
async def test_what_may_do_something_twice_is_not_asked_again(rig, upstream, request_):
    """No retry for POST, nor for anything with a body, on a stale connection: 502."""
    client, end = await answered(rig, upstream)
    await client.send(request_)
    await end.until()
    end.close()
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
    assert upstream.connections == 1


async def test_the_second_time_is_on_a_new_connection(rig, upstream):
    """A retry does not try its luck with another idle connection, which may be as stale as the first."""
    clients, ends = await two_stale(rig, upstream)
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


async def test_a_retired_upstream_serves_those_it_has_and_keeps_nothing(rigs, upstream):
    """Its idle connections close at once; a request in flight, one that waits and one that comes late are served."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(max_connections=1))
    _, idle = await answered(rig, upstream)
    rig.upstream.retire()
    await idle.closed()
    _, end = await forwarded(rig, upstream)
    second = await rig.client()
    await second.send(get(b"/second"))
    await until(lambda: "1 waiting" in repr(rig.upstream.pools[0]))
    await end.send(OK)
    assert (await end.until()).startswith(b"GET /second ")
    await end.send(OK)
    assert (await second.answer())[0].startswith(b"HTTP/1.1 200 ")
    await end.closed()
    assert repr(rig.upstream.pools[0]) == f"<Pool 127.0.0.1:{upstream.port}: 0 open, 0 idle, 0 dialing, 0 waiting>"


async def test_a_connection_that_grew_old_while_idle_is_not_used(rigs, upstream):
    """The lifetime counts while a connection is idle, too."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(lifetime=SOON))
    client, _ = await answered(rig, upstream)
    await until(lambda: not any(connection.usable for connection in rig.upstreams))
    await client.send(get(b"/new"))
    assert (await (await upstream.accept()).until()).startswith(b"GET /new ")


async def test_a_get_that_was_half_answered_is_not_asked_again(rig, upstream):
    """Once a byte of a response came there is no retry."""
    client, end = await answered(rig, upstream)
    await client.send(get())
    await end.until()
    await end.send(b"HTTP/1.1 20")
    end.close()
    assert (await client.answer())[0].startswith(b"HTTP/1.1 502 ")
    assert upstream.connections == 1


async def test_a_client_that_goes_takes_its_request_with_it(rig, upstream):
    """Client closes → upstream cancelled."""
    client, end = await forwarded(rig, upstream)
    client.close()
    await end.closed()
    assert (await rig.summary()).error == "client closed the connection"
    assert rig.upstream.in_flight(0) == 0


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
    assert repr(rig.upstream.pools[0]) == f"<Pool 127.0.0.1:{upstream.port}: 1 open, 1 idle, 0 dialing, 0 waiting>"


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
    assert upstream.connections == 1


@pytest.mark.parametrize("options", [{"max_waiting": 0}, {"wait_timeout": SOON}])
async def test_no_connection_free_is_503(rigs, upstream, options):
    """Where no connection is free, in time or at all, it is 503."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(max_connections=1, **options))
    first, second = await rig.client(), await rig.client()
    await first.send(get())
    await (await upstream.accept()).until()
    assert (await second.ask(get()))[0].startswith(b"HTTP/1.1 503 ")


async def test_the_last_used_connection_is_the_first_taken(rigs, upstream):
    """Idle connections are reused last in, first out, so that those too many grow old."""
    rig = await rigs(endpoint(upstream))
    clients, ends = await two_stale(rig, upstream)
    await clients[0].send(get(b"/last"))
    assert (await ends[1].until()).startswith(b"GET /last ")


@pytest.mark.parametrize("options", [{"idle_timeout": SOON}, {"lifetime": 0.0}])
async def test_connections_do_not_grow_old(rigs, upstream, options):
    """An idle connection is closed after its time, and one past its lifetime is not kept."""
    rig = await rigs(endpoint(upstream), upstream=UpstreamOptions(**options))
    _client, end = await answered(rig, upstream)
    await end.closed()
