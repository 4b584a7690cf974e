import pytest

from tests.redis_server import redis_server


@pytest.fixture(params=["memory", "redis"])
def store_env(request):
    """The environment of a service with each store, a real Redis for one of them."""
    if request.param == "memory":
        yield {}
        return
    with redis_server() as redis:
        yield {"REDIS_URL": redis.address}
