"""Connections by name: a caller that stops waiting leaves nothing behind, and each address is tried."""

import asyncio
import gc
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.http1 import Endpoint
from ratelimitd.http1.client import fetch
from ratelimitd.net.connect import ATTEMPT_DELAY, _Address, _interleaved, connect
from ratelimitd.stores.redis.opening import open_connection
from testkit.redis_server import free_port

UNKNOWN = "no.such.name.invalid"
PATIENCE = 30.0


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


class Kept(asyncio.Protocol):
    """Keeps its transport."""

    def connection_made(self, transport):
        self.transport = transport


@contextmanager
def closed_port():
    """A port that refuses."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


NO_FAMILY = (socket.AF_UNIX, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", 0))
"""An address for which the kernel makes no socket, like one of IPv6 where that is disabled."""


@pytest.fixture
def resolving(monkeypatch):
    """Makes ``some.test`` resolve to these addresses, and what is no name to itself, as uvloop asks for both."""

    def resolve(*names, last=()):
        loop = asyncio.get_running_loop()
        found = loop.getaddrinfo

        async def lookup(host, port, **options):
            if host != "some.test":
                return await found(host, port, **options)
            return [*[each for name in names for each in await found(name, port, **options)], *last]

        monkeypatch.setattr(loop, "getaddrinfo", lookup)

    return resolve


async def test_each_address_of_a_name_is_tried(resolving):
    """A name with an address of a family that this host lacks, and one that refuses, leads to the one that accepts."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    resolving("127.0.0.2", "127.0.0.1", last=[NO_FAMILY])
    transports = []

    class Client(asyncio.Protocol):
        def connection_made(self, transport):
            transports.append(transport)

    assert isinstance(await connect(Client, "some.test", port, ssl=None, server_hostname=None), Client)
    assert transports[0].get_extra_info("peername")[0] == "127.0.0.1"
    assert transports[0].get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transports[0].abort()
    server.close()
    await server.wait_closed()


@contextmanager
def swallowing(address, port):
    """A listener whose backlog is full: the kernel drops every SYN."""
    with socket.socket() as full:
        full.bind((address, port))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            yield full


async def test_an_address_that_swallows_attempts_does_not_hold_up_the_others(resolving):
    """Of four addresses two never answer: another one is reached all the same, and nothing is left of the attempts."""
    loop = asyncio.get_running_loop()
    async with await loop.create_server(asyncio.Protocol, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        resolving("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1")
        with swallowing("127.0.0.2", port), swallowing("127.0.0.3", port):
            before = len(list(Path("/proc/self/fd").iterdir()))
            async with asyncio.timeout(PATIENCE):
                made = await connect(Kept, "some.test", port, ssl=None, server_hostname=None)
            assert made.transport.get_extra_info("peername")[0] == "127.0.0.1"
            assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2  # both ends of the connection
        made.transport.abort()


@pytest.mark.parametrize("host", ["127.0.0.2", "some.test"])
async def test_attempts_end_with_their_caller(resolving, host):
    """A caller that gives up leaves no socket behind, for an address as for a name."""
    resolving("127.0.0.2", "127.0.0.3")
    with swallowing("127.0.0.2", 0) as full, swallowing("127.0.0.3", full.getsockname()[1]):
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(
                connect(Kept, host, full.getsockname()[1], ssl=None, server_hostname=None), 2 * ATTEMPT_DELAY
            )
        async with asyncio.timeout(PATIENCE):
            while len(list(Path("/proc/self/fd").iterdir())) > before:
                await asyncio.sleep(0)


def test_families_take_turns():
    """The resolver's first address is the first; then the other family has its turn, until one is used up."""
    four, six = socket.AF_INET, socket.AF_INET6
    given = [_Address(family, 0, 0, at) for family, at in ((six, 1), (six, 2), (six, 3), (four, 4), (four, 5))]
    assert [each.at for each in _interleaved(given)] == [1, 4, 2, 5, 3]


async def test_a_name_one_of_whose_addresses_refuses_is_refused(resolving):
    """What is told is the refusal, not the family that this host lacks: it says most of the server."""
    resolving("127.0.0.1", last=[NO_FAMILY])
    with pytest.raises(ConnectionRefusedError):
        await connect(Kept, "some.test", free_port(), ssl=None, server_hostname=None)


async def test_why_no_address_accepts():
    """The error is the system's, and of its own type."""
    with pytest.raises(ConnectionRefusedError, match="Connection refused"):
        await connect(asyncio.Protocol, "127.0.0.1", free_port(), ssl=None, server_hostname=None)


async def test_a_name_that_is_not_looked_up_in_time_takes_one_thread(monkeypatch):
    """uvloop has four threads for lookups: callers that gave up, and come again, add none; the next one starts anew."""
    loop = asyncio.get_running_loop()
    begun, answered = [], asyncio.Event()

    async def lookup(host, port, **options):
        begun.append(host)
        await answered.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(loop, "getaddrinfo", lookup)
    with closed_port() as port:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await connect(Kept, "slow.test", port, ssl=None, server_hostname=None)
        assert begun == ["slow.test"]
        answered.set()
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                await connect(Kept, "slow.test", port, ssl=None, server_hostname=None)
    assert len(begun) == 2
