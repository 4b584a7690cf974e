"""The end of a server under load: no request that has arrived, or that comes soon, is lost to a reset."""

import asyncio
import os
import socket

import pytest

from ratelimitd.http1 import Endpoint, downstream, lifecycle
from tests.http1.rig import OK, PATIENCE, End, forwarded, get, until

NOBODY = Endpoint("127.0.0.1", 1)


@pytest.fixture
async def serving(rigs):
    """A server that answers at once."""
    return await rigs(NOBODY, handler=lambda _, exchange: exchange.respond(200, [], b"ok"))


@pytest.fixture
def at_once(monkeypatch):
    """Idle clients are left without waiting for a request that comes soon."""
    monkeypatch.setattr(downstream, "LEAVE", 0.0)
    monkeypatch.setattr(lifecycle, "LEAVE", 0.0)


def connected(rig):
    """A connection that the kernel has made, and the server has not accepted."""
    return socket.create_connection(("127.0.0.1", rig.port))


async def last_answer(client):
    """The answer of a server that closes the connection after it."""
    head, body = await client.answer()
    assert b"Connection: close\r\n" in head
    assert await client.rest() == b""
    client.close()
    return body


@pytest.mark.usefixtures("at_once")
async def test_a_request_in_the_receive_buffer_is_answered(serving):
    """The kernel has it, and the server has not read it, when it stops."""
    client = await serving.client()
    await client.ask(get())
    os.write(client.writer.get_extra_info("socket").fileno(), get())  # it has arrived when this returns
    serving.server.leaving = True
    serving.downstream[0].leave()  # as the server does when it stops
    assert await last_answer(client) == b"ok"


async def test_connections_in_the_backlog_are_served(serving):
    """They are made as far as their clients know: a server that closes its socket would reset them all."""
    waiting = [connected(serving) for _ in range(40)]
    for sock in waiting:
        sock.sendall(get())
    stopping = asyncio.create_task(serving.server.stop(PATIENCE))
    for sock in waiting:
        sock.setblocking(False)
        client = End(*await asyncio.open_connection(sock=sock))
        assert await last_answer(client) == b"ok"
    await stopping


async def test_a_client_that_has_connected_may_ask_yet(serving):
    """Its request is on the way when the server stops."""
    client = await serving.client()
    stopping = asyncio.create_task(serving.server.stop(PATIENCE))
    await until(lambda: serving.server.leaving and serving.downstream[0]._leaves)
    await client.send(get())
    assert await last_answer(client) == b"ok"
    await stopping


async def test_a_client_that_was_just_answered_may_ask_once_more(serving):
    """A busy client does not learn of the end by a request that crosses it."""
    client = await serving.client()
    await client.ask(get())
    stopping = asyncio.create_task(serving.server.stop(PATIENCE))
    await until(lambda: serving.downstream[0]._leaves)
    await client.send(get())
    assert await last_answer(client) == b"ok"
    await stopping


async def test_a_client_whose_answer_said_nothing_of_the_end_may_ask_once_more(rig, upstream):
    """Its head was sent before the server stopped."""
    client, end = await forwarded(rig, upstream)
    await end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
    await client.until()
    stopping = asyncio.create_task(rig.server.stop(PATIENCE))
    await until(lambda: rig.downstream[0]._leaves)
    await end.send(b"k")
    assert await client.exactly(2) == b"ok"
    await client.send(get())
    await end.until()
    await end.send(OK)
    assert await last_answer(client) == b"ok"
    await stopping


@pytest.mark.usefixtures("at_once")
async def test_a_request_that_crosses_the_end_is_not_answered_by_a_reset(serving):
    """The client reads the end, and so what it had not read before; it may ask elsewhere (RFC 9112 9.3.1)."""
    client = await serving.client()
    client.writer.transport.pause_reading()
    client.writer.write(get())
    await until(lambda: "HEAD" in repr(serving.downstream) and serving.downstream[0].asked)
    stopping = asyncio.create_task(serving.server.stop(PATIENCE))
    await until(lambda: "LINGER" in repr(serving.downstream))
    for _ in range(3):
        await client.send(get())
        await asyncio.sleep(0)
    client.writer.transport.resume_reading()
    assert (await client.answer())[1] == b"ok"
    assert await client.rest() == b""
    client.close()
    await stopping


async def test_a_pipeline_is_not_cut_by_a_reset(serving):
    """The last answer arrives although more was asked; what was asked after it is not answered."""
    client = await serving.client()
    await client.ask(get())
    serving.server.leave()
    client.writer.transport.pause_reading()
    for _ in range(3):
        await client.send(get() * 3)
        await asyncio.sleep(0)
    client.writer.transport.resume_reading()
    assert await last_answer(client) == b"ok"


async def test_a_tls_handshake_is_completed(rigs, contexts):
    """A client of a TLS port is served that has connected and says its first word after the server stopped."""
    server, trusting = contexts
    rig = await rigs(NOBODY, handler=lambda _, exchange: exchange.respond(200, [], b"ok"), tls=server)
    sock = connected(rig)
    await until(lambda: rig.server.connections == 1)
    stopping = asyncio.create_task(rig.server.stop(PATIENCE))
    await until(lambda: rig.downstream[0]._leaves)
    sock.setblocking(False)
    client = End(*await asyncio.open_connection(sock=sock, ssl=trusting, server_hostname="localhost"))
    await client.send(get())
    assert await last_answer(client) == b"ok"
    await stopping


async def test_a_silent_handshake_ends_with_the_grace(rigs, contexts):
    """It cannot be aborted as a connection yet."""
    rig = await rigs(NOBODY, tls=contexts[0])
    client = await rig.client()
    await until(lambda: rig.server.connections == 1)
    await rig.server.stop(0.05)
    assert rig.server.connections == 0
    await client.closed()
