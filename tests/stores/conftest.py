"""What the tests of the Redis store share: how one is made, and a record of its edges."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest

from ratelimitd.stores.redis import Observer, RedisStore
from tests.redis_options import options_of
from tests.stores.fake_redis import FakeRedis
from tests.stores.lying_cluster import LyingNode

PATIENCE = 30.0
"""Seconds until a test that waits fails."""


class Edges(Observer):
    """What ``edge`` was called with, and a way to wait for the next; what ``refusing`` and ``sharding`` were told."""

    def __init__(self):
        self.seen: list[tuple[bool, str]] = []
        self.refusals: list[str] = []
        self.trials: list[tuple[bool | None, str]] = []
        self._event = asyncio.Event()

    def edge(self, name, up, reason):
        """See ``Observer``."""
        self.seen.append((up, reason))
        self._event.set()

    def refusing(self, name, reason):
        """See ``Observer``."""
        self.refusals.append(reason)

    def sharding(self, name, sharded, reason):
        """See ``Observer``."""
        self.trials.append((sharded, reason))

    @property
    def ups(self):
        """The directions alone."""
        return [up for up, _ in self.seen]

    async def until(self, *ups):
        """Wait until exactly these were seen."""
        async with asyncio.timeout(PATIENCE):
            while self.ups != list(ups):
                self._event.clear()
                await self._event.wait()


class Make(Protocol):
    """Makes a store for an address, with these options; it is closed when the test ends."""

    def __call__(self, url, auth="", **others): ...


@pytest.fixture
async def edges():
    """The edges of the stores that ``make`` makes."""
    return Edges()


@pytest.fixture
async def fake(tmp_path):
    """A server to be started by the test."""
    server = FakeRedis(tmp_path)
    yield server
    await server.close()


@pytest.fixture
async def make(edges, fake):
    """See ``Make``."""
    closers: list[Callable[[], Awaitable[None]]] = []

    def made(url, auth="", **others):
        defaults = {"budget": PATIENCE, "retry_first": 0.001, "retry_most": 0.01}
        store = RedisStore(options_of(url, auth, **{**defaults, **others}), edges)
        closers.append(store.close)
        return store

    yield made
    for close in closers:
        await close()


@pytest.fixture
async def liars():
    """Starts servers, each of which may lie about its cluster."""
    started = []

    async def start():
        started.append(await LyingNode().start())
        return started[-1]

    yield start
    for server in started:
        await server.close()
    await asyncio.sleep(0)
