"""Every store there is, empty, as the fixture ``store``."""

from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings

from ratelimitd.limiter.seam import Store
from ratelimitd.stores import MemoryStore, RedisStore
from ratelimitd.stores.redis import RedisOptions
from tests.contract.cases import PATIENCE
from tests.redis_server import RedisServer, address_of, redis_server

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
"""How long an example takes is the machine's affair."""


def options(server: RedisServer, **others: object) -> RedisOptions:
    """Options for this server that wait as long as a test does, on simulated time."""
    return RedisOptions(address_of(server.address), **{"clock": "host", "budget": PATIENCE, "jitter": 600, **others})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    """A redis-server that this folder's tests share."""
    with redis_server() as running:
        yield running


@pytest.fixture
def empty(server: RedisServer) -> RedisServer:
    """The same, without keys."""
    with server.client() as client:
        client.flushall()
    return server


@pytest.fixture
async def redis_store(empty: RedisServer) -> AsyncIterator[RedisStore]:
    """A connected store on simulated time."""
    store = RedisStore(options(empty))
    assert await store.connect()
    yield store
    await store.close()


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn."""
    if request.param == "memory":
        return MemoryStore()
    found: RedisStore = request.getfixturevalue("redis_store")
    return found
