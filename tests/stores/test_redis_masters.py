"""Sentinels that change their mind, and that answer nonsense; the servers are real."""

import asyncio

import pytest

from ratelimitd.stores.redis import single
from testkit.redis_server import redis_server
from tests.contract.cases import allowed, charge
from tests.stores.conftest import PATIENCE
from tests.stores.test_redis_store import one

pytestmark = pytest.mark.redis


class Sentinel:
    """Answers whatever it is asked with ``reply``."""

    def __init__(self):
        self.reply = b""
        self.url = ""
        self.asked = 0

    def name(self, master):
        """Say from now on that this is the master."""
        port = str(master.port).encode()
        self.reply = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%b\r\n" % (len(port), port)

    async def serve(self, reader, writer):
        """One connection."""
        try:
            while await reader.read(4096):
                self.asked += 1
                writer.write(self.reply)
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def sentinel():
    """One on a free port."""
    made = Sentinel()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"m,127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


@pytest.fixture
def servers():
    """Two that both take themselves for the master."""
    with redis_server(tcp=True) as old, redis_server(tcp=True) as new:
        yield old, new


def exists(server):
    """Whether the counter is there."""
    with server.client() as client:
        return bool(client.exists("k_"))


def accepted(server):
    """Number of connections that it has accepted."""
    with server.client() as client:
        return client.info("stats")["total_connections_received"]


async def test_a_pool_has_one_master(make, edges, sentinel, servers):
    """While connections are open, another one leads to the same master, whatever Sentinel reports: one counts."""
    old, new = servers
    sentinel.name(old)
    store = make(sentinel.url, env={"REDIS_TYPE": "sentinel"})
    assert await store.connect()
    (node,) = store.nodes
    (first,) = node.connections
    sentinel.name(new)
    before = accepted(new)
    assert await node.open()
    assert len(node.connections) == 2
    assert accepted(new) == before + 1  # the client that asks
    node.drop("by the test")
    assert first.lost
    await edges.until(True, False, True)
    assert allowed(await charge(store, [one()])) == [True]
    assert exists(new)


async def test_another_master_is_noticed(
    make,
    edges,
    sentinel,
    servers,
    monkeypatch,
):
    """Another master is noticed while every connection to the old one is well, and used."""
    monkeypatch.setattr(single, "WATCH_EVERY", 0.01)
    monkeypatch.setattr(single, "LEAVE_AFTER", 0.05)
    old, new = servers
    sentinel.name(old)
    store = make(sentinel.url, env={"REDIS_TYPE": "sentinel"})
    assert await store.connect()
    sentinel.name(new)
    await edges.until(True, False, True)
    assert "a different master" in edges.seen[1][1]
    assert allowed(await charge(store, [one()])) == [True]
    assert (exists(old), exists(new)) == (False, True)


async def test_processes_leave_a_master_together(make, edges, sentinel, servers, monkeypatch):
    """A master whose connections are well is not left before Sentinels have had the time to close those of all."""
    monkeypatch.setattr(single, "WATCH_EVERY", 0.01)
    monkeypatch.setattr(single, "LEAVE_AFTER", PATIENCE)
    old, new = servers
    sentinel.name(old)
    store = make(sentinel.url, env={"REDIS_TYPE": "sentinel"})
    assert await store.connect()
    sentinel.name(new)
    async with asyncio.timeout(PATIENCE):
        until = sentinel.asked + 5
        while sentinel.asked < until:
            await asyncio.sleep(0.01)
    assert allowed(await charge(store, [one()])) == [True]
    assert (exists(old), exists(new)) == (True, False)


@pytest.mark.parametrize("reply", [b"+OK\r\n", b"*1\r\n:1\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b":1\r\n"])
async def test_nonsense_of_a_sentinel(make, edges, sentinel, servers, reply):
    """A Sentinel's reply of another shape is one failed attempt, and the next one may be well."""
    sentinel.reply = reply
    store = make(sentinel.url, env={"REDIS_TYPE": "sentinel"})
    assert not await store.connect()
    assert "sent an invalid address" in edges.seen[0][1]
    sentinel.name(servers[0])
    await edges.until(False, True)
