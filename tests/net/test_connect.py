"""Connections by name: a caller that stops waiting leaves nothing behind, and each address is tried."""

import asyncio
import gc
import socket

import pytest
import uvloop

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.http1 import Endpoint
from ratelimitd.http1.client import fetch
from ratelimitd.net.connect import connect
from ratelimitd.stores.redis.opening import open_connection
from testkit.redis_server import free_port

UNKNOWN = "no.such.name.invalid"


async def of_redis():
    async def handshake(_):
        pytest.fail("connected to a name that does not exist")

    await open_connection(RedisAddress(UNKNOWN, 6379), None, 10.0, handshake)


async def of_http():
    await fetch(Endpoint(UNKNOWN, 80, tls=False), b"GET", b"/", seconds=10.0, max_body=1)


@pytest.mark.parametrize("attempt", [of_redis, of_http])
def test_a_lookup_that_nothing_waits_for_is_silent(attempt):
    """A caller that is cancelled while its name is looked up in vain leaves no exception that was never retrieved."""
    unhandled = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unhandled.append(context))
        task = asyncio.ensure_future(attempt())
        for _ in range(2):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        for _ in range(8):  # lookups begin in order, so the first has ended when these have
            with pytest.raises(socket.gaierror):
                await loop.getaddrinfo(UNKNOWN, 80)
        del task  # its traceback holds the lookup
        gc.collect()

    uvloop.run(main())
    assert unhandled == []


NO_FAMILY = (socket.AF_UNIX, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", 0))
"""An address for which the kernel makes no socket, like one of IPv6 where that is disabled."""


async def test_each_address_of_a_name_is_tried(monkeypatch):
    """A name with an address of a family that this host lacks, and one that refuses, leads to the third."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    found = loop.getaddrinfo

    async def lookup(_host, port, **options):
        both = [*await found("127.0.0.2", port, **options), *await found("127.0.0.1", port, **options)]
        return [NO_FAMILY, *both]

    monkeypatch.setattr(loop, "getaddrinfo", lookup)
    transports = []

    class Client(asyncio.Protocol):
        def connection_made(self, transport):
            transports.append(transport)

    assert isinstance(await connect(Client, "both.test", port, ssl=None, server_hostname=None), Client)
    assert transports[0].get_extra_info("peername")[0] == "127.0.0.1"
    assert transports[0].get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transports[0].abort()
    server.close()
    await server.wait_closed()


async def test_why_no_address_accepts():
    """The error is the system's, and of its own type."""
    with pytest.raises(ConnectionRefusedError, match="Connection refused"):
        await connect(asyncio.Protocol, "127.0.0.1", free_port(), ssl=None, server_hostname=None)
