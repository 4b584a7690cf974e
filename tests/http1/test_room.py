"""Connections that make room for others on a server whose places are all taken."""

import asyncio

import pytest

from ratelimitd.http1 import Endpoint, ServerOptions
from ratelimitd.net import accept
from tests.http1.rig import get, until

SOON = 0.2
NOBODY = Endpoint("127.0.0.1", 1)
HUGE = b"x" * (64 << 20)


def answer_at_once(request, exchange):
    exchange.respond(200, [], HUGE if request.path == b"/huge" else b"ok")


def read_no_body(request, exchange):
    """Answer requests without a body, and leave those with one unanswered as long as the body is not whole."""
    if request.length:
        exchange.client.start_body(Ignored())
    else:
        answer_at_once(request, exchange)


class Ignored:
    def body(self, piece):
        pass

    def body_end(self):
        pass


async def silent(client):
    """Send nothing."""


async def between_requests(client):
    """Have a request answered, and send no other."""
    await client.ask(get())


async def in_a_head(client):
    """Send a part of a head."""
    await client.send(get()[:-2])


async def in_a_body(client):
    """Send a part of a body."""
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")


async def refused(client):
    """Send what ends the connection, and neither read on nor close."""
    await client.send(b"\0\r\n")


async def not_reading(client):
    """Ask for more than the buffers on the way hold, and read nothing."""
    client.writer.transport.pause_reading()
    await client.send(get(b"/huge"))


STATES = {
    silent: "HEAD",
    between_requests: "HEAD",
    in_a_head: "partial head",
    in_a_body: "BUSY",
    refused: "LINGER",
    not_reading: "blocked",
}


@pytest.mark.parametrize("waits", STATES)
async def test_a_client_that_is_waited_for_makes_room(rigs, waits):
    """For a request, a part of one, or to read: another client gets the place, and is answered."""
    rig = await rigs(NOBODY, server=ServerOptions(max_connections=1), handler=read_no_body)
    first = await rig.client()
    await waits(first)
    await until(lambda: STATES[waits] in repr(rig.downstream))
    (taken,) = rig.downstream
    await until(lambda: taken.idle_since is not None)
    second = await rig.client()
    assert (await second.ask(get()))[0].startswith(b"HTTP/1.1 200 ")
    assert taken not in rig.downstream
    assert rig.server.connections == 1


async def test_the_longest_idle_makes_room(rigs):
    """Of two clients between requests, the one whose last request is longer ago."""
    rig = await rigs(NOBODY, server=ServerOptions(max_connections=2), handler=answer_at_once)
    first, second = await rig.client(), await rig.client()
    for client in (first, second, first):
        await client.ask(get())
        await asyncio.sleep(0.01)  # the loop's clock has milliseconds
    third = await rig.client()
    assert (await third.ask(get()))[0].startswith(b"HTTP/1.1 200 ")
    await second.closed()
    assert (await first.ask(get()))[0].startswith(b"HTTP/1.1 200 ")


async def test_the_process_has_files_for_fewer(rigs):
    """The bound of the process holds before that of the options, after new options too."""
    rig = await rigs(NOBODY, handler=answer_at_once)
    rig.server._most = 2
    rig.server.options = ServerOptions()
    assert rig.server.places.bounds.total == 2
    rig.server.options = ServerOptions(max_connections=1)
    assert rig.server.places.bounds.total == 1


async def test_a_handshake_has_a_place(rigs, contexts):
    """A silent client of a TLS port counts before its handshake, and makes room."""
    server, trusting = contexts
    rig = await rigs(NOBODY, server=ServerOptions(max_connections=1), handler=answer_at_once, tls=server)
    waiting = await rig.client()
    await until(lambda: rig.server.connections == 1)
    client = await rig.client(ssl=trusting, server_hostname="localhost")
    assert (await client.ask(get()))[0].startswith(b"HTTP/1.1 200 ")
    await waiting.closed()


async def test_handshakes_are_bounded(rigs, contexts, monkeypatch):
    """One more than the bound is closed while the others are young, and gets the place of the oldest after that."""
    monkeypatch.setattr(accept, "HANDSHAKES", 2)
    server, trusting = contexts
    rig = await rigs(NOBODY, handler=answer_at_once, tls=server)
    first, second = await rig.client(), await rig.client()
    await until(lambda: rig.server.connections == 2)
    third = await rig.client()
    await third.closed()
    assert [refusal.status for refusal in rig.refusals] == [503]
    handshakes = rig.server._listeners[0]._handshakes
    handshakes.bounds = handshakes.bounds._replace(patience=0.0)
    client = await rig.client(ssl=trusting, server_hostname="localhost")
    assert (await client.ask(get()))[0].startswith(b"HTTP/1.1 200 ")
    await first.closed()
    second.close()
    await until(lambda: (rig.server.connections, len(handshakes)) == (1, 0))


async def test_silent_tls_clients_hold_no_more_than_the_connections(rigs, contexts):
    """Of forty, the last five are held, and none once ``head_timeout`` is over: a handshake has as long as a head."""
    server, _ = contexts
    bounds = ServerOptions(max_connections=5, head_timeout=SOON)
    rig = await rigs(NOBODY, server=bounds, handler=answer_at_once, tls=server)
    clients, most = [], 0
    for _ in range(40):
        clients.append(await rig.client())
        most = max(most, rig.server.connections)
    for client in clients:
        await client.closed()
    await until(lambda: rig.server.connections == 0)
    assert 0 < most <= 5


async def test_a_new_head_timeout_is_that_of_handshakes_too(rigs, contexts):
    """A reload changes it for the connections that come."""
    server, _ = contexts
    rig = await rigs(NOBODY, handler=answer_at_once, tls=server)
    rig.server.options = ServerOptions(head_timeout=SOON)
    await (await rig.client()).closed()


async def test_a_trusted_peer_is_not_one_client(rigs):
    """``max_connections_per_address`` holds for no address that stands for many; trust may come and go."""
    bounds = ServerOptions(max_connections_per_address=1)
    rig = await rigs(NOBODY, server=bounds, handler=answer_at_once, trusted=["127.0.0.0/8"])
    clients = [await rig.client() for _ in range(3)]
    for client in clients:
        assert (await client.ask(get()))[0].startswith(b"HTTP/1.1 200 ")
    rig.server.trust([])
    assert (await (await rig.client()).answer())[0].startswith(b"HTTP/1.1 503 ")
    rig.server.trust(["127.0.0.1/32"])
    assert (await (await rig.client()).ask(get()))[0].startswith(b"HTTP/1.1 200 ")
