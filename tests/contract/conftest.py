"""Every store there is, and every kind of Redis, empty, as the fixture ``store``."""

from collections.abc import Mapping
from typing import NamedTuple

import pytest

from ratelimitd.stores import MemoryStore, RedisStore
from testkit.redis_cluster import CLUSTER, redis_cluster
from testkit.redis_sentinel import redis_sentinel
from testkit.redis_server import RedisServer, redis_server
from testkit.tls_files import tls_files
from tests.contract.cases import PATIENCE
from tests.redis_options import options_of


class Redis(NamedTuple):
    """A running Redis of some kind: the masters, and what the settings say of it."""

    masters: list[RedisServer]
    url: str
    env: Mapping[str, str] = {}


def options(server, **others):
    """Options for this server that wait as long as a test does, on simulated time."""
    return simulated(Redis([server], server.address), **others)


def simulated(redis, **others):
    """Options for a Redis that wait as long as a test does, on simulated time."""
    return options_of(redis.url, env=redis.env, **{"clock": "host", "budget": PATIENCE, "jitter": 600, **others})


@pytest.fixture(scope="session")
def server():
    """A redis-server that this folder's tests share."""
    with redis_server() as running:
        yield running


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    """Certificates."""
    return tls_files(tmp_path_factory.mktemp("tls"))


def over_tls(files):
    """The settings for TLS with a generated certificate."""
    return {
        "REDIS_TLS": "true",
        "REDIS_TLS_CACERT": str(files.authority),
        "REDIS_TLS_CLIENT_CERT": str(files.client_certificate),
        "REDIS_TLS_CLIENT_KEY": str(files.client_key),
    }


@pytest.fixture(scope="session")
def single(server):
    """One server."""
    return Redis([server], server.address)


@pytest.fixture(scope="session")
def single_tls(tls):
    """One server over TLS, which asks for a certificate."""
    with redis_server(tls=tls, client_certificate=True) as running:
        yield Redis([running], running.address, over_tls(tls))


@pytest.fixture(scope="session")
def sentinel(tls):
    """A master, a replica and three Sentinels, with passwords of their own."""
    with redis_sentinel(password="canary", sentinel_password="parrot") as running:
        env = {"REDIS_TYPE": "sentinel", "REDIS_AUTH": "canary", "REDIS_SENTINEL_AUTH": "parrot"}
        yield Redis([running.master], running.url, env)


@pytest.fixture(scope="session")
def sentinel_tls(tls):
    """The same over TLS."""
    with redis_sentinel(tls=tls) as running:
        yield Redis([running.master], running.url, {"REDIS_TYPE": "sentinel", **over_tls(tls)})


@pytest.fixture(scope="session")
def cluster():
    """Three masters."""
    with redis_cluster(node_timeout=5000) as running:
        yield Redis(list(running.masters()), running.url, CLUSTER)


@pytest.fixture(scope="session")
def cluster_tls(tls):
    """Three masters over TLS."""
    with redis_cluster(tls=tls, node_timeout=5000) as running:
        yield Redis(list(running.masters()), running.url, {**CLUSTER, **over_tls(tls)})


@pytest.fixture(scope="session")
def two(single, cluster):
    """One server, and a cluster for limits a second (REDIS_PERSECOND)."""
    second = {"": "true", "_URL": cluster.url, "_TYPE": "cluster"}
    env = {f"REDIS_PERSECOND{name}": value for name, value in second.items()}
    return Redis(single.masters + cluster.masters, single.url, env)


KINDS = ("single", "single_tls", "sentinel", "sentinel_tls", "cluster", "cluster_tls", "two")


def emptied(redis):
    """The same, without keys."""
    for master in redis.masters:
        master.ask("FLUSHALL")
    return redis


@pytest.fixture
def empty(single):
    """One server without keys."""
    return emptied(single).masters[0]


@pytest.fixture
async def opened():
    """Makes stores, and closes them."""
    made: list[RedisStore] = []

    def make(of):
        made.append(RedisStore(of))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
async def redis_store(empty, opened):
    """A connected store on simulated time."""
    store = opened(options(empty))
    assert await store.connect()
    return store


async def _opened(request, opened):
    """The store that a parameter names."""
    if request.param == "memory":
        return MemoryStore()
    found = opened(simulated(emptied(request.getfixturevalue(request.param))))
    assert await found.connect()
    return found


@pytest.fixture(params=["memory", *(pytest.param(kind, marks=pytest.mark.redis) for kind in KINDS)])
async def store(request, opened):
    """Each store, one after the other."""
    return await _opened(request, opened)


@pytest.fixture(params=["memory", *(pytest.param(kind, marks=pytest.mark.redis) for kind in ("single", "cluster"))])
async def counters(request, opened):
    """Counters in memory, in one Redis and in a cluster."""
    return await _opened(request, opened)
