import pytest

from testkit.redis_server import redis_server


@pytest.fixture(params=["memory nghttp2", pytest.param("redis nghttp2", marks=pytest.mark.redis), "memory grpcio"])
def store_env(request):
    """The environment of a service with each store, a real Redis for one of them, and on each transport."""
    store, transport = request.param.split()
    if store == "memory":
        yield {"TRANSPORT": transport}
        return
    with redis_server() as redis:
        yield {"TRANSPORT": transport, "REDIS_URL": redis.address}
