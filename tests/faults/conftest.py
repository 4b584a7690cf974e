"""What the tests of Redis' failures share: a Redis to be harmed, a proxy before it, stores as the service has them."""

import asyncio
import gc
from typing import Any, Protocol

import pytest

from ratelimitd.stores.redis import RedisStore
from testkit.fault_proxy import fault_proxy
from testkit.redis_server import redis_server
from tests.faults.load import Watch
from tests.redis_options import options_of

NO_BREAKER = 10**9
"""``breaker_after`` of a store whose timers must do alone."""


@pytest.fixture(autouse=True)
def calm():
    """Hide what earlier tests left from the collector, which would stop the loop for longer than a budget."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Make(Protocol):
    """Makes a store for an address, with these options besides the service's; it is closed when the test ends."""

    def __call__(self, url, **others): ...


@pytest.fixture
def server():
    """A redis-server of this test's own."""
    with redis_server(tcp=True) as running:
        yield running


@pytest.fixture
def proxy(server):
    """A proxy before it."""
    with fault_proxy(server.address) as running:
        yield running


@pytest.fixture(params=[5, NO_BREAKER], ids=["breaker", "no breaker"])
def breaker_after(request):
    """With the breaker, and without: it hides timers that do not work."""
    return int(request.param)


@pytest.fixture
async def watch():
    """Records the edges of the stores that ``make`` makes."""
    return Watch()


@pytest.fixture
async def make(watch):
    """See ``Make``. No exception may reach the loop meanwhile, nor a task outlive the stores."""
    stores: list[RedisStore] = []
    unhandled: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    tasks = asyncio.all_tasks()

    def made(url, **others):
        # A machine under test may take longer to greet than the default; one that is to be given up says so.
        stores.append(RedisStore(options_of(url, **{"connect_timeout": 0.5, **others}), watch))
        return stores[-1]

    yield made
    for store in stores:
        await store.close()
        assert store.in_flight == 0
    assert not unhandled, unhandled
    assert asyncio.all_tasks() <= tasks | {asyncio.current_task()}
