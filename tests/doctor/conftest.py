"""What the tests of doctor share."""

import pytest

from testkit.redis_server import redis_server
from tests.doctor.doctoring import GOOD


@pytest.fixture
def good(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text(GOOD)
    return str(file)


@pytest.fixture(scope="module")
def server():
    """A redis-server as docs/operations.md would have it; whoever changes its settings puts them back."""
    with redis_server("--maxmemory", "100mb", "--maxmemory-policy", "noeviction", "--hz", "100") as running:
        yield running


@pytest.fixture
def setting(server):
    """Change a setting of the server for this test."""
    before: dict[str, str] = {}

    def change(name, value):
        before[name] = server.ask("CONFIG", "GET", name)[1]
        server.ask("CONFIG", "SET", name, value)

    yield change
    for name, value in before.items():
        server.ask("CONFIG", "SET", name, value)
