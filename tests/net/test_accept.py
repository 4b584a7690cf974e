"""Connections that are accepted while others close."""

import asyncio
import gc
import os
import resource
import socket
import ssl
import weakref
from contextlib import ExitStack

import pytest
import uvloop

from ratelimitd.net import accept
from ratelimitd.net.accept import TURN, Hooks, Listener
from ratelimitd.net.listen import bind
from ratelimitd.net.peers import peers
from ratelimitd.net.places import Bounds, Places


class Lingering(asyncio.Protocol):
    """A connection that is idle from the start, and closes only when the test says so."""

    asked, idle_since = True, 0.0

    def connection_made(self, transport):
        self.transport = transport

    def abort(self):
        pass


@pytest.fixture
async def listening():
    """A listener with one place, its port, and the connections that it made."""
    made = []

    def make():
        made.append(Lingering())
        return made[-1]

    sock = bind("127.0.0.1", 0)
    places = Places(Bounds(1))
    hooks = Hooks(make, Lingering.abort, lambda *refused: None, lambda error: None)
    listener = Listener(sock, hooks, places, peers())
    yield sock.getsockname()[1], made, places
    listener.close()
    for each in made:
        each.transport.abort()
    await asyncio.sleep(0)


async def until(holds):
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0)


async def test_no_more_are_accepted_than_are_about_to_close(listening):
    """Each has its file until it is gone: the files in use do not grow with the speed at which others come."""
    port, made, places = listening
    with ExitStack() as stack:
        for _ in range(4 * TURN):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        await until(lambda: len(made) == 1 + TURN)
        for _ in range(100):
            await asyncio.sleep(0)
        assert (len(made), len(places), places.closing) == (1 + TURN, 1, TURN)
        for each in made[:3]:
            places.leave(each)
        await until(lambda: len(made) == 4 + TURN)
        assert (len(places), places.closing) == (1, TURN)


async def failed_handshake(client, made):
    """Have a client fail in its handshake, while the collector is off."""
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    places = Places(Bounds(1))

    def make():
        connection = Lingering()
        made.append(weakref.ref(connection))
        return connection

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listener = Listener(sock, Hooks(make, Lingering.abort, print, print), places, peers(), context)
    with client:
        client.connect(("127.0.0.1", port))
        await until(lambda: len(places) == 1)
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: not len(places))
    listener.close()
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_failed_handshake_needs_no_collector():
    """What a failed client leaves is freed at once: the collector never looks at what was there during a freeze."""
    made = []
    gc.collect()
    gc.disable()
    try:
        uvloop.run(failed_handshake(socket.socket(), made))
        assert [connection() for connection in made] == [None]
    finally:
        gc.enable()


async def test_closing_twice_is_closing_once():
    """The port is free after the first, and the second does nothing."""
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    listener = Listener(sock, Hooks(Lingering, Lingering.abort, print, print), Places(Bounds(1)), peers())
    for _ in range(2):
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


async def test_those_that_have_connected_are_accepted_before_the_end():
    """Closing the socket would reset what waits in its backlog; a batch is accepted in each turn of the loop."""
    made, sock = [], bind("127.0.0.1", 0)
    port = sock.getsockname()[1]

    def make():
        made.append(Lingering())
        return made[-1]

    listener = Listener(sock, Hooks(make, Lingering.abort, print, print), Places(Bounds(100)), peers())
    with ExitStack() as stack:
        for _ in range(5 * TURN):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        await listener.finish()
        assert len(made) == 5 * TURN
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        await until(lambda: all(hasattr(each, "transport") for each in made))
        for each in made:
            each.transport.abort()
        await asyncio.sleep(0)


async def test_no_retry_is_left_after_the_end(monkeypatch):
    """A process without files ends: what accepts again a moment later does not meet the closed socket."""
    monkeypatch.setattr(accept, "RETRY", 0.05)
    loop, faults, tries = asyncio.get_running_loop(), [], []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    sock = bind("127.0.0.1", 0)
    with ExitStack() as stack:
        stack.enter_context(socket.create_connection(sock.getsockname()))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(sock.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        listener = Listener(sock, Hooks(Lingering, Lingering.abort, print, tries.append), Places(Bounds(1)), peers())
        await until(lambda: tries)
        await listener.finish()
    assert len(tries) == 2
    later = loop.create_future()
    loop.call_later(accept.RETRY * 2, later.set_result, None)
    await later
    assert faults == []
