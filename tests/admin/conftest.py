"""What talks over sockets does so on both event loops."""

import asyncio

import uvloop

SOCKETS = {"test_server", "test_pages"}


def pytest_asyncio_loop_factories(config, item):
    """The service's own event loop, and the one that is everywhere."""
    service_own = {"uvloop": uvloop.new_event_loop} if item.path.stem in SOCKETS else {}
    return {"asyncio": asyncio.new_event_loop, **service_own}
