"""Responses that ended before their end: which side cut them, and why."""

import asyncio

import pytest

from ratelimitd.http1 import ServerOptions
from tests.http1.rig import answered, endpoint, forwarded, get, until

BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"


async def begun(rig, upstream):
    """A client that has the first part of a response, and the upstream's end."""
    client, end = await forwarded(rig, upstream)
    await end.send(BEGUN)
    await client.until(b"abc")
    return client, end


def told(summary):
    return summary.status, summary.cut, summary.error


@pytest.mark.parametrize("reset", [False, True])
async def test_an_upstream_that_ends_in_the_middle_cuts_the_response(rig, upstream, reset):
    """The summary says so, though the status is that of the upstream."""
    _, end = await begun(rig, upstream)
    (end.reset if reset else end.close)()
    assert told(await rig.summary()) == (200, "upstream", "upstream closed the connection too early")


async def test_a_client_that_leaves_in_the_middle_cuts_the_response(rig, upstream):
    """It is told apart from one that leaves before the head."""
    client, _ = await begun(rig, upstream)
    client.close()
    assert told(await rig.summary()) == (200, "client", "client closed the connection")
    client, _ = await forwarded(rig, upstream)
    client.close()
    assert told(await rig.summary(2)) == (0, "", "client closed the connection")


async def test_a_client_that_does_not_read_is_told_from_one_that_left(rigs, upstream):
    """After ``send_timeout`` the reason is that it did not read."""
    rig = await rigs(endpoint(upstream), server=ServerOptions(send_timeout=0.2), sndbuf=4096)
    client = await rig.client(limit=1)
    await client.send(get())
    end = await upstream.accept()
    await end.until()

    async def flood():
        while True:
            await end.send(b"x" * 65536)

    await end.send(ENDLESS)
    flooding = asyncio.ensure_future(flood())
    summary = await rig.summary()
    flooding.cancel()
    await asyncio.wait([flooding])
    assert told(summary) == (200, "client", "client did not read the response in time")


async def test_a_body_that_breaks_in_the_middle_of_the_response_cuts_it(rig, upstream):
    """The request's body is malformed after the response began: the fault is the client's."""
    client = await rig.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    end = await upstream.accept()
    await end.until()
    await end.send(BEGUN)
    await client.until(b"abc")
    await client.send(b"zz")
    summary = await rig.summary()
    assert told(summary)[:2] == (200, "client")
    assert summary.error.startswith("request body: ")


async def test_a_response_that_a_shutdown_ends_is_cut_by_the_gateway(rig, upstream):
    """At the end of the grace period, its connection is closed."""
    await begun(rig, upstream)
    await rig.server.stop(0)
    assert told(await rig.summary()) == (200, "gateway", "the gateway closed the connection")


async def test_whole_responses_and_tunnels_are_not_cut(rig, upstream):
    """A client that leaves after its response, and a tunnel that ends when a side leaves."""
    client, end = await answered(rig, upstream)
    client.close()
    assert told(await rig.summary()) == (200, "", "")
    await until(lambda: not rig.downstream)
    client = await rig.client()
    await client.send(get(b"/", b"Connection: Upgrade", b"Upgrade: websocket"))
    await end.until()
    await end.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    await client.until()
    client.reset()
    summary = await rig.summary(2)
    assert (summary.status, summary.cut) == (101, "")
