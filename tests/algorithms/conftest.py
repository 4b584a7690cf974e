"""A real Redis for the script, and the script in it."""

import pytest

from ratelimitd.stores.redis.script import compose
from testkit.redis_server import redis_server
from tests.algorithms.cases import LONG, Script


@pytest.fixture(scope="session")
def server():
    """A client of a redis-server that this folder's tests share."""
    with redis_server("--appendonly", "no") as running, running.client() as client:
        yield client


@pytest.fixture
def empty(server):
    """The same, without keys."""
    server.flushall()
    return server


@pytest.fixture(scope="session")
def script(server):
    """The script as it is."""
    return Script(server, compose())


@pytest.fixture(scope="session")
def timeless(server):
    """The script with keys that outlive any test: simulated time stands still while real time runs."""
    text = compose()
    assert text.count("local GRACE = 1000\n") == 1
    return Script(server, text.replace("local GRACE = 1000\n", f"local GRACE = {LONG}\n"))
