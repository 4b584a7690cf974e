"""Both transports behind one fixture; and in every test the event loop has nothing to complain of."""

import asyncio
import re
from pathlib import Path

import pytest
import uvloop

from testkit.builds import EXTENSION
from tests.transport.servers import TRANSPORTS, Bench, Certificates

OF_THE_EXTENSION = re.compile(
    r"^from (ratelimitd\.transport\._?nghttp2|tests\.transport\.(raw|wire)) import", re.MULTILINE
)

collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if not EXTENSION and OF_THE_EXTENSION.search(path.read_text())
]

GRPCIOS_OWN = "PollerCompletionQueue"  # it outlives the loop of the test before


def pytest_asyncio_loop_factories(config, item):
    """The service's own event loop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    """Each transport in turn."""
    return Bench(request.param)


@pytest.fixture
def fast():
    """The nghttp2 transport."""
    if not EXTENSION:
        pytest.skip("there is no compiler to build the extension with")
    return Bench("nghttp2")


@pytest.fixture(autouse=True)
async def silent_loop():
    """Nothing reaches the loop's exception handler, in any test."""
    told = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: GRPCIOS_OWN in str(context) or told.append(context))
    yield told
    assert told == []


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)
