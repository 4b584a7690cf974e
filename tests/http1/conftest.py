"""Rigs that end with their test; and in every test the event loop has nothing to complain of."""

import asyncio
import ssl

import pytest
import trustme
import uvloop

from tests.http1.rig import Rig, ScriptedUpstream, endpoint


def pytest_asyncio_loop_factories(config, item):
    """The service's own event loop, and the one that is everywhere."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def silent_loop(request):
    """Nothing reaches the loop's exception handler, in any test that has one."""
    told = []
    if asyncio.iscoroutinefunction(request.function):
        request.getfixturevalue("_loop_tells").append(told)
    yield told
    assert told == []


@pytest.fixture
async def _loop_tells():
    listeners = []

    def tell(_, context):
        for told in listeners:
            told.append(context)

    asyncio.get_running_loop().set_exception_handler(tell)
    return listeners


@pytest.fixture
def contexts():
    """A server's context and a client's."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.fixture
async def upstream():
    """An upstream the test scripts."""
    scripted = await ScriptedUpstream().start()
    yield scripted
    await scripted.stop()


@pytest.fixture
async def rigs():
    """Makes gateways."""
    made = []

    async def make(*endpoints, **options):
        rig = Rig()
        made.append(rig)
        return await rig.start(list(endpoints), **options)

    yield make
    for rig in made:
        await rig.stop()


@pytest.fixture
async def rig(rigs, upstream):
    """A gateway before the scripted upstream."""
    return await rigs(endpoint(upstream))
